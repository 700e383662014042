"""Figures worked by hand, and the laws they keep."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from reward_models.calibration import MIN_EXAMPLES, Calibration, fit
from reward_models.evaluation.metrics import (
    Bin,
    auroc,
    average_precision,
    best_of_n_credit,
    bootstrap_interval,
    calibrated_error,
    clustered_wilson,
    credit,
    expected_calibration_error,
    fit_temperature,
    reliability,
    threshold_at,
)

RNG = np.random.default_rng(7)


def test_equal_scores_count_half() -> None:
    assert credit(np.array([2.0, 0.0, -1.0])).tolist() == [1.0, 0.5, 0.0]


# --- intervals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("right", "n"), [(7, 10), (1, 2), (50, 200), (0, 5), (5, 5)])
def test_one_pair_a_prompt_is_wilsons_interval(right: int, n: int) -> None:
    credits = np.array([1.0] * right + [0.0] * (n - right))
    wilson = binomtest(right, n).proportion_ci(method="wilson")
    assert clustered_wilson(credits, np.arange(n)) == pytest.approx((wilson.low, wilson.high))


def test_copies_of_a_prompt_s_pair_add_next_to_nothing() -> None:
    credits, clusters = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 1.0]), np.arange(6)
    once = clustered_wilson(credits, clusters)
    often = clustered_wilson(np.repeat(credits, 50), np.repeat(clusters, 50))
    assert once is not None
    assert often is not None
    # As if there were n* = 5 to 6 pairs and not 300; the quantile of 5 degrees of freedom makes it a little wider.
    assert often[1] - often[0] > once[1] - once[0] - 0.03
    unclustered = clustered_wilson(np.repeat(credits, 50), np.arange(300))
    assert unclustered is not None
    assert unclustered[1] - unclustered[0] < 0.15 < often[1] - often[0]


def test_intervals_without_spread_and_without_data() -> None:
    assert clustered_wilson(np.zeros(0), np.zeros(0)) is None
    all_right = clustered_wilson(np.ones(40), np.repeat([1, 2], 20))
    two = binomtest(2, 2).proportion_ci(method="wilson")
    assert all_right == pytest.approx((two.low, two.high))  # two prompts, whatever the number of pairs


def test_clustered_intervals_cover_the_truth() -> None:
    """Pairs of one prompt share its difficulty: 95 % intervals must hold 0.7 about 95 times in 100, Wilson's do not."""
    covered = naive = 0
    rng = np.random.default_rng(3)
    for _ in range(200):
        prompts = np.repeat(np.arange(30), 10)
        credits = (rng.random(300) < np.repeat(rng.beta(1.4, 0.6, 30), 10)).astype(float)
        low, high = clustered_wilson(credits, prompts) or (1, 0)
        covered += low <= 0.7 <= high
        low, high = clustered_wilson(credits, np.arange(300)) or (1, 0)
        naive += low <= 0.7 <= high
    assert covered >= 182
    assert naive < 160


def test_bootstrap_draws_prompts_not_rows() -> None:
    values = RNG.normal(size=40)

    def mean(weights: np.ndarray) -> float | None:
        return float(np.average(values_used, weights=weights))

    values_used = values
    once = bootstrap_interval(mean, np.arange(40))
    values_used = np.repeat(values, 25)
    often = bootstrap_interval(mean, np.repeat(np.arange(40), 25))
    assert once == pytest.approx(often)  # the same prompts drawn by the same seed: copies change nothing
    assert once == bootstrap_interval(mean, np.repeat(np.arange(40), 25))
    assert once != bootstrap_interval(mean, np.repeat(np.arange(40), 25), seed=1)


def test_bootstrap_where_the_figure_hardly_exists() -> None:
    assert bootstrap_interval(lambda weights: 1.0, np.zeros(9)) is None  # one prompt
    scores, positive = np.arange(10.0), np.arange(10) == 9
    # Its only positive prompt is missing from a third of the draws.
    assert bootstrap_interval(lambda weights: auroc(scores, positive, weights), np.arange(10)) is None


