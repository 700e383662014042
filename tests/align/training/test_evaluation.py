"""Figures on held-out prompts: accuracy over several verifiers, pass@k by hand and by counting."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from align.rewards.mixer import Rewards, accuracy_of, as_array, as_list
from align.samples.figures import pass_at, standard_error

NAN = float("nan")


def test_accuracy_is_what_the_one_verifier_says_that_applies() -> None:
    raw = {
        "accuracy_math": as_array([1.0, 0.0, None, None]),
        "accuracy_choice": as_array([None, None, 1.0, None]),
        "format": as_array([0.0, 0.0, 0.0, 1.0]),
    }
    mixed = Rewards(np.zeros(4), raw, {}, {})
    assert as_list(accuracy_of(mixed)) == [1.0, 0.0, 1.0, None]
    without = Rewards(np.zeros(4), {"format": raw["format"]}, {}, {})
    assert as_list(accuracy_of(without)) == [None] * 4


def test_standard_errors_are_over_prompts() -> None:
    # means 1, 0.5, 0 of the three judged prompts: deviation 0.5; copies of a response add nothing
    values = np.array([[1.0, NAN], [0.0, 1.0], [0.0, 0.0], [NAN, NAN]])
    assert standard_error(values) == pytest.approx(0.5 / 3**0.5)
    assert standard_error(values[:3].repeat(7, axis=1)) == pytest.approx(0.5 / 3**0.5)
    assert standard_error(values[:1]) != standard_error(values[:1])


def test_pass_at_k_by_hand() -> None:
    # one of four right: 1/4, 1 − C(3,2)/C(4,2) = 1/2, 1; none right: 0; a prompt that was not judged is left out
    right = np.array([[1.0, 0, 0, 0], [0, 0, 0, 0], [1, NAN, 1, 1]])
    assert pass_at(right) == pytest.approx({1: 0.125, 2: 0.25, 4: 0.5})
    assert pass_at(np.array([[NAN, 1.0]])) == {}


@pytest.mark.parametrize("right", range(8))
def test_pass_at_k_is_the_share_of_subsets_that_hold_a_right_one(right: int) -> None:
    row = [1.0] * right + [0.0] * (7 - right)
    for k, value in pass_at(np.array([row])).items():
        subsets = list(combinations(row, k))
        assert value == pytest.approx(sum(any(subset) for subset in subsets) / len(subsets))
