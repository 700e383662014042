"""Requests as seen from outside: an id for each, lines of a log, and metrics.

Neither holds texts, names, addresses, queries or the numbers of items: a request is counted under the template of its
route, and a person appears as the pseudonym that exports have too.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
import time
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal, TextIO

import anyio
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from annotation_ui.api import service
from annotation_ui.exchange.votes import pseudonym
from annotation_ui.store.database import Database
from annotation_ui.store.privacy import pseudonym_key
from annotation_ui.store.tables import User
from annotation_ui.web.metrics import Metrics

LogFormat = Literal["text", "json"]
HEADER = "x-request-id"
OWN = (
    "annotation_ui",
    "reward_models",
    "keel",
    "uvicorn",
    "__main__",
)  # loggers whose messages quote nobody
LONGEST_MESSAGE = 500
UNKNOWN = "unknown"  # while the database does not answer
PEOPLE = 10_000  # pseudonyms that are remembered
_GIVEN = re.compile(rb"[A-Za-z0-9_\-]{8,64}")
_log = logging.getLogger("annotation_ui.requests")


@dataclass(slots=True)
class Seen:
    """A request under way."""

    id: str
    action: str = ""
    refused: bool = False
    facts: dict[str, Any] = field(default_factory=dict)


SEEN: ContextVar[Seen | None] = ContextVar("seen", default=None)


def note_action(action: str, *, refused: bool) -> None:
    """Say what the page asked for in the request under way, and whether it was refused."""
    seen = SEEN.get()
    if seen is not None:
        seen.action, seen.refused = action, refused


class Observer:
    """Gives requests an id, counts them, and writes a line for each."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, people: Callable[[str], str]) -> None:
        self._app, self._metrics, self._people = app, metrics, people
        self._pseudonyms: dict[str, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(HEADER.encode(), b"")
        seen = Seen(given.decode() if _GIVEN.fullmatch(given) else secrets.token_hex(8))
        scope.setdefault("state", {})
        status, began = 500, time.perf_counter()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], (HEADER.encode(), seen.id.encode())]}
            await send(message)

        token = SEEN.set(seen)
        try:
            await self._app(scope, receive, answer)
        finally:
            seconds = time.perf_counter() - began
            self._metrics.answered(route_of(scope), scope["method"], status, seconds)
            if seen.action:
                self._metrics.acted(seen.action, refused=seen.refused)
            if _log.isEnabledFor(logging.INFO):
                seen.facts = await self._facts(scope, seen, status, seconds)
                _log.info("request")
            SEEN.reset(token)

    async def _facts(self, scope: Scope, seen: Seen, status: int, seconds: float) -> dict[str, Any]:
        facts = {"method": scope["method"], "route": route_of(scope), "status": status, "ms": round(1000 * seconds, 1)}
        if seen.action:
            facts |= {"action": seen.action, "refused": seen.refused}
        name = scope["state"].get("who")
        if isinstance(name, str):
            facts["user"] = self._pseudonyms.get(name) or await anyio.to_thread.run_sync(self._people, name)
            if facts["user"] != UNKNOWN:
                if len(self._pseudonyms) >= PEOPLE:
                    self._pseudonyms.clear()
                self._pseudonyms[name] = facts["user"]
        return facts


def route_of(scope: Scope) -> str:
    """The template of the route that answered, such as ``/api/v1/projects/{name}``; ``other`` without one."""
    path = getattr(scope.get("route"), "path", None)
    if not isinstance(path, str):
        return "other"
    root = scope.get("root_path", "")
    within = root == service.PREFIX and scope["path"].startswith(f"{root}{service.VERSION}/")
    # A route of an included router has its own part of the path alone, or all of it, as the version of FastAPI has it.
    return f"{root}{service.VERSION if within and not path.startswith(service.VERSION) else ''}{path}"


def pseudonyms_of(database: Database) -> Callable[[str], str]:
    """The pseudonym of an account by its name, as in exports."""

    def find(name: str) -> str:
        try:
            with database.write() as session:
                key = pseudonym_key(session)
                number = session.scalar(select(User.id).where(User.name == name))
        except SQLAlchemyError:
            return UNKNOWN
        return pseudonym(number, key) if number is not None else UNKNOWN

    return find


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the request's id, and facts about it.

    Of an error only its type and the places in the code are written: its message may quote what people wrote. Messages
    of other libraries are written without their values, for the same reason.
    """

    def format(self, record: logging.LogRecord) -> str:
        own = record.name.partition(".")[0] in OWN
        said = record.getMessage() if own else str(record.msg)
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{at}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": said[:LONGEST_MESSAGE],
        }
        seen = SEEN.get()
        if seen is not None:
            line["request"] = seen.id
            if record.name == _log.name:
                line |= seen.facts
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line["error"] = type(error).__name__
            frames = traceback.extract_tb(error.__traceback__)[-20:]
            line["stack"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        return json.dumps(line, ensure_ascii=False)


def log_as(chosen: LogFormat, stream: TextIO | None = None) -> None:
    """Write what is logged in lines of JSON, with one for each request; with ``text`` as Python does by itself."""
    if chosen == "text":
        return
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in ("annotation_ui", "uvicorn"):
        logging.getLogger(name).setLevel(logging.INFO)
