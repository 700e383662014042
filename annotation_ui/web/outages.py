"""A database that cannot be used while the app runs: a full disk, files that became read-only, a server that is gone.

Requests are answered with status 503 and the reason. Nothing was stored then, and nothing is said to be. Once the
database can be used again, so can the app.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fastapi import FastAPI, HTTPException
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from annotation_ui.store.database import Database, schema_of

REMEMBERED = 10.0  # seconds
RETRY = {"Retry-After": "10"}
FULL = "The disk of the database is full. Nothing was saved. Tell your admin, and press again when there is room."
READ_ONLY = "The database cannot be written. Nothing was saved. Tell your admin, and press again when it is mended."
GONE = "The database does not answer. Press again in a moment; a verdict that is sent twice counts once."
MIGRATED = "The database was changed by another version of Keel. Tell your admin to restart the app."
BUSY = "The database is busy. Nothing was saved. Press again in a moment."

# Messages of SQLite, whose errors have no codes here, and SQLSTATE codes or their classes of PostgreSQL.
_SQLITE = {
    "disk is full": FULL,
    "readonly database": READ_ONLY,
    "disk i/o error": READ_ONLY,
    "unable to open database file": READ_ONLY,
    "database is locked": BUSY,
}
_POSTGRESQL = {
    "53100": FULL,
    "58030": READ_ONLY,
    "25006": READ_ONLY,
    "40": BUSY,
    "53": BUSY,
    "55P03": BUSY,
    "57P": GONE,
    "08": GONE,
}

_log = logging.getLogger(__name__)


def reason_of(error: Exception) -> str | None:
    """Why the database cannot be used at the moment, in words for the user; ``None`` for a fault of the program."""
    if isinstance(error, PoolTimeout):
        return BUSY
    if not isinstance(error, DBAPIError):
        return None
    said = error.orig.args[0] if error.orig is not None and error.orig.args else ""
    if isinstance(said, dict):
        code = str(said.get("C", ""))
        return next((reason for start, reason in _POSTGRESQL.items() if code.startswith(start)), None)
    if error.connection_invalidated or type(error.orig).__name__ == "InterfaceError":
        return GONE
    return next((reason for part, reason in _SQLITE.items() if part in str(said).lower()), None)


class Outages:
    """The last outage, kept for a short time: the page asks for it where it does not see the answer itself."""

    def __init__(self) -> None:
        self._last: tuple[float, str] | None = None

    @property
    def reason(self) -> str | None:
        """The reason of an outage of the last :data:`REMEMBERED` seconds."""
        last = self._last
        return last[1] if last and time.monotonic() - last[0] < REMEMBERED else None

    def note(self, reason: str) -> None:
        self._last = time.monotonic(), reason

    @contextmanager
    def answered(self) -> Iterator[None]:
        """Turn an error of the database that cannot be used into the answer 503."""
        try:
            yield
        except (DBAPIError, PoolTimeout) as error:
            reason = reason_of(error)
            if reason is None:
                raise
            self.note(reason)
            _log.error("%s (%s)", reason, str(getattr(error, "orig", error)).splitlines()[0][:200])
            raise HTTPException(503, reason, RETRY) from error


def add_health(server: FastAPI, database: Database, outages: Outages) -> None:
    """``GET /health`` and ``/live``, for the page and for programs that watch the server.

    ``/health`` answers 503 with the reason while the database cannot be used, also because another version of Keel has
    changed its schema meanwhile. ``/live`` answers as long as the process does.
    """
    needed = database.needed_schema

    @server.get("/health")
    def health() -> JSONResponse:
        with suppress(HTTPException), outages.answered(), database.read() as session:
            current = schema_of(session)
            if current != needed:
                outages.note(MIGRATED)
        reason = outages.reason
        return JSONResponse({"ok": reason is None, "reason": reason}, 503 if reason else 200)

    @server.get("/live")
    def live() -> JSONResponse:
        return JSONResponse({"ok": True})
