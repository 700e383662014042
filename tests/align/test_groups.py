"""GDPO, terms that compare groups, and judges in a running loop: phases, two ranks, a kill, missing scores, costs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import training_runs
from stand_in_scores import StandInScores
from training_runs import assert_close_run, assert_same_run, checkpoints, metrics, weights

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
    train(out, charts=True)
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


# --- a judge in the loop ----------------------------------------------------------------------------------------------


def quality(text: str) -> float:
    """Any text has a quality; an untrained policy's texts differ in it."""
    return sum("a" <= c <= "m" for c in text) / max(1, len(text))


@pytest.fixture(scope="module")
def fickle() -> Iterator[StandInScores]:
    """A judge that says another thing where it is asked a second time: only a cache gives the same run."""
    with StandInScores(quality, fickle=True) as stand_in:
        yield stand_in


def judged(stand_in: StandInScores, cache: Path) -> str:
    given = f"url: '{stand_in.url}', model: m, cache: '{cache}'"
    return (
        f"rewards=[{{term: judge, arguments: {{{given}}}}}, "
        f"{{term: group_judge, arguments: {{{given}, pairing: circular}}}}]"
    )


def without_costs(out: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if not k.startswith("judge_")} for line in metrics(out)]


@pytest.fixture(scope="module")
def by_judge(tmp_path_factory: pytest.TempPathFactory, train: Any, fickle: StandInScores) -> Path:
    out = tmp_path_factory.mktemp("judged") / "run"
    train(out, judged(fickle, out.parent / "judge.jsonl"), "phases=[]")
    return out


def test_a_judged_run_logs_what_the_judge_cost(by_judge: Path) -> None:
    first = metrics(by_judge)[0]
    assert first["judge_calls/judge"] + first["judge_cached/judge"] <= 24  # none for a response that answers nothing
    assert first["judge_tokens_in/judge"] == 100 * first["judge_calls/judge"] > 0
    assert first["judge_unread/judge"] == first["judge_failed/group_judge"] == 0
    assert 0 <= first["term/judge"] <= 1


def test_a_judged_run_goes_on_after_a_kill_to_the_same_bits(
    by_judge: Path, tmp_path: Path, train: Any, options: Any, fickle: StandInScores
) -> None:
    fickle.requests.clear()  # all questions are new to it again
    out, words = tmp_path / "run", (judged(fickle, tmp_path / "judge.jsonl"), "phases=[]", "save_every=4")
    run = training_runs.start(out, *words, **options)
    run.wait_for(lambda: (out / "metrics.jsonl").is_file() and len(metrics(out)) >= 3)
    run.kill()
    assert not checkpoints(out)  # it begins anew, and asks the same
    asked = sum(fickle.requests.values())
    train(out, *words)
    assert without_costs(out) == without_costs(by_judge)
    ours, theirs = weights(out), weights(by_judge)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert asked > 0
    assert metrics(out)[0]["judge_calls/judge"] == 0 < metrics(out)[0]["judge_cached/judge"]


def test_two_ranks_that_share_a_judge_equal_one(
    by_judge: Path, tmp_path: Path, train: Any, fickle: StandInScores
) -> None:
    fickle.requests.clear()
    train(tmp_path / "two", judged(fickle, tmp_path / "judge.jsonl"), "phases=[]", ranks=2)
    for line, expected in zip(without_costs(tmp_path / "two"), without_costs(by_judge), strict=True):
        numbers = {name: value for name, value in expected.items() if not isinstance(value, str)}
        assert {name: line[name] for name in numbers} == pytest.approx(numbers, rel=2e-3, abs=2e-4)
