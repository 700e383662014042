"""Whole training runs in processes of their own, quickly: forks of a server that has imported what a run needs."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import preloaded
import pytest
import torch
import train_until_signal as hold
from preload_server import NO_CHARTS
from preloaded import ENVIRONMENT, ROOT, Program
from safetensors.torch import load_file
from transformers import AutoTokenizer

from reward_models.config import RewardModelConfig
from reward_models.data.chat import ChatRenderer
from reward_models.data.token_sets import TokenizedSet, tokenize_records
from reward_models.dataset import default_span, load_records
from reward_models.runtime.config import load_config

__all__ = ["ENVIRONMENT", "ROOT", "SETTINGS"]
SETTINGS = (
    "model.config={model_type: qwen3, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, "
    "num_attention_heads: 2, num_key_value_heads: 1, head_dim: 16, max_position_embeddings: 512}",
    "model.vocab_size=400",
    "data.train=['synthetic:helpful:train']",
    "data.limit=150",
    "data.eval_fraction=0.2",
    "batch_size=16",
    "max_tokens=512",
    "max_steps=6",
    "save_every=2",
    "loggers=[]",
    "engine.dtype=fp32",
    "engine.lr=1e-2",
    "timeout_seconds=120",
)
# Everything partitioned: without these a tiny model never leaves the ranks' memory whole.
PARTITION_ALL = (
    "engine.zero_options={stage3_param_persistence_threshold: 0, stage3_max_live_parameters: 0, "
    "stage3_max_reuse_distance: 0}"
)
_numbers = count()


@dataclass(frozen=True)
class Run:
    """A training run under way: its ranks, and the file of what they say."""

    out: Path
    ranks: list[Program]
    log: Path

    def finish(self, status: int = 0, seconds: float = 300) -> str:
        """Wait for the end; returns what was said."""
        return [rank.finish(status, seconds) for rank in self.ranks][-1]

    def kill(self) -> None:
        for rank in self.ranks:
            rank.send(signal.SIGKILL)
        for rank in self.ranks:
            rank.join(60)

    def wait_for(self, happened: Callable[[], bool], seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < end, f"waited too long: {self.log.read_text()}"
            if self.ranks[0].exitcode is not None and not happened():
                raise AssertionError(f"the run ended with status {self.ranks[0].exitcode}: {self.log.read_text()}")
            time.sleep(0.005)


def start(
    out: Path,
    *words: str,
    ranks: int = 1,
    settings: Sequence[str] = SETTINGS,
    program: str = "reward_models.train",
    key: str = "output_dir",
    environment: Mapping[str, str] | None = None,
    charts: bool = False,
) -> Run:
    """Begin a run of ``settings`` and ``words`` that writes to ``out``, the value of ``key``.

    ``program`` is a module with a ``main``. Its charts are made; only with ``charts`` are they drawn too, which takes
    a third of the time of such a run.
    """
    log = out.parent / f"{out.name}-{next(_numbers)}.log"
    job = {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1"}
    job["MASTER_PORT"] = str(_free_port())
    job |= {} if charts else {NO_CHARTS: "1"}
    command = [f"{key}={out}", *settings, *words]
    run = Run(out, [], log)
    for rank in range(ranks):
        place = job | {"RANK": str(rank), "LOCAL_RANK": str(rank)} | dict(environment or {})
        run.ranks.append(preloaded.start(command, log, main=program, environment=place))
    return run


def train(out: Path, *words: str, ranks: int = 1, status: int = 0, **options: Any) -> str:
    """A whole run; returns what it said."""
    return start(out, *words, ranks=ranks, **options).finish(status)


def train_until_signal(
    out: Path, *words: str, rank: int = 0, step: int = 1, program: str = "reward_models.train", **options: Any
) -> str:
    """A run whose rank ``rank`` gets SIGTERM after ``step`` steps, on a busy machine too; returns what was said."""
    file = out.parent / f"{out.name}-{next(_numbers)}.held"
    values = {hold.PROGRAM: program, hold.RANK: str(rank), hold.STEP: str(step), hold.FILE: str(file)}
    run = start(out, *words, program=hold.__name__, environment=values, **options)
    run.wait_for(file.exists)
    run.ranks[rank].send(signal.SIGTERM)
    return run.finish()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- comparing runs ---------------------------------------------------------------------------------------------------


def metrics(out: Path) -> list[dict[str, Any]]:
    """The log without times."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    timed = ("tokens_per_second", "seconds/")
    return [{k: v for k, v in line.items() if not k.startswith(timed)} for line in lines]


def weights(out: Path) -> dict[str, torch.Tensor]:
    """Of the saved model, or of the adapter where that was saved."""
    return load_file(next(out.glob("*model.safetensors")))


def checkpoints(out: Path) -> list[Path]:
    return list((out / "checkpoints").glob("step-*"))


def assert_same_run(out: Path, other: Path) -> None:
    assert metrics(out) == metrics(other)
    ours, theirs = weights(out), weights(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def assert_close_run(out: Path, other: Path) -> None:
    for line, expected in zip(metrics(out), metrics(other), strict=True):
        assert _tags(line) == _tags(expected)
        assert _numbers_of(line) == pytest.approx(_numbers_of(expected), rel=2e-3, abs=2e-4)
    ours, theirs = weights(out), weights(other)
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=2e-4, msg=lambda m, n=name: f"{n}: {m}")


def _tags(line: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in line.items() if isinstance(value, str)}


def _numbers_of(line: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in line.items() if not isinstance(value, str)}


def held_out(out: Path) -> TokenizedSet:
    """The evaluation set of a finished run, read and tokenized anew as plain transformers' tokenizer does it."""
    config = load_config(RewardModelConfig, out / "config.yaml")
    records = load_records(config.data, config.task).eval["held out"]
    span = config.data.span or default_span(config.task)
    return tokenize_records(records, ChatRenderer(AutoTokenizer.from_pretrained(out), span), None)
