"""Reloading: the old model answers what was admitted, and leaves memory at once."""

from __future__ import annotations

import asyncio
import gc
import weakref
from pathlib import Path

from live_server import Live, model_loader, running

TALK = [{"role": "user", "content": "why"}, {"role": "assistant", "content": "because"}]


def reload(server: Live) -> list[str]:
    loop = server.server._loop
    return asyncio.run_coroutine_threadsafe(server.registry.reload(), loop).result(60)


def test_a_replaced_model_is_freed_without_waiting_for_the_garbage_collector(models: dict[str, Path]) -> None:
    with running({"helpful": model_loader("helpful", models["helpful"])}) as server:
        before = server.scores("helpful", [TALK])
        replaced = [weakref.ref(server.registry.get("helpful")[1]._model.scorer)]  # type: ignore[attr-defined]
        gc.disable()
        try:
            for _ in range(2):
                assert reload(server) == ["helpful"]
                assert server.scores("helpful", [TALK]) == before
                replaced.append(weakref.ref(server.registry.get("helpful")[1]._model.scorer))  # type: ignore[attr-defined]
            assert [model() is None for model in replaced] == [True, True, False]
        finally:
            gc.enable()
