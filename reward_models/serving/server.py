"""The server as a process: its address, its signals, its start and its end."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from reward_models.serving.app import build
from reward_models.serving.connections import timed_connection
from reward_models.serving.guard import LOCAL
from reward_models.serving.limits import Limits, Refused
from reward_models.serving.metrics import Metrics
from reward_models.serving.registry import Registry

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Address:
    """The address of a server.

    Attributes:
        port: 0 takes a free one.
        certificate, key: PEM files; both or none.
        token: the bearer token of clients.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    certificate: Path | None = None
    key: Path | None = None
    token: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("TLS needs both a certificate and its key")
        for file in (self.certificate, self.key):
            if file is not None and not file.is_file():
                raise ValueError(f"no file {file}")
        if self.token is not None and len(self.token) < 16:
            raise ValueError(f"the token has {len(self.token)} characters, and needs at least 16")
        if self.token is None and self.host not in LOCAL:
            raise ValueError(
                f"not listening on {self.host} without a token: put one into the environment variable KEEL_SERVE_TOKEN "
                "(openssl rand -hex 32), or listen on 127.0.0.1"
            )


class Server(uvicorn.Server):
    """SIGTERM and SIGINT: answer all admitted requests, then end. SIGHUP: load the models again."""

    def __init__(self, config: uvicorn.Config, registry: Registry, metrics: Metrics, deadline: float) -> None:
        super().__init__(config)
        self._registry, self._metrics, self._deadline = registry, metrics, deadline
        self._tasks: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        with suppress(NotImplementedError, RuntimeError):  # Windows; a thread that is not the main one
            self._loop.add_signal_handler(signal.SIGHUP, lambda: self._start(self._reload()))
        await super().startup(sockets)

    async def shutdown(self, sockets: list | None = None) -> None:
        await super().shutdown(sockets)
        await self._registry.close()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains the server, a second one ends it at once."""
        if self._registry.draining or not self.started:
            self.should_exit = self.force_exit = True
            return
        self._registry.draining = True
        self._loop.call_soon_threadsafe(lambda: self._start(self._drain()))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drain(self) -> None:
        """Refuse new requests with 503, and end when the others are answered."""
        LOGGER.info("finishing %d requests", self._metrics.active_now())
        until = self._loop.time() + self._deadline
        while self._metrics.active_now() and self._loop.time() < until:
            await asyncio.sleep(0.02)
        self.should_exit = True

    async def _reload(self) -> None:
        with suppress(Refused):  # the registry has logged it
            await self._registry.reload()


def make_server(registry: Registry, address: Address, limits: Limits, metrics: Metrics, **options: Any) -> Server:
    """A server that is not started yet; ``options`` are further ones of uvicorn."""
    config = uvicorn.Config(
        build(registry, limits, metrics, token=address.token),
        host=address.host,
        port=address.port,
        ssl_certfile=address.certificate,
        ssl_keyfile=address.key,
        http=timed_connection(limits.head_seconds),
        access_log=False,  # requests are counted in the metrics
        server_header=False,
        timeout_graceful_shutdown=int(limits.deadline) + 1,
        **options,
    )
    return Server(config, registry, metrics, limits.deadline)


def serve(registry: Registry, address: Address, limits: Limits, metrics: Metrics) -> None:
    """Serve until a signal ends it."""
    make_server(registry, address, limits, metrics).run()
