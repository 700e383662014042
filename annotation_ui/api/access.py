"""The account behind a request and the scopes of its token; limits on the rate of requests.

A program sends ``Authorization: Bearer keel_…``. The pages of the app send the cookie of their log-in, with the rights
of the account. The role of the account is checked by the actions, not here.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from annotation_ui.api.errors import Refused
from annotation_ui.store.accounts import Role
from annotation_ui.store.database import Database
from annotation_ui.store.tokens import SCOPES, USED_EVERY, Bearer, Scope, bearer_of, note_use

PER_SECOND, BURST = 20.0, 200  # requests of one token
FAILURES_PER_MINUTE = 60  # wrong tokens from one address
KEYS = 20_000
EVERYBODY: tuple[Role, ...] = ("annotator", "reviewer", "admin")
REVIEWERS: tuple[Role, ...] = ("reviewer", "admin")
ADMINS: tuple[Role, ...] = ("admin",)

bearer = HTTPBearer(auto_error=False, description="A token made by `keel annotate token create` or in the app")


class Rate:
    """Tokens of a bucket by key: ``per_second`` are added, at most ``burst`` are kept. Safe to use from threads."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second, self._burst = per_second, burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, key: str, now: float) -> float:
        """Take one; the seconds to wait if there is none, otherwise 0."""
        with self._lock:
            left, then = self._left.pop(key, (float(self._burst), now))
            left = min(self._burst, left + (now - then) * self._per_second)
            taken = left >= 1
            self._left[key] = (left - 1 if taken else left, now)
            while len(self._left) > KEYS:
                self._left.popitem(last=False)
        return 0.0 if taken else (1 - left) / self._per_second

    def spent(self, key: str, now: float) -> bool:
        """True if there is none left, without taking one."""
        with self._lock:
            left, then = self._left.get(key, (float(self._burst), now))
            return min(self._burst, left + (now - then) * self._per_second) < 1


class Doorkeeper:
    """Finds the account behind every request of the API.

    Args:
        session_of: the account of a browser's session, for the pages of the app.
    """

    def __init__(self, database: Database, session_of: Callable[[Request], str | None]) -> None:
        self._database, self._session_of = database, session_of
        self._requests = Rate(PER_SECOND, BURST)
        self._failures = Rate(FAILURES_PER_MINUTE / 60, FAILURES_PER_MINUTE)
        self._noted: dict[int, float] = {}

    def identify(self, request: Request) -> Bearer:
        """The account and scopes of a request.

        Raises:
            Refused: 401 without a token that holds, 429 for too many requests.
        """
        now = time.time()
        sent = request.headers.get("authorization")
        found = self._by_token(request, sent, now) if sent is not None else self._by_session(request)
        request.state.who = found.user
        wait = self._requests.wait(f"{found.token} {found.user}", now)
        if wait:
            raise Refused(429, f"at most {PER_SECOND:g} requests a second", {"Retry-After": str(int(wait) + 1)})
        return found

    def _by_token(self, request: Request, sent: str, now: float) -> Bearer:
        address = request.client.host if request.client else ""
        if self._failures.spent(address, now):
            raise Refused(429, "too many wrong tokens from this address; wait a minute", {"Retry-After": "60"})
        scheme, _, secret = sent.partition(" ")
        found = None
        if scheme.lower() == "bearer" and len(secret) < 200:
            with self._database.read() as session:
                found = bearer_of(session, secret.strip(), now=now)
        if found is None:
            self._failures.wait(address, now)
            raise Refused(401, "this token does not hold: unknown, expired or revoked", {"WWW-Authenticate": "Bearer"})
        if now - self._noted.get(found.token, 0.0) > USED_EVERY:
            self._noted[found.token] = now
            with self._database.write() as session:
                note_use(session, found.token, now=now)
        return found

    def _by_session(self, request: Request) -> Bearer:
        who = self._session_of(request)
        if who is None:
            raise Refused(401, "send Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Refused(403, "this request comes from another site")
        return Bearer(0, who, SCOPES)


def caller(request: Request, _: Annotated[Any, Depends(bearer)]) -> Bearer:
    keeper: Doorkeeper = request.app.state.doorkeeper
    return keeper.identify(request)


Caller = Annotated[Bearer, Depends(caller)]


def allowed(scope: Scope | None, roles: tuple[Role, ...]) -> dict[str, Any]:
    """The arguments of a route: the scope its token needs (``None``: any), and the roles that its actions accept.

    Both are in the specification, as ``x-scope`` and ``x-roles``, and a test tries every route with every one.
    """

    def check(by: Caller, request: Request) -> None:
        known = sorted(parameter.alias for parameter in request.scope["route"].dependant.query_params)
        if unknown := sorted(set(request.query_params) - set(known)):  # a misspelt filter would give everything
            raise Refused(422, f"unknown parameter {unknown[0]!r}; known are: {', '.join(known) or 'none'}")
        if scope is not None and scope not in by.scopes:
            raise Refused(403, f"this needs a token with the scope {scope!r}; yours has {', '.join(by.scopes)}")

    return {"dependencies": [Depends(check)], "openapi_extra": {"x-scope": scope or "", "x-roles": list(roles)}}
