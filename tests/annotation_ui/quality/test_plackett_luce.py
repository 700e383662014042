"""Plackett and Luce's model against a general optimiser, a value by hand and its own laws."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.optimize import minimize

from annotation_ui.quality.plackett_luce import PRIOR, log_likelihood, worths

RANKINGS = [
    {"a": 1, "b": 2, "c": 3, "d": 4},
    {"a": 2, "b": 1, "c": 3, "d": 3},
    {"a": 1, "b": 1, "c": 1, "d": 2},
    {"a": 4, "b": 1, "c": 3, "d": 2},
    {"a": 1, "b": 1, "c": 1, "d": 1},
]


def penalised(log_worth: np.ndarray) -> float:
    """The negative objective, stage by stage, written without the function under test."""
    w = dict(zip("abcd", np.exp(log_worth), strict=True))
    total = 0.0
    for ranks in RANKINGS:
        left = dict(w)
        for place in sorted(set(ranks.values())):
            drawn = [slot for slot in ranks if ranks[slot] == place]
            whole = sum(left.values())
            total += sum(np.log(w[slot] / whole) for slot in drawn)
            for slot in drawn:
                left.pop(slot)
    return -(total + PRIOR * float(np.sum(log_worth - 2 * np.log1p(np.exp(log_worth)))))


def test_worths_are_those_of_a_general_optimiser() -> None:
    found = minimize(penalised, np.zeros(4), method="BFGS", options={"gtol": 1e-10})
    expected = dict(zip("abcd", np.exp(found.x), strict=True))
    assert worths(RANKINGS) == pytest.approx(expected, rel=1e-5)


def test_two_responses_by_hand() -> None:
    """Three wins of four: without the prior the odds are 3, which the log-likelihood says as well."""
    rankings = [{"a": 1, "b": 2}] * 3 + [{"a": 2, "b": 1}]
    found = worths(rankings, prior=1e-6)
    assert found["a"] / found["b"] == pytest.approx(3.0, rel=1e-3)
    assert log_likelihood(rankings, {"a": 3.0, "b": 1.0}) == pytest.approx(3 * np.log(0.75) + np.log(0.25))


def test_the_probabilities_of_all_orders_sum_to_one() -> None:
    worth = {"a": 0.5, "b": 2.0, "c": 1.3}
    orders = [dict(zip(order, (1, 2, 3), strict=True)) for order in permutations("abc")]
    assert sum(np.exp(log_likelihood([ranks], worth)) for ranks in orders) == pytest.approx(1.0)


def test_names_do_not_matter_and_ties_are_equal() -> None:
    found = worths([{"a": 1, "b": 1, "c": 2}])
    assert found["a"] == pytest.approx(found["b"])
    assert found["a"] > found["c"]
    renamed = worths([{"c": 1, "a": 1, "b": 2}])
    assert (renamed["c"], renamed["b"]) == pytest.approx((found["a"], found["c"]))


def test_one_ranking_gives_its_own_order_and_finite_worths() -> None:
    found = worths([{slot: rank for rank, slot in enumerate("hbdacgef", start=1)}])
    assert sorted(found, key=found.__getitem__, reverse=True) == list("hbdacgef")
    assert all(0 < worth < 1e3 for worth in found.values())
