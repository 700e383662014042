"""Rewards that the bridges read from the environment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from align.bridges import rewarder as bridge
from align.bridges.rewarder import CONFIG, MODEL, STEP, UNSCORABLE

TERMS = "rewards: [{term: accuracy}, {term: format, weight: 0.5}, {term: 'letters:Letters', weight: 0.0}]\n"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No rewards of another test."""
    for name in (CONFIG, MODEL, STEP, UNSCORABLE):
        monkeypatch.delenv(name, raising=False)
    yield
    bridge._of_process.cache_clear()


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration of rules, named by the environment."""
    file = tmp_path / "rewards.yaml"
    file.write_text(TERMS)
    monkeypatch.setenv(CONFIG, str(file))
    return file
