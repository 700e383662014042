"""Pairings, and scores from outcomes: values by hand, laws, budgets."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align.rewards.judges.pairing import PRIOR, bradley_terry, circular, mean_wins, next_round, round_robin

Outcomes = dict[tuple[int, int], float]
sizes = st.integers(2, 7)


@st.composite
def tournaments(draw: st.DrawFn) -> tuple[int, Outcomes]:
    size = draw(sizes)
    pairs = draw(st.lists(st.sampled_from(round_robin(size)), unique=True, max_size=21))
    return size, {pair: draw(st.sampled_from([0.0, 0.25, 0.5, 1.0])) for pair in pairs}


@given(size=sizes)
def test_pairings(size: int) -> None:
    assert len(round_robin(size)) == size * (size - 1) // 2
    assert len(set(circular(size))) == len(circular(size)) == (size if size > 2 else 1)
    assert all(i < j for pairs in (round_robin(size), circular(size)) for i, j in pairs)
    assert all(sum(i in pair for pair in circular(size)) == min(2, size - 1) for i in range(size))


@given(size=sizes, budget=st.integers(1, 30), seed=st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_a_tournament_keeps_its_budget_and_asks_no_pair_twice(size: int, budget: int, seed: int) -> None:
    generator, outcomes, asked, left = random.Random(seed), {}, list[tuple[int, int]](), budget
    while left and (pairs := next_round(size, outcomes, asked, left)):
        assert len({i for pair in pairs for i in pair}) == 2 * len(pairs)  # one game each in a round
        left -= len(pairs)
        asked += pairs
        outcomes |= {pair: float(generator.random() < 0.5) for pair in pairs if generator.random() < 0.8}
    assert len(set(asked)) == len(asked) <= budget
    assert len(asked) == min(budget, size * (size - 1) // 2)
    if budget >= math.ceil(size / 2):
        assert {i for pair in asked for i in pair} == set(range(size))


def test_the_leaders_meet() -> None:
    first = next_round(4, {}, [], 9)
    assert first == [(0, 1), (2, 3)]
    assert next_round(4, {(0, 1): 0.0, (2, 3): 1.0}, first, 9) == [(1, 2), (0, 3)]


def test_mean_wins_by_hand() -> None:
    assert mean_wins(4, {(0, 1): 1.0, (0, 2): 0.5}) == [0.75, 0.0, 0.5, None]


def test_two_samples_by_hand() -> None:
    # p wins the one game; by symmetry the strengths are p and 1/p. The derivative of the posterior in log p is
    # 1 + PRIOR/2 − PRIOR · p/(p + 1) − p²/(p² + 1) = 0
    strength = math.exp(next(x / 1e4 for x in range(100000) if _slope(math.exp(x / 1e4)) <= 0))
    found = bradley_terry(2, {(0, 1): 1.0})
    assert found[0] == pytest.approx(strength**2 / (strength**2 + 1), abs=1e-4)
    assert bradley_terry(2, {(0, 1): 0.5}) == pytest.approx([0.5, 0.5])


def _slope(p: float) -> float:
    return 1 + PRIOR / 2 - PRIOR * p / (p + 1) - p * p / (p * p + 1)


@given(tournament=tournaments())
@settings(max_examples=60, deadline=None)
def test_laws(tournament: tuple[int, Outcomes]) -> None:
    size, outcomes = tournament
    for scores in (bradley_terry(size, outcomes), mean_wins(size, outcomes)):
        played = {i for pair in outcomes for i in pair}
        assert [score is None for score in scores] == [i not in played for i in range(size)]
        known = [score for score in scores if score is not None]
        assert all(0 <= score <= 1 for score in known)
    known = [score for score in bradley_terry(size, outcomes) if score is not None]
    assert not known or sum(known) / len(known) == pytest.approx(0.5)  # somebody's win is somebody's loss
    turned = {(size - 1 - j, size - 1 - i): 1 - gain for (i, j), gain in outcomes.items()}
    assert bradley_terry(size, turned)[::-1] == pytest.approx(bradley_terry(size, outcomes), abs=1e-6)


@given(order=st.permutations(range(5)))
@settings(max_examples=20, deadline=None)
def test_a_transitive_judge_gives_its_own_order(order: list[int]) -> None:
    outcomes = {(i, j): float(order[i] > order[j]) for i, j in round_robin(5)}
    for scores in (bradley_terry(5, outcomes), mean_wins(5, outcomes)):
        assert all((order[i] > order[j]) == (scores[i] > scores[j]) for i, j in itertools.combinations(range(5), 2))  # type: ignore[operator]


def test_bradley_terry_sees_whom_one_has_beaten() -> None:
    """0 beats the strong 2, 1 beats the weak 3: the same share of wins, but not the same strength."""
    outcomes = {(0, 2): 1.0, (1, 3): 1.0, (2, 3): 1.0}
    assert mean_wins(4, outcomes)[0] == mean_wins(4, outcomes)[1] == 1.0
    found = bradley_terry(4, outcomes)
    assert found[0] > found[1] > found[3]  # type: ignore[operator]


def test_a_lone_win_is_no_certainty() -> None:
    (winner, _, _) = bradley_terry(3, {(0, 1): 1.0, (1, 2): 0.5})
    assert winner is not None
    assert 0.5 < winner < 1
