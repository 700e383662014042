"""``keel run`` in tests: a tiny model's shape, the command in this process, and waiting for what its stages do."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable
from pathlib import Path

import preloaded
from preloaded import ENVIRONMENT
from typer.testing import CliRunner

from keel.cli import app

MODEL = {
    "model_type": "qwen3",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 1024,
}


def keel_run(file: Path | str, *words: str) -> tuple[int, str]:
    """``keel run`` in this process; its stages are processes of their own."""
    done = CliRunner(env=ENVIRONMENT).invoke(app, ["run", str(file), *words])
    return done.exit_code, done.output


def wait_for(happened: Callable[[], bool], process: preloaded.Program) -> None:
    end = time.monotonic() + 600  # several stages, on a machine that is busy
    while not happened():
        assert time.monotonic() < end
        assert process.exitcode is None, process.said()
        time.sleep(0.01)


def wait_until_unlocked(out: Path) -> None:
    """Stages hold the lock of their project: wait until the last one that was killed is gone."""
    with (out / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
