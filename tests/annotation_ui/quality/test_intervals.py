"""Intervals against resampling one draw at a time, by their coverage, and where none is given."""

from __future__ import annotations

import numpy as np
import pytest

from annotation_ui.quality.agreement import MISSING, cohen_kappa, fleiss_kappa, krippendorff_alpha, mean_cohen_kappa
from annotation_ui.quality.intervals import MIN_ITEMS, ROUNDS, alpha_interval, fleiss_interval, kappa_interval


def noisy(items: int, annotators: int, seed: int, accuracy: float = 0.8) -> np.ndarray:
    draw = np.random.default_rng(seed)
    truth_N1 = draw.integers(0, 2, size=(items, 1))
    return np.where(draw.random((items, annotators)) < accuracy, truth_N1, 1 - truth_N1)


def resampled(votes_NA: np.ndarray, figure: object) -> tuple[float, float]:
    """The interval by drawing rows, one draw after the other, with the same draws."""
    weights_RN = np.random.default_rng(0).multinomial(
        len(votes_NA), np.full(len(votes_NA), 1 / len(votes_NA)), size=ROUNDS
    )
    values = [figure(np.repeat(votes_NA, weights_N, axis=0)) for weights_N in weights_RN]  # type: ignore[operator]
    low, high = np.percentile([value for value in values if value is not None], (2.5, 97.5))
    return low, high


def test_all_draws_at_once_are_the_draws_one_by_one() -> None:
    votes_NA = noisy(40, 3, seed=1)
    assert alpha_interval(votes_NA) == pytest.approx(resampled(votes_NA, krippendorff_alpha))
    ordinal = resampled(votes_NA, lambda drawn_NA: krippendorff_alpha(drawn_NA, "ordinal"))
    assert alpha_interval(votes_NA, "ordinal") == pytest.approx(ordinal)
    assert fleiss_interval(votes_NA) == pytest.approx(resampled(votes_NA, fleiss_kappa))
    mean = resampled(votes_NA, lambda drawn_NA: mean_cohen_kappa(drawn_NA)[0])
    assert kappa_interval(votes_NA, min_shared=2) == pytest.approx(mean)


def test_the_interval_holds_the_figure_of_the_population_about_as_often_as_it_says() -> None:
    # Two annotators with accuracy 0.8 agree by 0.68, with labels equally frequent: κ = (0.68 − 0.5) / 0.5 = 0.36.
    held = 0
    for seed in range(100):
        found = kappa_interval(noisy(100, 2, seed=seed + 10), min_shared=2)
        assert found is not None
        held += found[0] <= 0.36 <= found[1]
    assert held >= 88


def test_few_items_and_no_variation_have_no_interval() -> None:
    few_NA = noisy(MIN_ITEMS - 1, 3, seed=2)
    alike_NA = np.zeros((50, 3), dtype=int)
    for votes_NA in (few_NA, alike_NA, np.full((50, 3), MISSING), np.zeros((0, 0), dtype=int)):
        assert alpha_interval(votes_NA) is None
        assert kappa_interval(votes_NA, min_shared=2) is None
    assert fleiss_interval(alike_NA) is None
    uneven_NA = noisy(50, 3, seed=3)
    uneven_NA[0, 0] = MISSING
    assert fleiss_interval(uneven_NA) is None
    assert alpha_interval(uneven_NA) is not None


def test_pairs_count_by_the_items_they_share() -> None:
    votes_NA = np.full((40, 4), MISSING)
    votes_NA[:32, 0] = [0, 1] * 16
    votes_NA[:32, 1] = [0, 1] * 16  # κ = 1 of 32 items
    votes_NA[32:36, 2] = [0, 1, 0, 1]
    votes_NA[32:36, 3] = [1, 0, 1, 0]  # κ = −1 of 4 items
    assert cohen_kappa(votes_NA[:, 2], votes_NA[:, 3]) == pytest.approx(-1)
    assert mean_cohen_kappa(votes_NA) == (pytest.approx((32 - 4) / 36), 2)
