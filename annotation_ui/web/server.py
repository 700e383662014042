"""The web server: log-in, session cookies, security headers, and the Gradio app behind them."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable
from typing import Annotated
from urllib.parse import urlsplit

import gradio as gr
from fastapi import FastAPI, Form, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse

from annotation_ui.store import accounts
from annotation_ui.store.database import Database
from annotation_ui.web import app
from annotation_ui.web.wording import environment

COOKIE = "keel_session"
MAX_BODY = 2_000_000
LOCAL = ("127.0.0.1", "localhost", "::1")
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; frame-src 'none'; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # stricter, and forms would send no origin to check
    "Cross-Origin-Opener-Policy": "same-origin",
}


def build(database: Database, *, single_user: str | None = None, secure_cookie: bool = False) -> FastAPI:
    """The whole application over ``database``.

    Args:
        single_user: everybody is this account and nobody logs in. Only for a server that listens on this machine alone.
        secure_cookie: send the cookie over HTTPS only; for a server behind TLS.
    """
    server = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    def identify(request: Request) -> str | None:
        if single_user is not None:
            return single_user
        with database.read() as session:
            return accounts.login_of(session, request.cookies.get(COOKIE), now=time.time())

    @server.middleware("http")
    async def guard(request: Request, forward: Callable[[Request], Awaitable[Response]]) -> Response:
        refusal = _refusal(request, single_user is not None)
        response = Response(refusal[1], refusal[0]) if refusal else await forward(request)
        response.headers.update(HEADERS)
        if response.status_code == 401 and "text/html" in request.headers.get("accept", ""):
            return RedirectResponse("/login", 303, headers=HEADERS)
        return response

    @server.get("/assets/app.css")
    def stylesheet() -> FileResponse:
        return FileResponse(app.ASSETS / "app.css", media_type="text/css")

    if single_user is None:
        _add_login(server, database, secure_cookie)
    blocks = app.build(database, identify, accounts=single_user is None)
    gr.mount_gradio_app(
        server,
        blocks,
        path="/",
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
        auth_dependency=identify,
        show_error=False,
        max_file_size=1,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        css=app.css(),
        theme=gr.themes.Base(font="system-ui", font_mono="ui-monospace"),
    )
    return server


def _add_login(server: FastAPI, database: Database, secure_cookie: bool) -> None:
    one_at_a_time = threading.Lock()  # so that guesses sent at once are counted, and do not fill the memory

    def page(error: str = "", status: int = 200) -> HTMLResponse:
        return HTMLResponse(environment().get_template("login.html").render(error=error), status)

    @server.get("/login")
    def form() -> HTMLResponse:
        return page()

    @server.post("/login")
    def log_in(request: Request, name: Annotated[str, Form()], password: Annotated[str, Form()]) -> Response:
        address = request.client.host if request.client else ""
        now = time.time()
        with one_at_a_time:
            try:
                with database.read() as session:
                    accounts.refuse_guessing(session, name[:100], address, now=now)
                    matches = len(password) <= 1000 and accounts.credentials_hold(session, name, password)
            except accounts.TooManyFailures as error:
                return page(str(error), 429)
            with database.write() as session:
                if not matches:
                    accounts.note_failure(session, name, address, now=now)
                    return page("This name and password do not go together.", 401)
                cookie = accounts.open_login(session, name, now=now)
        response = RedirectResponse("/", 303)
        response.set_cookie(
            COOKIE,
            cookie,
            max_age=int(accounts.SESSION_SECONDS),
            httponly=True,
            samesite="lax",
            secure=secure_cookie,
        )
        return response

    @server.post("/logout")
    def log_out(request: Request) -> Response:
        with database.write() as session:
            accounts.close_login(session, request.cookies.get(COOKIE, ""), now=time.time())
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE)
        return response


def _refusal(request: Request, local_only: bool) -> tuple[int, str] | None:
    """Why a request goes no further: too large, from another site, or (single user) under another host's name."""
    if "transfer-encoding" in request.headers:
        return 411, "say how long the body is"
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > MAX_BODY:
        return 413, "too large"
    if request.method == "POST":
        origin = request.headers.get("origin")
        if origin and urlsplit(origin).netloc != request.headers.get("host"):
            return 403, "this request comes from another site"
    if local_only and urlsplit(f"//{request.headers.get('host', '')}").hostname not in LOCAL:
        return 403, "without accounts this server answers to this machine only"  # a name rebound to 127.0.0.1
    return None
