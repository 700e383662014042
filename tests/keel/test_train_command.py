"""``keel train … --processes N``: the programs that are started."""

from __future__ import annotations

import os
import sys

import pytest
from typer.testing import CliRunner

from keel.cli import app


class Started(Exception):
    """Replaces the process, which a test must not lose."""


def test_a_dry_run_of_several_ranks_starts_the_first_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []

    def execve(_: str, arguments: list[str], environment: dict[str, str]) -> None:
        started.append((arguments, environment))
        raise Started

    monkeypatch.setattr(os, "execve", execve)
    words = ["train", "rm", "--config", "helpful_cpu", "--processes", "4", "--dry-run", "seed=1"]
    assert isinstance(CliRunner().invoke(app, words).exception, Started)
    ((arguments, environment),) = started
    module = ["-m", "reward_models.train"]
    assert arguments == [sys.executable, *module, "--config", "helpful_cpu", "--dry-run", "seed=1"]
    ranks = {name: environment[name] for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK", "LOCAL_RANK")}
    assert ranks == {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4", "RANK": "0", "LOCAL_RANK": "0"}
