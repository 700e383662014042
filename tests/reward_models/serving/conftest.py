"""Small saved models, and a server of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from live_server import Live, model_loader, running, save_small


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("served")
    bert = {"model_type": "bert", "max_position_embeddings": 512}
    return {
        "helpful": save_small(folder / "helpful", "preference"),
        "safety": save_small(folder / "safety", "safety", seed=1),
        "summary": save_small(folder / "summary", "preference", seed=2, span="summary"),
        "encoder": save_small(folder / "encoder", "preference", seed=3, settings=bert),
    }


@pytest.fixture(scope="session")
def live(models: dict[str, Path]) -> Iterator[Live]:
    """Small batches, so that requests are cut and mixed."""
    with running({name: model_loader(name, path, max_tokens=600) for name, path in models.items()}) as server:
        yield server
