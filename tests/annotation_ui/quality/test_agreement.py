"""Agreement against values worked by hand in the literature; the consensus against laws and simulated annotators."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import cohen_kappa_score

from annotation_ui.quality.agreement import (
    MISSING,
    cohen_kappa,
    dawid_skene,
    fleiss_kappa,
    krippendorff_alpha,
    label_matrix,
    majority,
    mean_cohen_kappa,
    wilson,
)

# Krippendorff 2011, section C: 4 observers, 12 units, values 1 to 5, "." missing.
OBSERVERS = ("1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 .")
RELIABILITY = np.array([[MISSING if v == "." else int(v) - 1 for v in row.split()] for row in OBSERVERS]).T

# Fleiss's example of 10 subjects, 14 raters and 5 categories.
FLEISS = """0 0 0 0 14;0 2 6 4 2;0 0 3 5 6;0 3 9 2 0;2 2 8 1 1;7 7 0 0 0;3 2 6 3 0;2 5 3 2 2;6 5 2 1 0;0 2 2 3 7"""


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_as_krippendorff_works_it_out(level: str, alpha: float) -> None:
    assert krippendorff_alpha(RELIABILITY, level) == pytest.approx(alpha, abs=5e-4)  # type: ignore[arg-type]


def test_alpha_of_two_observers_by_hand() -> None:
    # Two binary units agree, one does not: o01 = o10 = 1, n0 = 3, n1 = 3, so α = 1 − (2 / 6) / (18 / (6 · 5)) = 4 / 9.
    votes_NA = np.array([[0, 0], [1, 1], [0, 1]])
    assert krippendorff_alpha(votes_NA) == pytest.approx(4 / 9)


def test_fleiss_as_published() -> None:
    rows = [[int(count) for count in row.split()] for row in FLEISS.split(";")]
    votes_NA = np.array([np.repeat(np.arange(5), row) for row in rows])
    assert fleiss_kappa(votes_NA) == pytest.approx(0.210, abs=5e-4)


def test_cohen_by_hand() -> None:
    # 20 both yes, 5 yes-no, 10 no-yes, 15 both no: p_o = 0.7, p_e = 0.5.
    first = np.repeat([1, 1, 0, 0], [20, 5, 10, 15])
    second = np.repeat([1, 0, 1, 0], [20, 5, 10, 15])
    assert cohen_kappa(first, second) == pytest.approx(0.4)


@given(arrays(np.int64, st.tuples(st.integers(2, 30), st.just(2)), elements=st.integers(0, 3)))
@settings(max_examples=50, deadline=None)
def test_cohen_equals_scikit_learn(votes_NA: np.ndarray) -> None:
    first, second = votes_NA.T
    ours = cohen_kappa(first, second)
    if len(np.unique(votes_NA)) == 1:
        assert ours is None
    else:
        assert ours == pytest.approx(cohen_kappa_score(first, second))


@given(
    arrays(np.int64, st.tuples(st.integers(1, 15), st.integers(2, 5)), elements=st.integers(MISSING, 3)),
    st.integers(1, 4),
)
@settings(max_examples=50, deadline=None)
def test_the_mean_kappa_is_that_of_the_pairs_one_by_one(votes_NA: np.ndarray, min_shared: int) -> None:
    values, weights = [], []
    for first, second in combinations(votes_NA.T, 2):
        both = (first != MISSING) & (second != MISSING)
        if both.sum() >= min_shared and (kappa := cohen_kappa(first, second)) is not None:
            values.append(kappa)
            weights.append(both.sum())
    mean = pytest.approx(np.average(values, weights=weights)) if values else None
    assert mean_cohen_kappa(votes_NA, min_shared=min_shared) == (mean, len(values))


def test_what_is_not_defined_is_none_and_never_a_number() -> None:
    nothing = np.full((3, 2), MISSING)
    unanimous = np.zeros((3, 2), dtype=int)
    single = np.array([[0, MISSING], [1, MISSING]])
    for votes_NA in (nothing, unanimous, single, np.zeros((0, 0), dtype=int)):
        assert krippendorff_alpha(votes_NA) is None
        assert fleiss_kappa(votes_NA) is None
        assert mean_cohen_kappa(votes_NA) == (None, 0)
    assert fleiss_kappa(np.array([[0, 1, 1], [0, 1, MISSING]])) is None
    assert wilson(0, 0) is None


@given(arrays(np.int64, st.tuples(st.integers(1, 12), st.integers(2, 4)), elements=st.integers(MISSING, 2)))
@settings(max_examples=50, deadline=None)
def test_agreement_does_not_depend_on_order_or_on_single_votes(votes_NA: np.ndarray) -> None:
    alpha = krippendorff_alpha(votes_NA)
    lonely = np.full((1, votes_NA.shape[1]), MISSING)
    lonely[0, 0] = 1
    for same in (votes_NA[::-1], votes_NA[:, ::-1], np.vstack([votes_NA, lonely])):
        again = krippendorff_alpha(same)
        assert again == (None if alpha is None else pytest.approx(alpha))
    assert alpha is None or alpha <= 1


def test_majority_and_the_label_matrix() -> None:
    triples: list[tuple[object, object, str]] = [
        (7, "ann", "a"),
        (7, "bob", "a"),
        (7, "cyd", "b"),
        (8, "ann", "a"),
        (8, "bob", "b"),
        (9, "ann", "skip"),
    ]
    votes_NA, items, annotators = label_matrix(triples, ("a", "b"))
    assert (items, annotators) == ([7, 8], ["ann", "bob", "cyd"])
    assert votes_NA.tolist() == [[0, 0, 1], [0, 1, MISSING]]
    assert majority(votes_NA).tolist() == [0, MISSING]


def test_dawid_skene_learns_whom_to_believe() -> None:
    rng = np.random.default_rng(0)
    truth_N = rng.integers(0, 3, 400)
    accuracy_A = np.array([0.95, 0.9, 0.4, 0.35, 0.34])
    right_NA = rng.random((400, 5)) < accuracy_A
    wrong_NA = (truth_N[:, None] + rng.integers(1, 3, (400, 5))) % 3
    votes_NA = np.where(right_NA, truth_N[:, None], wrong_NA)
    votes_NA[rng.random((400, 5)) < 0.2] = MISSING
    votes_NA[(votes_NA == MISSING).all(axis=1), 0] = 0
    found = dawid_skene(votes_NA, 3)
    by_majority = np.mean(majority(votes_NA) == truth_N)
    by_consensus = np.mean(found.posterior_NC.argmax(axis=1) == truth_N)
    assert by_consensus > 0.9 > by_majority
    assert found.reliability_A == pytest.approx(accuracy_A, abs=0.08)
    assert np.all(np.diff(found.log_likelihood) >= -1e-6)
    assert found.posterior_NC.sum(axis=1) == pytest.approx(np.ones(400))


def test_dawid_skene_keeps_what_all_agree_on() -> None:
    votes_NA = np.array([[0, 0, 0], [1, 1, 1], [0, 0, MISSING], [1, 1, 1]])
    found = dawid_skene(votes_NA, 2)
    assert found.posterior_NC.argmax(axis=1).tolist() == [0, 1, 0, 1]
    assert found.posterior_NC.max(axis=1).min() > 0.95
    assert np.all((found.reliability_A > 0.5) & (found.reliability_A < 1))


def test_wilson_by_hand() -> None:
    low, high = wilson(1, 10, z=2) or (0, 0)
    # centre (0.1 + 0.2) / 1.4, half width 2 · sqrt(0.009 + 0.01) / 1.4
    assert (low + high) / 2 == pytest.approx(0.3 / 1.4)
    assert (high - low) / 2 == pytest.approx(2 * np.sqrt(0.019) / 1.4)
