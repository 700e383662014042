"""Accuracy at equal length, where it can be worked out by hand, and the figures by language."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit, logit

from reward_models.calibration import Calibration
from reward_models.data.records import Comparison, Message, SafetyLabel
from reward_models.evaluation.figures import evaluate, figures
from reward_models.evaluation.language import UNKNOWN, by_language, language_of
from reward_models.evaluation.length_control import length_control
from reward_models.evaluation.metrics import clustered_wilson
from reward_models.evaluation.scored_set import ScoredSet, scored_set


def fitted(
    right_if_longer: int, of: int, right_if_shorter: int, of_shorter: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs whose chosen response is 100 characters longer, and pairs where it is 100 shorter."""
    credits = np.array([1.0] * right_if_longer + [0.0] * (of - right_if_longer))
    credits = np.append(credits, [1.0] * right_if_shorter + [0.0] * (of_shorter - right_if_shorter))
    difference = np.array([100] * of + [-100] * of_shorter)
    return credits, difference, np.arange(len(credits))


@pytest.mark.parametrize(("longer", "shorter", "expected"), [(18, 10, 0.75), (16, 4, 0.5), (18, 18, 0.9), (4, 16, 0.5)])
def test_two_differences_by_hand(longer: int, shorter: int, expected: float) -> None:
    """α ± φ·tanh 1 are the log-odds of both halves, so α is their mean: of 0.9 and 0.5 it is ½ ln 9, and σ(α) = ¾."""
    found = length_control(*fitted(longer, 20, shorter, 20))
    assert found is not None
    assert found.accuracy == pytest.approx(expected, abs=1e-3)
    assert found.coefficient == pytest.approx((logit(longer / 20) - logit(shorter / 20)) / 2 / math.tanh(1), abs=0.01)


def test_accuracy_at_equal_length_is_not_the_accuracy_of_more_long_pairs() -> None:
    """90 pairs with the longer one chosen, 10 without: accuracy 0.86, and at equal length what both halves say."""
    credits, difference, clusters = fitted(81, 90, 5, 10)
    assert credits.mean() == 0.86
    scale = 1.0  # all differences have the size of their root mean square
    alpha = (logit(0.9) + logit(0.5)) / 2
    found = length_control(credits, difference / scale, clusters)
    assert found is not None
    assert found.accuracy == pytest.approx(expit(alpha), abs=1e-3)


