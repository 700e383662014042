"""The routes of single sign-on: to the provider, and back from it; and the one that it tells of log-outs.

What a sign-in will be checked by travels in a cookie that is signed with a key of this database: nothing is stored for
requests of strangers, and several servers share the work. The cookie binds the sign-in to the browser that began it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
import threading
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from typing import Annotated, NamedTuple

from fastapi import FastAPI, Form, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from sqlalchemy.exc import IntegrityError

from annotation_ui.store import accounts
from annotation_ui.store.database import Database
from annotation_ui.store.identities import SignIn, sign_in, signed_out
from annotation_ui.store.privacy import drawn_key
from annotation_ui.web.login import COOKIE, LOG_OUT, SIGN_IN, set_cookie
from annotation_ui.web.oidc_client import LEEWAY, Attempt, OidcClient, ProviderError, SignInError
from annotation_ui.web.oidc_settings import BACK_CHANNEL, CALLBACK
from annotation_ui.web.outages import Outages

BEGIN = "/login/provider"
FLOW = "keel_sign_in"
FLOW_SECONDS = 600
USED = 10_000
LONGEST_TOKEN, TOO_LONG = 3500, "-"  # a cookie has at most 4096 bytes
_PAGE = re.compile(r"#/[\w\-.!~*'()%/]{0,500}", re.ASCII)  # the fragments of our own pages, never an address

_log = logging.getLogger(__name__)


class Flow(NamedTuple):
    """A sign-in under way, and the page to show after it."""

    attempt: Attempt
    page: str


class Flows:
    """Signs and reads the cookie of a sign-in under way; each is read once by this server."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._used: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def written(self, flow: Flow, *, now: float) -> str:
        content = json.dumps([*flow.attempt, flow.page, int(now) + FLOW_SECONDS]).encode()
        return f"{urlsafe_b64encode(content).decode()}.{self._signature(content)}"

    def read(self, cookie: str | None, *, now: float) -> Flow | None:
        """The content of ``cookie``; ``None`` if it was not signed here, is too old, or was used."""
        encoded, _, signed = (cookie or "")[:4000].partition(".")
        try:
            content = urlsafe_b64decode(encoded.encode("ascii"))
        except ValueError:
            return None
        if not hmac.compare_digest(self._signature(content).encode(), signed.encode("utf-8", "replace")):
            return None
        state, nonce, verifier, page, until = json.loads(content)
        with self._lock:
            if until < now or state in self._used:
                return None
            self._used[state] = None
            while len(self._used) > USED:
                self._used.popitem(last=False)
        return Flow(Attempt(state, nonce, verifier), page)

    def _signature(self, content: bytes) -> str:
        return hmac.new(self._key, content, hashlib.sha256).hexdigest()


def page_of(given: str) -> str:
    """The fragment of a page of this app, or none: nothing else is ever redirected to."""
    return given if _PAGE.fullmatch(given) else ""


def add_provider_login(
    server: FastAPI, database: Database, outages: Outages, client: OidcClient, *, secure_cookie: bool
) -> None:
    """``GET /login/provider`` and its callback."""
    with database.write() as session:
        flows = Flows(drawn_key(session, "sign-ins"))

    @server.get(BEGIN)
    def begin(request: Request, page: str = "") -> Response:
        try:
            address, attempt = client.begin()
        except ProviderError as error:
            _log.warning("single sign-on: %s", error)
            return _refused("not-there")
        response = RedirectResponse(address, 303)
        written = flows.written(Flow(attempt, page_of(page)), now=time.time())
        set_cookie(response, FLOW, written, FLOW_SECONDS, secure_cookie)
        return response

    @server.get(CALLBACK)
    def callback(request: Request) -> Response:
        with outages.answered():
            response = finished(request)
        response.delete_cookie(FLOW)
        return response

    def finished(request: Request) -> Response:
        flow = flows.read(request.cookies.get(FLOW), now=time.time())
        if flow is None:
            return _refused("not-done")
        try:
            person = client.finish(flow.attempt, request.query_params)
        except SignInError as error:
            _log.warning("single sign-on: %s", error)
            return _refused("not-done")
        except ProviderError as error:
            _log.warning("single sign-on: %s", error)
            return _refused("not-there")
        role = client.settings.role_of(person.groups)
        made = _signed_in(database, client.settings.issuer, person.subject, person.name, role)
        if made.name is None:
            return _refused(made.refusal)
        seconds = client.settings.hours * 3600
        with database.write() as session:
            cookie = accounts.open_login(session, made.name, seconds=seconds, now=time.time())
        response = RedirectResponse(f"/{flow.page}", 303)
        set_cookie(response, COOKIE, cookie, int(seconds), secure_cookie)
        token = person.id_token if len(person.id_token) <= LONGEST_TOKEN else TOO_LONG
        set_cookie(response, SIGN_IN, token, int(seconds), secure_cookie, path=LOG_OUT)
        return response


def add_provider_log_out(server: FastAPI, database: Database, outages: Outages, client: OidcClient) -> None:
    """``POST /login/provider/logout``: the provider says that a person has logged out there.

    OpenID Connect Back-Channel Logout 1.0. The log-ins of the person's account end that were begun before.
    """

    @server.post(BACK_CHANNEL)
    def told(logout_token: Annotated[str, Form()] = "") -> Response:
        try:
            subject, issued = client.signed_out(logout_token)
        except SignInError as error:
            _log.warning("single sign-on: %s", error)
            return JSONResponse({"error": "invalid_request", "error_description": str(error)}, 400)
        except ProviderError as error:
            _log.warning("single sign-on: %s", error)
            return JSONResponse({"error": "server_error"}, 503)
        with outages.answered(), database.write() as session:
            issuer, now = client.settings.issuer, time.time()
            signed_out(session, issuer, subject, until=issued + LEEWAY, now=now)
        return Response(status_code=200)


def log_out_address(client: OidcClient, token: str) -> str | None:
    """The address that logs a browser out at the provider, by the cookie of its sign-in; ``None`` if there is none."""
    try:
        return client.log_out_address("" if token == TOO_LONG else token)
    except ProviderError as error:
        _log.warning("single sign-on: %s", error)
        return None


def _refused(problem: str) -> Response:
    """Back to the log-in, which says why; the address of the callback with its code leaves the browser's bar."""
    return RedirectResponse(f"/login?problem={problem}", 303)


def _signed_in(database: Database, issuer: str, subject: str, name: str, role: accounts.Role | None) -> SignIn:
    for last in (False, True):
        try:
            with database.write() as session:
                return sign_in(session, issuer, subject, name=name, role=role, now=time.time())
        except IntegrityError:  # the same person, or another one by this name, came at the same moment
            if last:
                raise
    raise AssertionError("the loop returns or raises")
