"""The names that a server answers to, and what stands behind each of them: loaded, exchanged, drained."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from reward_models.serving.limits import Refused
from reward_models.serving.metrics import Metrics
from reward_models.serving.service import Service

LOGGER = logging.getLogger(__name__)
POLL = 0.02  # seconds between looks at whether a model that was exchanged is still in use


class Registry:
    """Services by name.

    Args:
        loaders: name → what loads its service anew; all are called at once, here.

    Attributes:
        draining: the server is about to end and takes no more requests.
    """

    def __init__(self, loaders: Mapping[str, Callable[[], Service]], metrics: Metrics) -> None:
        self._loaders, self.metrics = dict(loaders), metrics
        self._services = {name: load() for name, load in self._loaders.items()}
        self._reloading = asyncio.Lock()
        self._exchanges: set[asyncio.Future[None]] = set()
        self.draining = False

    def get(self, name: str | None) -> tuple[str, Service]:
        """The service of that name; without a name the only one.

        Raises:
            Refused: 404, there is none; 422, there are several.
        """
        names = ", ".join(self._services)
        if name is None:
            if len(self._services) > 1:
                raise Refused(422, f"several models are served, say which: {names}")
            name = next(iter(self._services))
        if name not in self._services:
            raise Refused(404, f"no model {name[:100]!r}; there are {names}")
        return name, self._services[name]

    def describe(self) -> list[dict[str, Any]]:
        """Name, task and manifest of all."""
        return [{"name": n, "task": s.task, "manifest": s.manifest} for n, s in self._services.items()]

    def waiting(self) -> dict[str, int]:
        """Conversations that wait for each."""
        return {name: service.admission.waiting for name, service in self._services.items()}

    async def reload(self, name: str | None = None) -> list[str]:
        """Load a model anew, or all of them; returns the names.

        Requests go on meanwhile: what was let in before the exchange is answered by the old model, what comes after it
        by the new one. If loading fails, the old one stays.

        Raises:
            Refused: 404, no such model; 500, loading failed.
        """
        names = list(self._services) if name is None else [self.get(name)[0]]
        exchange = asyncio.ensure_future(self._exchange(names))
        self._exchanges.add(exchange)
        exchange.add_done_callback(self._exchanges.discard)
        await asyncio.shield(exchange)  # whoever asked may leave: an exchange that was begun is finished
        return names

    async def _exchange(self, names: list[str]) -> None:
        for name in names:
            async with self._reloading:
                try:
                    fresh = await asyncio.to_thread(self._loaders[name])
                except Exception as error:
                    LOGGER.exception("%s could not be loaded anew; the old one stays", name)
                    self.metrics.reloads.labels(name, "failed").inc()
                    raise Refused(500, f"{name} could not be loaded anew, the old one stays: {error}") from error
                old, self._services[name] = self._services[name], fresh
                self.metrics.reloads.labels(name, "done").inc()
                LOGGER.info("%s exchanged: %s for %s", name, fresh.manifest, old.manifest)
                while old.admission.waiting:
                    await asyncio.sleep(POLL)
                await asyncio.to_thread(old.close)

    async def close(self) -> None:
        """Answer what is waiting, then unload everything."""
        for service in self._services.values():
            await asyncio.to_thread(service.close)
