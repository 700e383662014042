"""GDPO and terms that compare groups in a running loop: phases, schedules, two ranks, a kill, missing scores."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import training_runs
from training_runs import assert_close_run, assert_same_run, checkpoints, metrics

from align.config import AlignConfig, LossConfig
from align.rewards.build import TermConfig


@pytest.fixture(scope="module")
def options(policy: Path) -> dict[str, Any]:
    settings = (
        f"model.path={policy}",
        "prompts.train=['synthetic:reasoning:train']",
        "prompts.limit=12",
        "rewards=[{term: 'letters:Letters', weight: [[0, 1.0], [4, 3.0]]}, {term: length_in_group, arguments: {of: "
        "response}}, {term: style_in_group, weight: 0.1}]",
        "phases=[{name: one, until: 2}, {name: two, until: 4, weights: {length_in_group: 0.5}}]",
        "loss.aggregation=gdpo",
        "steps=4",
        "prompts_per_step=3",
        "samples_per_prompt=4",
        "steps_per_rollout=2",
        "ref_update_steps=0",
        "max_new_tokens=10",
        "max_tokens=200",
        "loss.beta=0",
        "engine.dtype=fp32",
        "engine.lr=3e-3",
        "save_every=1",
        "loggers=[]",
        "timeout_seconds=60",
    )
    return {"settings": settings, "program": "align.train"}


@pytest.fixture(scope="module")
def train(options: dict[str, Any]) -> Any:
    return partial(training_runs.train, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, train: Any) -> Path:
    out = tmp_path_factory.mktemp("groups") / "run"
    train(out)
    return out


def test_two_ranks_equal_one(whole: Path, tmp_path: Path, train: Any) -> None:
    train(tmp_path / "two", ranks=2)
    assert_close_run(tmp_path / "two", whole)
    first = metrics(whole)[0]
    assert -1 <= first["term/length_in_group"] < 0
    assert first["groups_without_signal"] == 0


def test_a_killed_run_goes_on_to_the_same_bits(whole: Path, tmp_path: Path, train: Any, options: Any) -> None:
    out = tmp_path / "run"
    run = training_runs.start(out, **options)
    run.wait_for(lambda: any(path.name >= "step-00000001" for path in checkpoints(out)))
    run.kill()
    train(out)
    assert_same_run(out, whole)


def test_weights_follow_schedule_and_phase(whole: Path) -> None:
    rollouts = [line for line in metrics(whole) if "reward" in line]
    assert [line["weight/letters:Letters"] for line in rollouts] == [1.0, 2.0]
    assert [line["weight/length_in_group"] for line in rollouts] == [1.0, 0.5]


def test_a_term_that_cannot_score_takes_its_samples_out(tmp_path: Path, train: Any) -> None:
    words = ("rewards=[{term: 'letters:Silent'}, {term: length_in_group, arguments: {of: response}}]", "phases=[]")
    train(tmp_path / "run", *words, "steps=2")
    first = metrics(tmp_path / "run")[0]
    assert 0 < first["unscorable"] == first["unscorable/silent"] < 24


def test_settings_that_would_change_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"loss.advantages=mean would change nothing"):
        LossConfig(aggregation="gdpo", advantages="mean")
    with pytest.raises(ValueError, match=r"letters:Letters has normalise: running, which loss.aggregation=gdpo undoes"):
        AlignConfig(
            loss=LossConfig(aggregation="gdpo"), rewards=[TermConfig(term="letters:Letters", normalise="running")]
        )
