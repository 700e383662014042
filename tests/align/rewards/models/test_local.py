"""Reward models as terms: routing, spans, ensembles, and scores equal to the library's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from align.rewards.models.local import ModelReward
from align.rewards.terms import Sample
from reward_models import RewardModel
from reward_models.data.records import Message

PROMPT = (Message("user", "What is 1 + 2?"),)
THOUGHT = "<think>one and two</think>It is 3."


def sample(domain: Any, response: str = THOUGHT, prefilled: bool = False) -> Sample:
    return Sample(prompt=PROMPT, response=response, domain=domain, tokens=5, finished=True, think_prefilled=prefilled)


def test_each_model_scores_its_own_domain_and_none_scores_reasoning(models: dict[str, Path]) -> None:
    terms = [
        ModelReward(task="preference", model=str(models["helpful"])),
        ModelReward(task="safety", model=str(models["safety"])),
    ]
    for domain, expected in (("helpfulness", [True, False]), ("safety", [False, True]), ("reasoning", [False, False])):
        assert [term.applies(sample(domain)) for term in terms] == expected
    assert [term.name for term in terms] == ["helpful", "safety"]


@pytest.mark.parametrize("offload", [False, True])
def test_scores_are_the_librarys(models: dict[str, Path], offload: bool) -> None:
    for task, name in (("preference", "helpful"), ("safety", "safety")):
        path = str(models[name])
        scores = RewardModel.load(path).score_responses([(PROMPT, (Message("assistant", THOUGHT),))])
        batch = [
            sample("safety"),
            sample("safety", ""),
            sample("safety", THOUGHT.removeprefix("<think>"), prefilled=True),
        ]
        calibrated = ModelReward(task=task, model=path, offload=offload).score(batch)  # type: ignore[arg-type]
        assert calibrated == [pytest.approx(scores[0].calibrated), None, pytest.approx(scores[0].calibrated)]
        raw = ModelReward(task=task, model=path, value="raw").score(batch[:1])  # type: ignore[arg-type]
        assert raw == [pytest.approx(scores[0].raw)]


def test_the_helpful_model_reads_the_summary_and_the_safety_model_all(models: dict[str, Path]) -> None:
    other = THOUGHT.replace("one and two", "two and one")
    helpful = ModelReward(task="preference", model=str(models["helpful"])).score(
        [sample("helpfulness"), sample("helpfulness", other)]
    )
    safety = ModelReward(task="safety", model=str(models["safety"])).score([sample("safety"), sample("safety", other)])
    assert helpful[0] == pytest.approx(helpful[1])
    assert safety[0] != pytest.approx(safety[1])


def test_a_response_that_ends_with_its_thoughts_is_scored_and_costs_no_other_its_score(models: dict[str, Path]) -> None:
    term = ModelReward(task="preference", model=str(models["helpful"]), value="raw")
    whole, thoughts, unfinished = (sample("helpfulness", text) for text in (THOUGHT, "<think>a</think>", "<think>a"))
    scores = term.score([whole, thoughts, unfinished])
    assert None not in scores
    assert scores[1] == pytest.approx(scores[2])  # an empty summary
    assert scores[0] == pytest.approx(term.score([whole])[0])


def test_an_ensemble_is_as_pessimistic_as_asked_and_tells_its_disagreement(models: dict[str, Path]) -> None:
    paths = [str(models["helpful"]), str(models["other"])]
    single = [RewardModel.load(p).score_responses([(PROMPT, (Message("assistant", THOUGHT),))])[0].raw for p in paths]
    standardised = [(raw - 0.3) / 2.0 for raw in single]
    mean = ModelReward(task="preference", model=paths)
    scores = mean.score([sample("helpfulness"), sample("helpfulness", " ")])
    assert scores == [pytest.approx(sum(standardised) / 2), None]
    apart = pytest.approx(abs(standardised[0] - standardised[1]) / 2)
    assert (mean.term_metrics, scores.extras) == (("disagreement",), {"disagreement": [apart, None]})
    assert ModelReward(task="preference", model=paths[0]).term_metrics == ()
    minimum = ModelReward(task="preference", model=paths, value="minimum")
    assert minimum.score([sample("helpfulness")]) == [pytest.approx(min(standardised))]


def test_what_cannot_be_is_refused(models: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="is no model of the task preference"):
        ModelReward(task="preference", model=str(models["safety"]))
    with pytest.raises(ValueError, match="none of calibrated, raw"):
        ModelReward(task="preference", model=str(models["helpful"]), value="minimum")
    with pytest.raises(ValueError, match="no directory"):
        ModelReward(task="preference", model="runs/nothing")
