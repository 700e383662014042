"""The log-in and log-out routes, and the token that takes their place on a server without accounts."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Annotated

from fastapi import FastAPI, Form, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from annotation_ui.store import accounts
from annotation_ui.store.database import Database
from annotation_ui.web.languages import Language, language_of
from annotation_ui.web.login_limits import Gate, LoginLimits
from annotation_ui.web.outages import RETRY, Outages
from annotation_ui.web.wording import environment

COOKIE = "keel_session"
DEVICE = "keel_device"  # says that its browser has logged in before; it opens nothing
LOG_OUT = "/logout"
SIGN_IN = "keel_sign_in_token"  # the ID token of the provider; browsers send it to the log-out alone
DEVICE_SECONDS = 180 * 24 * 3600
ENDED = "Your session has ended. Log in again; what you wrote is kept in this browser tab."
WRONG = "This name and password do not go together."
TOO_MANY = "Too many failed log-ins. Try again in a quarter of an hour."
PROBLEMS = {  # of single sign-on
    "no-group": "None of your groups may use this app. Ask your admin.",
    "taken": "There is an account by your name already. Ask your admin to link it to you.",
    "locked-out": "Your account is locked out. Ask your admin.",
    "no-name": "The sign-in service says no name for you that can be used here. Ask your admin.",
    "not-there": "The sign-in service does not answer. Try again in a moment.",
    "not-done": "The sign-in was not completed. Try again.",
}
BUSY = "Many log-ins are being checked at the moment. Try again in a few seconds."


def add_login(
    server: FastAPI, database: Database, outages: Outages, *, secure_cookie: bool, provider: bool = False
) -> None:
    """``GET`` and ``POST /login``; ``provider``: the page offers single sign-on too."""
    server.state.provider = provider
    limits = LoginLimits()

    @server.exception_handler(HTTPException)
    def failed(request: Request, error: HTTPException) -> Response:
        return login_page(request, str(error.detail), error.status_code, dict(error.headers or {}))

    strangers, known_browsers = Gate(places=4), Gate(places=8)

    @server.get("/login")
    def form(request: Request, ended: str = "", problem: str = "") -> Response:
        with outages.answered(), database.read() as session:
            if accounts.login_of(session, request.cookies.get(COOKIE), now=time.time()):
                return RedirectResponse("/", 303)  # the browser's Back must not end at the log-in
        return login_page(request, ENDED if ended else PROBLEMS.get(problem, ""))

    @server.post("/login")
    def log_in(request: Request, name: Annotated[str, Form()], password: Annotated[str, Form()]) -> Response:
        with outages.answered():
            return checked(request, name, password)

    def checked(request: Request, name: str, password: str) -> Response:
        name, now = name[:100], time.time()
        address = request.client.host if request.client else ""
        mark = request.cookies.get(DEVICE)
        with database.read() as session:
            device = mark if accounts.known_device(session, name, mark) else None
        with (known_browsers if device else strangers).entered() as entered:
            if not entered:
                return login_page(request, BUSY, 503, {"Retry-After": "5"})
            if limits.reached(name, address, device, now=now):
                return login_page(request, TOO_MANY, 429, {"Retry-After": "900"})
            with database.read() as session:
                matches = len(password) <= 1000 and accounts.credentials_hold(session, name, password)
            guessed = not matches and limits.failed(name, address, device, now=now)
        if not matches:
            if guessed:
                with database.write() as session:
                    accounts.note_guessing(session, name, now=now)
            return login_page(request, WRONG, 401)
        with database.write() as session:
            cookie, mark = accounts.open_login(session, name, now=now), accounts.device_mark(session, name)
        response = RedirectResponse("/", 303)
        set_cookie(response, COOKIE, cookie, int(accounts.SESSION_SECONDS), secure_cookie)
        set_cookie(response, DEVICE, mark, DEVICE_SECONDS, secure_cookie)
        response.delete_cookie(SIGN_IN, path=LOG_OUT)  # this log-in is not one of the provider
        return response


def add_log_out(
    server: FastAPI,
    database: Database,
    outages: Outages,
    *,
    provider_log_out: Callable[[str], str | None] | None = None,
) -> None:
    """``POST /logout``.

    Args:
        provider_log_out: with single sign-on, the address that a browser has to visit to be logged out at the provider
            too, by the ID token of its sign-in; ``None`` if there is no such address.
    """

    @server.post(LOG_OUT)
    def log_out(request: Request) -> Response:
        with outages.answered(), database.write() as session:
            accounts.close_login(session, request.cookies.get(COOKIE, ""), now=time.time())
        sign_in = request.cookies.get(SIGN_IN)
        address = provider_log_out(sign_in) if provider_log_out and sign_in else None
        # A page, since the policy for forms forbids browsers to follow a redirection to the provider.
        response = RedirectResponse("/login", 303) if address is None else logged_out_page(request, address)
        response.delete_cookie(COOKIE)
        response.delete_cookie(SIGN_IN, path=LOG_OUT)
        return response


def login_page(
    request: Request, message: str = "", status: int = 200, headers: dict[str, str] | None = None
) -> HTMLResponse:
    language = language_of(request.headers.get("accept-language"))
    return HTMLResponse(
        environment(language).get_template("login.html").render(error=message, provider=request.app.state.provider),
        status,
        headers,
    )


def logged_out_page(request: Request, address: str) -> Response:
    """The page that says so and sends the browser on to ``address``."""
    language = language_of(request.headers.get("accept-language"))
    return HTMLResponse(environment(language).get_template("logged_out.html").render(address=address))


def set_cookie(response: Response, name: str, value: str, seconds: int, secure: bool, *, path: str = "/") -> None:
    response.set_cookie(name, value, max_age=seconds, httponly=True, samesite="lax", secure=secure, path=path)


class Token:
    """The secret in the address of a server without accounts: who knows it is its one user, and nobody else is.

    Other accounts of the machine can reach 127.0.0.1 as well. The first request with ``?token=…`` exchanges the token
    for a cookie; its name depends on the token, because cookies do not tell two ports of one machine apart.
    """

    def __init__(self, token: str, *, secure_cookie: bool) -> None:
        self._token, self._secure = token, secure_cookie
        self._cookie = f"keel_token_{hashlib.sha256(token.encode()).hexdigest()[:12]}"

    def held_by(self, request: Request) -> bool:
        """True if the request carries the cookie."""
        return self._matches(request.cookies.get(self._cookie, ""))

    def exchange(self, request: Request) -> Response | None:
        """The redirection that sets the cookie, where the address of a page holds the token."""
        given = request.query_params.get("token")
        if request.method != "GET" or given is None or not self._matches(given):
            return None
        response = RedirectResponse("/", 303)
        set_cookie(response, self._cookie, self._token, int(accounts.SESSION_SECONDS), self._secure)
        return response

    def _matches(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token.encode())


def no_token_page(language: Language) -> HTMLResponse:
    return HTMLResponse(environment(language).get_template("token.html").render(), 401)


def outage_page(reason: str, language: Language) -> HTMLResponse:
    return HTMLResponse(environment(language).get_template("outage.html").render(reason=reason), 503, RETRY)