def test_the_interval_is_that_of_the_mean_of_two_log_odds() -> None:
    """var α = ¼ (1/(n p q) of one half + that of the other), the model's; each pair has a prompt of its own."""
    found = length_control(*fitted(40, 50, 30, 50))
    assert found is not None
    assert found.interval is not None
    half = math.sqrt((1 / (50 * 0.8 * 0.2) + 1 / (50 * 0.6 * 0.4)) / 4) * 1.984217  # t at 0.975, 99 degrees of freedom
    alpha = (logit(0.8) + logit(0.6)) / 2
    low, high = expit(alpha - half), expit(alpha + half)
    assert found.interval == pytest.approx((low, high), abs=2e-3)  # the robust one is 100/99 as large
    correlated = length_control(*fitted(40, 50, 30, 50)[:2], np.arange(100) // 10)
    assert correlated is not None
    assert correlated.interval is not None
    assert correlated.interval[1] - correlated.interval[0] > high - low


def test_where_length_says_nothing_the_accuracy_is_the_plain_one() -> None:
    credits, difference, clusters = fitted(15, 20, 15, 20)
    for lengths in (difference, np.zeros(40)):
        found = length_control(credits, lengths, clusters)
        assert found is not None
        assert (found.accuracy, found.coefficient) == (pytest.approx(0.75, abs=1e-4), pytest.approx(0, abs=1e-6))
    right = length_control(np.ones(40), difference, clusters)
    assert right is not None
    assert (right.accuracy, right.coefficient) == (1.0, 0.0)
    assert right.interval == clustered_wilson(np.ones(40), clusters)


def test_a_model_of_length_alone_is_at_chance_at_equal_length() -> None:
    found = length_control(*fitted(30, 30, 0, 30))
    assert found is not None
    assert found.accuracy == pytest.approx(0.5, abs=1e-6)
    assert found.coefficient > 5
    assert found.interval is not None
    assert found.interval[0] < 0.2 < 0.8 < found.interval[1]  # nothing is known about it


def test_what_the_data_cannot_tell_is_none() -> None:
    assert length_control(np.zeros(0), np.zeros(0), np.zeros(0)) is None
    credits, difference, clusters = fitted(15, 20, 5, 20)
    assert length_control(credits, np.abs(difference), clusters) is None
    assert length_control(credits, -np.abs(difference), clusters) is None
    one = length_control(credits, difference, np.zeros(40))
    assert one is not None
    assert one.interval is None


# --- languages ----------------------------------------------------------------------------------------------------

ENGLISH = "How do I keep bread fresh for a whole week, and why does it become hard?"
GERMAN = "Wie halte ich Brot eine ganze Woche lang frisch, und warum wird es hart?"


def test_languages_of_few_records_are_together() -> None:
    codes = ["de"] * 10 + ["en"] * 12 + ["fr"] * 9 + ["unknown"]
    groups = by_language(codes)
    assert {name: len(places) for name, places in groups.items()} == {"en": 12, "de": 10, "other": 10}
    assert next(iter(groups)) == "en"
    assert sorted(place for places in groups.values() for place in places) == list(range(32))
    assert groups["other"] == [*range(22, 32)]


def user(text: str) -> tuple[Message, ...]:
    return (Message("user", text),)


def reply(text: str) -> tuple[Message, ...]:
    return (Message("assistant", text),)


def test_the_language_is_the_users_and_of_short_prompts_the_conversations() -> None:
    assert language_of(user(GERMAN), reply(ENGLISH)) == "de"
    assert language_of(user("Brot?"), reply(GERMAN)) == "de"
    assert language_of((Message("system", GERMAN), *user(ENGLISH)), reply(GERMAN)) == "en"
    assert language_of(user("1 + 1"), reply("2")) == UNKNOWN


def pairs(languages: list[str], margins: list[float]) -> ScoredSet:
    prompts = [f"{GERMAN if each == 'de' else ENGLISH} {number}" for number, each in enumerate(languages)]
    records = [
        Comparison(prompt=user(prompt), response_a=reply("a"), response_b=reply("bb"), label="a") for prompt in prompts
    ]
    scores = np.array([[margin, 0.0] for margin in margins])
    return scored_set("x", records, scores, task="preference", span="full", calibration=Calibration(), baseline=None)


def test_figures_by_language() -> None:
    found = figures(pairs(["en"] * 12 + ["de"] * 10, [1.0] * 9 + [-1.0] * 3 + [1.0] * 4 + [-1.0] * 6))["by_language"]
    assert list(found) == ["en", "de"]
    assert (found["en"]["n"], found["en"]["accuracy"]) == (12, 0.75)
    assert (found["de"]["n"], found["de"]["accuracy"]) == (10, 0.4)
    few = evaluate([pairs(["en"] * 12 + ["de"] * 9, [1.0] * 21)])["by_language"]
    assert {name: each["n"] for name, each in few.items()} == {"en": 12, "other": 9}


def test_figures_of_a_safety_model_by_language() -> None:
    records = [
        SafetyLabel(prompt=user(f"{GERMAN} {n}"), response=reply("x"), label="safe" if n % 2 else "unsafe")  # type: ignore[arg-type]
        for n in range(20)
    ]
    scores = np.array([[float(n % 2)] for n in range(20)])
    part = scored_set("x", records, scores, task="safety", span="full", calibration=Calibration(), baseline=None)
    assert figures(part)["by_language"]["de"]["auroc"] == 1.0
