"""The web server: who may ask for what, security headers, and the Gradio app behind them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import urlsplit

from reward_models.extras import needs

with needs("annotate"):
    import anyio
    import gradio as gr
    from fastapi import FastAPI, Request, Response
    from fastapi.responses import FileResponse, RedirectResponse

from annotation_ui.api import service
from annotation_ui.api.errors import error
from annotation_ui.store import accounts
from annotation_ui.store.database import Database
from annotation_ui.web import app, rendering
from annotation_ui.web.languages import language_of
from annotation_ui.web.login import COOKIE, Token, add_log_out, add_login, no_token_page, outage_page
from annotation_ui.web.metrics import Metrics, add_metrics
from annotation_ui.web.observing import Observer, pseudonyms_of
from annotation_ui.web.oidc_settings import OidcSettings
from annotation_ui.web.outages import Outages, add_health, reason_of

MAX_BODY = 2_000_000
IDENTIFYING = 4  # threads that look up who sends a request
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
UNCHANGING = ("/assets/", "/static/")  # style sheets, fonts and scripts; everything else holds people's words or names


def build(
    database: Database,
    *,
    single_user: str | None = None,
    token: str | None = None,
    secure_cookie: bool = False,
    oidc: OidcSettings | None = None,
    metrics_token: str = "",
) -> FastAPI:
    """The whole application over ``database``.

    Args:
        single_user: without accounts, the account that everybody is who knows ``token``. Only for a server that listens
            on this machine alone.
        secure_cookie: send the cookie over HTTPS only; for a server behind TLS.
        oidc: single sign-on at this provider, beside passwords.
        metrics_token: what has to be sent to read ``/metrics``; without one there is no such page.

    Raises:
        ValueError: a single user without a token, a token without a single user, or single sign-on without accounts.
    """
    if (single_user is None) != (not token) or (single_user is not None and oidc is not None):
        raise ValueError("without accounts a server needs a token and has no single sign-on; with them it has no token")
    server = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    key = Token(token, secure_cookie=secure_cookie) if token else None

    outages = Outages()

    def find(request: Request) -> str | None:
        if key is not None:
            return single_user if key.held_by(request) else None
        with outages.answered(), database.read() as session:
            return accounts.login_of(session, request.cookies.get(COOKIE), now=time.time())

    asking = anyio.CapacityLimiter(IDENTIFYING)

    async def identify(request: Request) -> str | None:
        """The account behind a request, looked up once, in a thread: the event loop waits for no database."""
        request.state.who = await anyio.to_thread.run_sync(find, request, limiter=asking)
        return request.state.who

    _add_guard(server, key, outages)

    @server.get("/assets/app.css")
    def stylesheet() -> FileResponse:
        return FileResponse(app.ASSETS / "app.css", media_type="text/css")

    add_health(server, database, outages)
    metrics = Metrics(database)
    if metrics_token:
        add_metrics(server, metrics, metrics_token)
    if single_user is None:
        _add_accounts(server, database, outages, oidc, secure_cookie=secure_cookie)
    server.mount(service.PREFIX, service.build(database, session_of=find, outage=reason_of))
    rendering.start()
    blocks = app.build(database, lambda request: request.state.who, outages, accounts=single_user is None)
    _mount_app(server, blocks, identify)
    server.add_middleware(Observer, metrics=metrics, people=pseudonyms_of(database))  # around everything else
    return server


def _add_accounts(
    server: FastAPI, database: Database, outages: Outages, oidc: OidcSettings | None, *, secure_cookie: bool
) -> None:
    """The ways to log in."""
    if oidc is None:
        add_login(server, database, outages, secure_cookie=secure_cookie)
        add_log_out(server, database, outages)
        return
    from annotation_ui.web.oidc_client import OidcClient  # Authlib is an extra
    from annotation_ui.web.provider_login import add_provider_log_out, add_provider_login, log_out_address

    client = OidcClient(oidc)
    add_login(server, database, outages, secure_cookie=secure_cookie, provider=True)
    add_log_out(server, database, outages, provider_log_out=partial(log_out_address, client))
    add_provider_login(server, database, outages, client, secure_cookie=secure_cookie)
    add_provider_log_out(server, database, outages, client)


def _add_guard(server: FastAPI, key: Token | None, outages: Outages) -> None:
    """Refuse what must go no further, and add headers to every answer."""

    @server.middleware("http")
    async def guard(request: Request, forward: Callable[[Request], Awaitable[Response]]) -> Response:
        refusal = _refusal(request, key is not None)
        of_api = request.url.path.startswith(f"{service.PREFIX}/")
        response: Response | None = key.exchange(request) if key and not of_api else None
        if refusal:
            response = error(*refusal) if of_api else Response(refusal[1], refusal[0])
        if response is None:
            response = await forward(request)
        if of_api:
            response.headers.update(HEADERS | {"Cache-Control": "no-store"})
            return response
        language = language_of(request.headers.get("accept-language"))
        if _wants_page(request) and response.status_code == 401:
            response = no_token_page(language) if key else RedirectResponse("/login", 303)
        if _wants_page(request) and response.status_code == 503:
            response = outage_page(outages.reason or "", language)
        response.headers.update(HEADERS)
        if not request.url.path.startswith(UNCHANGING):
            response.headers["Cache-Control"] = "no-store"
        return response


def _mount_app(server: FastAPI, blocks: gr.Blocks, identify: Callable[[Request], Awaitable[str | None]]) -> None:
    gr.mount_gradio_app(
        server,
        blocks,
        path="/",
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
        auth_dependency=identify,  # type: ignore[arg-type]  # it is awaited where it can be
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


def _wants_page(request: Request) -> bool:
    """True if a browser requests a page. The log-in form answers its own requests."""
    return request.method == "GET" and "text/html" in request.headers.get("accept", "")


def _refusal(request: Request, local_only: bool) -> tuple[int, str] | None:
    """Why a request goes no further: too large, from another site, or (single user) under another host's name."""
    if "transfer-encoding" in request.headers:
        return 411, "say how long the body is"
    length = request.headers.get("content-length", "0")
    most = service.body_limit(request.url.path, MAX_BODY)
    if not length.isdigit() or len(length) > 15 or int(length) > most:
        return 413, f"the body of a request to this address has at most {most} bytes"
    if request.method not in ("GET", "HEAD"):
        origin = request.headers.get("origin")
        if origin and urlsplit(origin).netloc != request.headers.get("host"):
            return 403, "this request comes from another site"
    if local_only and urlsplit(f"//{request.headers.get('host', '')}").hostname not in LOCAL:
        return 403, "without accounts this server answers to this machine only"  # a name rebound to 127.0.0.1
    return None
