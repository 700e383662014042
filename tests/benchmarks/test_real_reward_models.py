"""Data and figures of the benchmark of reward models on real data."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import real_reward_models as benchmark
from real_reward_models import TestFile, drawn, figures, length_balanced, raw_scores, spread, trained

from reward_models.config import RewardModelConfig
from reward_models.data.records import Message, SafetyLabel
from reward_models.evaluation.scored_set import ScoredSet
from reward_models.runtime.config import load_config


def messages(length: int) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": "x" * length}]


def preferences(margins: list[float], lengths: list[list[int]], tfidf: list[float]) -> ScoredSet:
    n = len(margins)
    nothing = np.full(n, None, dtype=object)
    return ScoredSet(
        task="preference",
        source="file",
        ids=np.arange(n).astype(object),
        scores=np.stack([np.array(margins), np.zeros(n)], axis=1),
        label=np.ones(n),
        uncalibrated=np.full(n, 0.5),
        probability=None,
        lengths=np.array(lengths),
        language=nothing,
        prompt=np.arange(n).astype(object),
        category=nothing,
        baseline=np.array(tfidf),
    )


def test_rows_are_drawn_by_name_and_more_of_them_hold_the_fewer(tmp_path: Path) -> None:
    file = tmp_path / "some.train.jsonl.gz"
    with gzip.open(file, "wt") as lines:
        lines.writelines(json.dumps({"id": f"row/{number}"}) + "\n" for number in range(20))
    five, nine = drawn(file, 5), drawn(file, 9)
    assert nine[:5] == five
    assert [row["id"] for row in five] != [f"row/{number}" for number in range(5)]
    assert len(drawn(file, 100)) == 20


def test_of_balanced_pairs_the_longer_response_is_chosen_in_half() -> None:
    """Differences of 2 and 3 characters are one band; one of 100 has no mirror, equal lengths stay."""
    sizes = [(10, 8), (9, 6), (12, 9), (5, 7), (200, 100), (4, 4)]
    rows = [{"chosen": messages(chosen), "rejected": messages(rejected)} for chosen, rejected in sizes]
    kept = [sizes[rows.index(row)] for row in length_balanced(rows)]
    assert kept == [(12, 9), (5, 7), (4, 4)]


def test_figures_of_four_pairs() -> None:
    """Right in three of four; of the pairs with a shorter chosen response in one of two; TF-IDF right in one."""
    part = preferences([1, 1, 1, -1], [[5, 3], [8, 2], [1, 4], [2, 9]], [1, -1, -1, -1])
    found = figures(part, np.ones(4))
    assert (found["value"], found["tfidf"], found["over_tfidf"]) == (0.75, 0.25, 0.5)
    assert found["prefers_longer"] == 0.75  # the chosen ones of the first two, the rejected one of the last
    assert found["longer_wins"] == 0.5
    assert (found["shorter_is_better"]["n"], found["shorter_is_better"]["accuracy"]) == (2, 0.5)
    low, high = found["over_tfidf_ci95"]
    assert 0 <= low <= 0.5 <= high <= 1


def test_a_row_counts_by_the_rows_that_it_stands_for() -> None:
    part = preferences([1, -1], [[5, 3], [3, 3]], [1, 1])
    assert figures(part, np.array([3.0, 1.0]))["value"] == 0.75
    assert figures(part, np.array([3.0, 1.0]))["prefers_longer"] == 1.0  # equal lengths tell nothing


def test_only_new_rows_are_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    talk = {"prompt": (Message("user", "Hello"),), "response": (Message("assistant", "Hi"),)}
    rows: list[Any] = [SafetyLabel(**talk, label="safe", id=name) for name in ("a", "b")]
    (tmp_path / "test_scores.json").write_text(json.dumps({"file": {"a": [1.0]}}))
    asked: list[int] = []

    class Score:
        raw = 2.0

    class Model:
        def score_responses(self, pairs: list[Any]) -> list[Score]:
            asked.append(len(pairs))
            return [Score() for _ in pairs]

    monkeypatch.setattr(benchmark.RewardModel, "load", lambda *_, **__: Model())
    tests = [TestFile("file", rows, 9)]
    assert raw_scores(tmp_path, tests) == {"file": {"a": [1.0], "b": [2.0]}}
    assert raw_scores(tmp_path, tests)["file"]["b"] == [2.0]
    assert asked == [1]


@pytest.mark.parametrize("model", benchmark.TASK)
@pytest.mark.parametrize("start", benchmark.STARTS)
def test_every_run_has_settings_that_the_training_takes(
    start: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> None:
        commands.append(command)
        (tmp_path / f"{model}_{start}_3").mkdir()

    monkeypatch.setattr(benchmark.subprocess, "run", run)
    monkeypatch.setattr(benchmark, "files", lambda *_: [tmp_path / "whole.jsonl.gz"])
    (tmp_path / f"{model}.train.jsonl").touch()
    out = trained(model, start, 3, tmp_path)
    _, preset, *words = commands[0][commands[0].index("--config") :]
    config = load_config(RewardModelConfig, preset, [w for w in words if not w.startswith("model.path=package")])
    assert (config.task, config.seed, config.output_dir) == (benchmark.TASK[model], 3, str(out))
    whole = benchmark.STARTS[start].whole
    assert config.data.train == [str(tmp_path / ("whole.jsonl.gz" if whole else f"{model}.train.jsonl"))]
    assert config.model.freeze_layers == (20 if "smollm2" in start else 0)


def test_the_spread_over_seeds() -> None:
    results = [{"seed": s, "all": {"value": v}, "by_file": {"f": {"value": v}}} for s, v in ((0, 0.5), (1, 0.7))]
    found = spread(results)
    assert found["seeds"] == [0, 1]
    assert found["all"] == found["by_file"]["f"] == {"mean": 0.6, "standard_deviation": 0.1414}
    assert spread(results[:1])["all"]["standard_deviation"] is None