# --- ranking --------------------------------------------------------------------------------------------------------


def test_auroc_by_hand_with_weights_and_one_class() -> None:
    scores, positive = np.array([0.9, 0.8, 0.3, 0.8]), np.array([True, False, False, True])
    assert auroc(scores, positive) == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    assert auroc(scores, positive, np.array([1, 0, 1, 1])) == 1
    assert auroc(scores, positive, np.array([1, 0, 0, 1])) is None
    assert auroc(scores, np.ones(4, bool)) is None
    assert average_precision(scores, np.zeros(4, bool)) is None
    assert average_precision(np.array([3.0, 2.0, 1.0]), np.array([True, False, True])) == pytest.approx((1 + 2 / 3) / 2)


def test_auroc_is_scikit_learns() -> None:
    scores, positive = np.round(RNG.normal(size=500), 1), RNG.random(500) < 0.3
    weights = RNG.integers(0, 4, 500)
    assert auroc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))
    assert auroc(scores, positive, weights) == pytest.approx(roc_auc_score(positive, scores, sample_weight=weights))


def test_best_of_n_shares_the_top_among_equals() -> None:
    assert best_of_n_credit(np.array([3.0, 1.0, 2.0, 0.0]), right=1) == 1
    assert best_of_n_credit(np.array([1.0, 3.0, 2.0, 0.0]), right=1) == 0
    assert best_of_n_credit(np.array([3.0, 3.0, 3.0, 0.0]), right=1) == pytest.approx(1 / 3)
    assert best_of_n_credit(np.array([3.0, 2.0, 3.0, 0.0]), right=2) == pytest.approx(1 / 2)


# --- calibration ----------------------------------------------------------------------------------------------------


def test_calibration_error_by_hand() -> None:
    probability, outcome = np.array([0.2, 0.4, 0.6, 0.8]), np.array([0.0, 1.0, 1.0, 1.0])
    assert reliability(probability, outcome, bins=2) == [
        Bin(2, pytest.approx(0.3), 0.5),
        Bin(2, pytest.approx(0.7), 1.0),
    ]
    # (2 · |0.3 − 0.5| + 2 · |0.7 − 1|) / 4
    assert expected_calibration_error(reliability(probability, outcome, bins=2)) == pytest.approx(0.25)
    assert expected_calibration_error(reliability(probability, outcome, bins=1)) == pytest.approx(0.25)
    assert expected_calibration_error(reliability(np.array([0.7, 0.7]), np.array([1.0, 0.0]))) == pytest.approx(0.2)
    assert expected_calibration_error([]) is None


def test_bins_have_equal_mass_and_do_not_depend_on_order() -> None:
    probability = RNG.random(300)
    outcome = (RNG.random(300) < probability).astype(float)
    bins = reliability(probability, outcome)
    assert [b.n for b in bins] == [20] * 15
    order = RNG.permutation(300)
    shuffled = reliability(probability[order], outcome[order])
    assert [(b.n, b.outcome) for b in shuffled] == [(b.n, pytest.approx(b.outcome)) for b in bins]
    coarse = np.round(probability, 1)  # many equal values: they stay together
    assert sum(b.n for b in reliability(coarse, outcome)) == 300
    assert len({b.probability for b in reliability(coarse, outcome)}) == len(reliability(coarse, outcome))


def test_the_error_of_a_calibrated_model_is_what_chance_gives() -> None:
    probability = RNG.random(2000)
    expected = calibrated_error(probability)
    real = [
        expected_calibration_error(reliability(probability, (RNG.random(2000) < probability).astype(float)))
        for _ in range(100)
    ]
    assert expected == pytest.approx(np.mean([r for r in real if r is not None]), rel=0.1)
    assert calibrated_error(RNG.random(50)) > 2 * (expected or 1)  # type: ignore[operator]


