"""The models and mixers of a server by name: loading, reloading and unloading."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from reward_models.serving.limits import Refused
from reward_models.serving.metrics import Metrics
from reward_models.serving.service import Service

LOGGER = logging.getLogger(__name__)
POLL = 0.02  # seconds between two checks whether a replaced model is still in use


class Registry:
    """Services by name.

    Args:
        loaders: name → a function that loads its service; all are called by the constructor.

    Attributes:
        draining: the server is shutting down and takes no more requests.
    """

    def __init__(self, loaders: Mapping[str, Callable[[], Service]], metrics: Metrics) -> None:
        self._loaders, self.metrics = dict(loaders), metrics
        self._services = {name: load() for name, load in self._loaders.items()}
        self._reloading = asyncio.Lock()
        self._replacements: set[asyncio.Future[None]] = set()
        self.draining = False

    def get(self, name: str | None) -> tuple[str, Service]:
        """The service of that name; without a name the only one.

        Raises:
            Refused: 404, there is none; 422, there are several.
        """
        names = ", ".join(self._services)
        if name is None:
            if len(self._services) > 1:
                raise Refused(422, f"several models are served, name one of them: {names}")
            name = next(iter(self._services))
        if name not in self._services:
            raise Refused(404, f"no model {name[:100]!r}; there are {names}")
        return name, self._services[name]

    def describe(self) -> list[dict[str, Any]]:
        """Name, task and manifest of all."""
        return [{"name": n, "task": s.task, "manifest": s.manifest} for n, s in self._services.items()]

    def waiting(self) -> dict[str, int]:
        """Number of waiting conversations by name."""
        return {name: service.admission.waiting for name, service in self._services.items()}

    async def reload(self, name: str | None = None) -> list[str]:
        """Load a model again, or all of them; returns the names.

        Requests are answered meanwhile: those admitted before the replacement by the old model, later ones by the new
        one. If loading fails, the old model stays.

        Raises:
            Refused: 404, no such model; 500, loading failed.
        """
        names = list(self._services) if name is None else [self.get(name)[0]]
        replacement = asyncio.ensure_future(self._replace(names))
        self._replacements.add(replacement)
        replacement.add_done_callback(self._replacements.discard)
        await asyncio.shield(replacement)  # a client that leaves does not stop the replacement
        return names

    async def _replace(self, names: list[str]) -> None:
        for name in names:
            async with self._reloading:
                try:
                    fresh = await asyncio.to_thread(self._loaders[name])
                except Exception as error:
                    LOGGER.exception("%s could not be loaded again; the old one stays", name)
                    self.metrics.reloads.labels(name, "failed").inc()
                    raise Refused(500, f"{name} could not be loaded again, the old one stays: {error}") from error
                old, self._services[name] = self._services[name], fresh
                self.metrics.reloads.labels(name, "done").inc()
                LOGGER.info("%s replaced: %s in the place of %s", name, fresh.manifest, old.manifest)
                while old.admission.waiting:
                    await asyncio.sleep(POLL)
                await asyncio.to_thread(old.close)

    async def close(self) -> None:
        """Answer the waiting requests, then unload everything."""
        for service in self._services.values():
            await asyncio.to_thread(service.close)
