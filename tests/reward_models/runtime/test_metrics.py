"""Metrics are exact and global, and the log survives kills."""

from __future__ import annotations

import importlib.machinery
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from reward_models.runtime.distributed import World
from reward_models.runtime.metrics import Metrics, RunLog, check_loggers, read_metrics, rewind

ALONE = World(0, 1, 0, torch.device("cpu"))


class Gathered:
    """Ranks one after the other: every rank but the last leaves its numbers, the last one gets the reduction."""

    def __init__(self) -> None:
        self.left: list[list[torch.Tensor]] = []

    def leave(self, metrics: Metrics) -> None:
        seen: list[torch.Tensor] = []
        metrics.reduce(self._world(seen.append))
        self.left.append(seen)

    def reduce(self, metrics: Metrics) -> dict[str, float]:
        calls = iter(range(2))

        def add_the_others(tensor: torch.Tensor) -> None:
            call = next(calls)
            for seen in self.left:
                tensor.copy_(tensor + seen[call] if call == 0 else torch.maximum(tensor, seen[call]))

        return metrics.reduce(self._world(add_the_others))

    @staticmethod
    def _world(meet: Any) -> Any:
        class Ranks:
            def sum(self, tensor: torch.Tensor) -> torch.Tensor:
                meet(tensor)
                return tensor

            max = sum

        return Ranks()


# --- reductions -------------------------------------------------------------------------------------------------------


def test_a_mean_is_over_all_values_and_not_over_batches() -> None:
    metrics = Metrics(["accuracy"])
    metrics.add("accuracy", torch.tensor([True, False, False, False, False, False, False, False]))
    metrics.add("accuracy", torch.tensor([True]))
    assert metrics.reduce(ALONE) == {"accuracy": pytest.approx(2 / 9)}  # the mean of means would be 0.5625


def test_ranks_with_more_values_weigh_more_and_maxima_are_maxima() -> None:
    ranks, gathered = [Metrics(["loss"], ["stop"]) for _ in range(3)], Gathered()
    ranks[0].add("loss", torch.tensor([1.0, 2.0, 3.0]))
    ranks[0].max("stop", 0.0)
    ranks[1].max("stop", 1.0)  # a rank without values still takes part
    ranks[2].add("loss", torch.tensor([10.0]))
    gathered.leave(ranks[0])
    gathered.leave(ranks[1])
    assert gathered.reduce(ranks[2]) == {"loss": 4.0, "stop": 1.0}


def test_a_mean_over_nothing_is_left_out_and_is_not_zero() -> None:
    metrics = Metrics(["loss", "accuracy"], ["stop"])
    metrics.add("accuracy", torch.zeros(0, dtype=torch.bool))
    metrics.add("loss", torch.tensor([0.0]))
    assert metrics.reduce(ALONE) == {"loss": 0.0}


def test_sums_of_low_precision_values_are_exact() -> None:
    metrics = Metrics(["score"])
    for _ in range(1000):
        metrics.add("score", torch.tensor([0.5, 1.0], dtype=torch.bfloat16, requires_grad=True))
    assert metrics.reduce(ALONE) == {"score": 0.75}


def test_an_undeclared_name_is_an_error() -> None:
    with pytest.raises(KeyError):
        Metrics(["loss"]).add("los", torch.zeros(1))


# --- the log ----------------------------------------------------------------------------------------------------------


def log(directory: Path, start: int, steps: range, loggers: Any = ()) -> None:
    log = RunLog(directory, loggers, start, {"lr": 0.1})
    for step in steps:
        log.write(step, {"loss": 1 / step}, epoch=step / 10)
    log.close()


def test_a_line_per_step(tmp_path: Path) -> None:
    log(tmp_path, 0, range(1, 3))
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"step": 1, "epoch": 0.1, "loss": 1.0},
        {"step": 2, "epoch": 0.2, "loss": 0.5},
    ]


def test_a_resumed_run_forgets_the_steps_it_makes_again(tmp_path: Path) -> None:
    log(tmp_path, 0, range(1, 6))
    log(tmp_path, 3, range(4, 5))
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]
    log(tmp_path, 0, range(1, 2))
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1]


def test_a_line_that_a_kill_cut_short_is_gone_after_the_next_start(tmp_path: Path) -> None:
    log(tmp_path, 0, range(1, 4))
    file = tmp_path / "metrics.jsonl"
    file.write_text(file.read_text()[:-8])
    assert [line["step"] for line in read_metrics(file)] == [1, 2]
    log(tmp_path, 2, range(3, 4))
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [1, 2, 3]


def test_no_log_is_an_empty_one(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.jsonl") == []


# --- other loggers ----------------------------------------------------------------------------------------------------


class Tracker(ModuleType):
    """Stands in for ``wandb`` and ``trackio``, whose interface is the same."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = importlib.machinery.ModuleSpec(name, None, origin="somewhere")
        self.calls: list[tuple[Any, ...]] = []

    def init(self, **options: Any) -> None:
        self.calls.append(("init", options))

    def log(self, values: dict[str, float], step: int) -> None:
        self.calls.append(("log", step, values))

    def finish(self) -> None:
        self.calls.append(("finish",))


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_trackers_get_the_configuration_and_every_step(
    name: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = Tracker(name)
    monkeypatch.setitem(sys.modules, name, tracker)
    check_loggers([name])
    log(tmp_path, 0, range(1, 3), [name])
    assert tracker.calls == [
        ("init", {"project": "keel", "name": tmp_path.name, "config": {"lr": 0.1}, "resume": "allow"}),
        ("log", 1, {"loss": 1.0}),
        ("log", 2, {"loss": 0.5}),
        ("finish",),
    ]


def test_tensorboard_gets_every_value_and_forgets_what_is_made_again(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log(tmp_path, 0, range(1, 5), ["tensorboard"])
    log(tmp_path, 2, range(3, 4), ["tensorboard"])
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [
        (1, 1.0),
        (2, 0.5),
        (3, pytest.approx(1 / 3)),
    ]


def test_a_logger_that_is_not_installed_is_an_error_that_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_loggers(["tensorboard"])
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "trackio", raising=False)
    with pytest.raises(ValueError, match="trackio is not installed; pip install trackio"):
        check_loggers(["trackio"])
    (tmp_path / "trackio").mkdir()  # a folder of that name is not the package
    with pytest.raises(ValueError, match="trackio is not installed"):
        check_loggers(["trackio"])


def test_rewinding_leaves_the_lines_it_keeps_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    kept = '{"step": 1, "response": "剩多少\u2028\u0085 \\n end"}\n'
    path.write_text(kept + '{"step": 2, "response": "x"}\n{"step": 3, "resp', encoding="utf-8")
    assert [line["step"] for line in read_metrics(path)] == [1, 2]
    rewind(path, 1)
    assert path.read_text(encoding="utf-8") == kept
