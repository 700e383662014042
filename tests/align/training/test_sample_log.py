"""The choice of the samples of a rollout that are written to the log."""

from __future__ import annotations

import numpy as np

from align.training.sample_log import picked

DOMAINS = ["reasoning", "safety", "reasoning", "safety", "reasoning", "reasoning", "helpfulness"]
NAN = float("nan")
REWARDS = np.array([0.5, 3.0, 2.0, NAN, -1.0, 2.0, 7.0])


def of(pick: str, count: int = 2) -> list[int]:
    return [number for number, why in picked(DOMAINS, REWARDS, count, 4) if why == pick]


def test_the_best_and_the_worst_of_each_kind_where_there_is_a_difference() -> None:
    assert of("best") == [2]  # the first of equals; one of safety has no reward, and helpfulness is alone
    assert of("worst") == [4]
    assert not [why for _, why in picked(DOMAINS, np.full_like(REWARDS, NAN), 2, 4) if why != "random"]


def test_so_many_of_each_kind_at_random_as_there_are() -> None:
    drawn = of("random")
    assert [sum(DOMAINS[n] == domain for n in drawn) for domain in ("helpfulness", "reasoning", "safety")] == [1, 2, 2]
    assert sorted(of("random", 9)) == list(range(7))
    assert picked(DOMAINS, REWARDS, 0, 4) == []
    draws = {tuple(n for n, why in picked(DOMAINS, REWARDS, 1, seed) if why == "random") for seed in range(20)}
    assert len(draws) > 3
