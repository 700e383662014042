"""Checks before every request: host, token, size, deadline; and the end of requests whose client has left."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import re
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reward_models.serving.json_size import parse
from reward_models.serving.limits import Limits, Refused
from reward_models.serving.metrics import Metrics
from reward_models.serving.registry import Registry

LOCAL = ("127.0.0.1", "localhost", "::1")
HOST = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]{1,5})?")
OPEN = ("/health", "/ready")  # for monitors, which have no token
CLIENT_LEFT = 499  # nginx' number; no client receives it, it is counted
DRAIN_SECONDS = 5


class Guard:
    """The outermost layer of the application.

    Args:
        token: the bearer token of clients. ``None``: none is needed, and the header Host must name this machine,
            which protects against DNS rebinding.
        paths: the paths that metrics count by name.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        registry: Registry,
        limits: Limits,
        metrics: Metrics,
        token: str | None,
        paths: frozenset[str],
    ) -> None:
        self._app, self._registry, self._limits, self._metrics = app, registry, limits, metrics
        self._token, self._paths = token, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, path = time.perf_counter(), scope["path"] if scope["path"] in self._paths else "other"
        status = 500  # until a response is sent

        async def counted_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self._metrics.active.track_inprogress():
            try:
                status = await self._answer(scope, receive, counted_send) or status
            finally:
                self._metrics.requests.labels(path, str(status)).inc()
                self._metrics.seconds.labels(path).observe(time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> int | None:
        """Answer; returns the status only if no response was sent."""
        headers = Headers(scope=scope)
        refusal = self._refusal(scope["path"], scope["method"], headers)
        seconds = self._limits.deadline
        if refusal is None and "x-deadline-ms" in headers:
            asked = headers["x-deadline-ms"]
            if not asked.isdecimal() or not asked.isascii() or int(asked[:12]) == 0:
                refusal = refuse(422, f"X-Deadline-Ms: {asked[:20]!r} is not a positive number of milliseconds")
            else:
                seconds = min(seconds, int(asked[:12]) / 1000)
        if refusal is not None:
            await refusal(scope, receive, send)
            return None
        return await self._within(seconds, scope, receive, send)

    def _refusal(self, path: str, method: str, headers: Headers) -> JSONResponse | None:
        """The response to a request that is refused."""
        if self._token is None:
            host = HOST.fullmatch(headers.get("host", ""))
            if host is None:
                return refuse(400, "the header Host is not a host with an optional port")
            if (host["address"] or host["name"]).lower() not in LOCAL:
                return refuse(403, "without a token this server answers to this machine only")
        elif path not in OPEN and not self._shows_token(headers.get("authorization", "")):
            return refuse(401, "a bearer token is needed", {"WWW-Authenticate": "Bearer"})
        if self._registry.draining and (method == "POST" or path == "/ready"):
            return refuse(503, "the server is shutting down", {"Retry-After": str(DRAIN_SECONDS)})
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._limits.body_bytes:
            return too_large(self._limits)
        return None

    def _shows_token(self, authorization: str) -> bool:
        """The token as a bearer token, or as the password in a URL, for clients that can set no header."""
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() == "basic":
            with suppress(binascii.Error, UnicodeDecodeError):
                given = base64.b64decode(given).decode().partition(":")[2]
        elif scheme.lower() != "bearer":
            return False
        assert self._token is not None
        return hmac.compare_digest(given.strip().encode(), self._token.encode())

    async def _within(self, seconds: float, scope: Scope, receive: Receive, send: Send) -> int | None:
        """Run the application until it has answered, the time is up, or the client has left."""
        taken, ended, started = 0, asyncio.Event(), False

        async def counted_receive() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._limits.body_bytes:
                raise HTTPException(413, _size(self._limits), {"Connection": "close"})
            if not message.get("more_body", False):
                ended.set()
            return message

        async def tracked_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        async def client_leaves() -> None:
            await ended.wait()
            while (await receive())["type"] != "http.disconnect":
                pass

        work = asyncio.ensure_future(self._app(scope, counted_receive, tracked_send))
        leaving = asyncio.ensure_future(client_leaves())
        try:
            await asyncio.wait({work, leaving}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if work.done() or started:
                await work
                return None
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work
            if leaving.done():
                return CLIENT_LEFT
            await refuse(504, f"no answer within {seconds:g} s")(scope, receive, send)
            return None
        finally:
            work.cancel()
            leaving.cancel()


def limited_route(limits: Limits) -> type[APIRoute]:
    """Routes whose bodies are counted before they are parsed; both happen outside the event loop."""

    class LimitedRequest(Request):
        async def json(self) -> Any:
            body = await self.body()
            try:
                return await asyncio.to_thread(parse, body, limits)
            except Refused as error:
                raise HTTPException(error.status, str(error)) from error

    class LimitedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = super().get_route_handler()

            async def limited(request: Request) -> Response:
                return await handler(LimitedRequest(request.scope, request.receive))

            return limited

    return LimitedRoute


def refuse(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": message}, status, headers)


def too_large(limits: Limits) -> JSONResponse:
    return refuse(413, _size(limits), {"Connection": "close"})  # otherwise the client would continue to send


def _size(limits: Limits) -> str:
    return f"a request has at most {limits.body_bytes} bytes"