def test_the_temperature_that_made_the_labels_is_found() -> None:
    margins = RNG.normal(scale=6, size=20_000)
    right = RNG.random(20_000) < 1 / (1 + np.exp(-margins / 3))
    assert fit_temperature(np.where(right, margins, -margins)) == pytest.approx(3, rel=0.05)


def test_no_temperature_where_the_data_determine_none() -> None:
    assert fit_temperature(np.array([1.0, 2.0, 0.5])) is None  # all right: T → 0
    assert fit_temperature(np.array([1.0, -2.0, 0.5])) is None  # worse than chance: T → ∞
    assert fit_temperature(np.zeros(0)) is None
    # e^(2/T) = 3 − here two right at 1 and one wrong at −1 … σ(1/T) = 2/3, so T = 1 / ln 2
    assert fit_temperature(np.array([1.0, 1.0, -1.0])) == pytest.approx(1 / math.log(2), rel=1e-3)


def test_threshold_at_a_false_positive_rate_by_hand() -> None:
    safe = np.arange(1.0, 21.0)
    assert threshold_at(safe, 0.05) == 2  # only 1 lies below
    assert threshold_at(safe, 0.10) == 3
    assert threshold_at(safe, 0.04) is None  # one of twenty is more than that
    assert threshold_at(np.array([1.0, 1, 1, 2, 3, 4, 5, 6, 7, 8]), 0.2) == 1  # the three equal ones cannot be parted
    for rate in (0.05, 0.11, 0.3, 0.6):
        scores = np.round(RNG.normal(size=137), 1)
        threshold = threshold_at(scores, rate)
        assert threshold is not None
        assert (scores < threshold).mean() <= rate
        above = np.unique(scores[scores > threshold])[0]
        assert (scores < above).mean() > rate  # no higher threshold would do


def test_calibration_of_comparisons() -> None:
    scores = np.stack([RNG.normal(1, 2, 400), RNG.normal(0, 2, 400)], axis=1)
    label = np.where(np.arange(400) % 10 == 0, 0.5, 1.0)
    calibration = fit(scores, label, "preference")
    assert calibration.n == 400
    assert calibration.mean == pytest.approx(scores.mean())
    assert calibration.std == pytest.approx(scores.std(ddof=1))
    assert calibration.temperature == fit_temperature((scores[:, 0] - scores[:, 1])[label == 1.0])
    assert calibration.threshold is None
    assert calibration.notes == ()


def test_calibration_of_safety_scores() -> None:
    label = (RNG.random(400) < 0.6).astype(float)
    scores = (RNG.normal(size=400) * 3 + 2 * (label - 0.5))[:, None]
    calibration = fit(scores, label, "safety", threshold_fpr=0.1)
    assert calibration.threshold == threshold_at(scores[label == 1.0, 0], 0.1)
    assert calibration.threshold_fpr == 0.1
    assert calibration.temperature is not None
    assert calibration.notes == ()


@pytest.mark.parametrize(
    ("n", "label", "task", "said"),
    [
        (0, 1.0, "preference", "0 calibration examples"),
        (1, 1.0, "safety", "1 calibration examples"),
        (MIN_EXAMPLES - 1, 1.0, "preference", "20 are needed"),
        (100, 1.0, "safety", "one class"),
        (100, 0.0, "safety", "0 safe calibration examples"),
        (100, 1.0, "preference", "all are right"),
    ],
)
def test_what_cannot_be_fitted_stays_none_and_is_said(n: int, label: float, task: str, said: str) -> None:
    scores = np.tile([2.0, 1.0] if task == "preference" else [1.0], (n, 1)) + RNG.normal(scale=0.1, size=(n, 1))
    calibration = fit(scores, np.full(n, label), task)  # type: ignore[arg-type]
    assert calibration.temperature is None
    assert said in " ".join(calibration.notes)
    assert "calibrated scores are null, and a reward term of this model needs `value: raw`" in calibration.notes[0]
    assert Calibration.from_facts(calibration.to_facts()) == calibration
