"""Mixing: values by hand, what is missing, normalisation, routing."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from align.config import AlignConfig
from align.rewards.build import MixedTerm, TermConfig, build_terms, check_terms
from align.rewards.mixer import Mixer, Rewards, Running, accuracy_of, as_list
from align.rewards.terms import Sample, TermError, TermScores
from align.schedule import Schedule

NAN = math.nan


class Named:
    def __init__(self, name: str) -> None:
        self.name = name

    def applies(self, sample: Sample) -> bool:
        return True

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [1.0] * len(samples)


def mix(mixer: Mixer, weights: dict[str, float], learn: bool = True, **raw: list[float | None]) -> Rewards:
    """Values by term: nan where it could not score, ``None`` where it does not apply."""
    scores = {
        name: TermScores(
            tuple(None if v is None or math.isnan(v) else v for v in values),
            tuple(v is not None for v in values),
            (False,) * len(values),
        )
        for name, values in raw.items()
    }
    return mixer.mix(scores, weights, learn=learn)


def mixer(*names: str, running: Sequence[str] = (), weight: Schedule = 1.0) -> Mixer:
    return Mixer([MixedTerm(entry=n, term=Named(n), weight=weight, running=n in running) for n in names])


def test_the_sum_by_hand_and_what_is_missing() -> None:
    weights = {"a": 1.0, "b": 0.5, "c": 0.0}
    mixed = mix(mixer("a", "b", "c"), weights, a=[1, 1, NAN, None, None], b=[2, None, 2, 2, None], c=[9, 9, 9, NAN, 9])
    # a part that is missing makes the whole missing; what does not apply is no part; what has no weight does not count
    assert mixed.reward_N.tolist() == pytest.approx([2.0, 1.0, NAN, 1.0, NAN], nan_ok=True)
    assert mixed.weighted["b"].tolist() == pytest.approx([1.0, NAN, 1.0, 1.0, NAN], nan_ok=True)
    assert mixed.raw["b"].tolist() == pytest.approx([2.0, NAN, 2.0, 2.0, NAN], nan_ok=True)


@pytest.mark.parametrize(("value", "weight"), [(1e308, 1.0), (-1e308, 1.0), (2e15, 1e-3), (2.0, 1e15), (2.0, -1e300)])
@pytest.mark.parametrize("running", [(), ("a",)])
def test_a_value_too_large_to_be_learnt_from_is_an_error(value: float, weight: float, running: Sequence[str]) -> None:
    ours = mixer("a", "b", running=running)
    mix(ours, {"a": 1.0, "b": 1.0}, a=[1, 2], b=[1, 2])
    before = {name: asdict(each) for name, each in ours.statistics.items()}
    with pytest.raises(TermError, match="reward term a gave a value of size"):
        mix(ours, {"a": weight, "b": 1.0}, a=[value, NAN, None], b=[1, 1, 1])
    assert {name: asdict(each) for name, each in ours.statistics.items()} == before
    if not running:  # a part without a weight is in no sum
        assert mix(ours, {"a": 0.0, "b": 1.0}, a=[value], b=[1]).reward_N.tolist() == [1.0]


def test_where_several_verifiers_judge_a_response_the_lowest_counts() -> None:
    names = ("accuracy_math", "accuracy_instructions", "format")
    raw = {
        "accuracy_math": [1.0, 1.0, None, None],
        "accuracy_instructions": [0.5, None, 0.25, None],
        "format": [1.0, 1.0, 1.0, 1.0],
    }
    verdicts = accuracy_of(mix(mixer(*names), dict.fromkeys(names, 1.0), **raw))
    assert as_list(verdicts) == [0.5, 1.0, 0.25, None]


def test_weights_follow_the_step_the_phase_and_the_guards() -> None:
    it = mixer("a", "b", weight=[(0, 0.0), (10, 1.0)])
    assert it.weights(5, {}, {}) == {"a": 0.5, "b": 0.5}
    assert it.weights(5, {"b": 3.0}, {"a": 0.1}) == {"a": pytest.approx(0.05), "b": 3.0}


@given(st.lists(st.lists(st.floats(-1e3, 1e3), max_size=8), min_size=1, max_size=5))
def test_running_statistics_are_those_of_all_values_at_once(batches: list[list[float]]) -> None:
    running, values = Running(), [v for batch in batches for v in batch]
    for batch in batches:
        running.update(np.array(batch))
    assert running.count == len(values)
    if len(values) > 1:
        assert running.mean == pytest.approx(sum(values) / len(values), abs=1e-6)
        deviation = np.array(values).std(ddof=1).item()
        assert running.deviation == pytest.approx(deviation if deviation > 1e-8 else 1.0, rel=1e-4, abs=1e-6)


def test_normalised_values_have_no_mean_and_evaluation_teaches_nothing() -> None:
    it = mixer("a", running=["a"])
    mixed = mix(it, {"a": 2.0}, a=[10.0, 20.0, 30.0])
    assert mixed.reward_N.tolist() == pytest.approx([-2.0, 0.0, 2.0])
    before = Running(**{f: getattr(it.statistics["a"], f) for f in ("count", "mean", "squares")})
    mix(it, {"a": 1.0}, learn=False, a=[1000.0])
    assert it.statistics["a"] == before


def test_terms_are_built_by_name_for_their_domains_only() -> None:
    configs = [TermConfig(term="accuracy"), TermConfig(term="format", domains=["safety"])]
    terms = build_terms(configs, {"math", "choice"})
    assert [(each.entry, each.name) for each in terms] == [
        ("accuracy", "accuracy_choice"),
        ("accuracy", "accuracy_math"),
        ("format", "format"),
    ]
    sample = Sample(prompt=(), response="x", domain="reasoning", tokens=1, finished=True)
    assert not terms[2].applies(sample)
    assert build_terms([TermConfig(term="format")], set())[0].applies(sample)


@pytest.mark.parametrize(
    ("config", "verifiers", "reason"),
    [
        (TermConfig(term="acuracy"), {"math"}, "no term 'acuracy'; there are accuracy, format"),
        (TermConfig(term="accuracy"), {"chess"}, "prompts name the verifier chess; there are math"),
        (TermConfig(term="repetition", arguments={"n": 0}), set(), "repetition cannot be built"),
        (TermConfig(term="helpful", arguments={"model": "runs/nothing"}), set(), "no directory runs/nothing"),
    ],
)
def test_what_cannot_be_built_says_why(config: TermConfig, verifiers: set[str], reason: str) -> None:
    with pytest.raises(TermError, match=reason):
        build_terms([config], verifiers)


def test_wrong_kinds_and_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="domains names math"):
        TermConfig(term="format", domains=["math"])
    with pytest.raises(ValueError, match="weight of format"):
        TermConfig(term="format", weight="much")


@pytest.mark.parametrize(
    ("term", "arguments", "reason"),
    [
        ("repetition", {"nn": 3}, "repetition takes no argument 'nn'; did you mean n?"),
        ("overlong", {"max_token": 3, "buffer": 1}, "overlong takes no argument 'max_token'; did you mean max_tokens?"),
        ("language", {"x": 3}, "language takes no argument 'x'; it takes none"),
        ("accuracy", {"time_limits": 3}, "did you mean time_limit?"),
        ("accuracy_choice", {"verifier": "exact"}, "takes no argument 'verifier'"),
        ("helpful", {"modell": "x"}, "did you mean model?"),
        ("helpful", {"task": "safety"}, "takes no argument 'task'"),
        ("helpful", {"model": "x", "urls": "http://a", "protocoll": "vllm"}, "did you mean protocol?"),
        ("align.rewards.rules.penalties:RepetitionPenalty", {"m": 1}, "takes no argument 'm'; it takes n"),
        ("letters:Spike", {"cal": 1}, "did you mean call?"),
        ("letters:Nothing", {}, "cannot be imported"),
        ("acuracy", {}, "no term 'acuracy'"),
    ],
)
def test_arguments_are_checked_without_building_anything(term: str, arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(TermError, match=re.escape(reason)):
        check_terms([TermConfig(term=term, arguments=arguments)])
    if ":" not in term:
        with pytest.raises(ValueError, match=re.escape(reason)):
            AlignConfig(rewards=[TermConfig(term=term, arguments=arguments)])


def test_arguments_that_a_term_takes_pass() -> None:
    remote = {"urls": ["http://a"], "model": "m", "protocol": "vllm", "check": "scores", "value": "raw", "timeout": 3}
    check_terms(
        [
            TermConfig(term="accuracy", arguments={"workers": 1, "time_limit": 1.0}),
            TermConfig(term="overlong", arguments={"max_tokens": 9, "buffer": 2}),
            TermConfig(term="helpful", arguments={"model": ["a", "b"], "value": "lower_bound", "offload": True}),
            TermConfig(term="safety", arguments=remote),
            TermConfig(term="letters:Spike", arguments={"call": 1}),
        ]
    )
