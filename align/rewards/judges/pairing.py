"""The pairs of a group that are compared, and scores from the outcomes. Pure functions.

An outcome of the pair (i, j) is what i gains: 1 if i is better, 0 if j is, 0.5 for a tie.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

Pair = tuple[int, int]
Outcomes = Mapping[Pair, float]  # (i, j), i < j → what i gains
PRIOR = 0.5  # comparisons with an average sample, half won, that every sample is given


def round_robin(size: int) -> list[Pair]:
    """Every pair once."""
    return list(itertools.combinations(range(size), 2))


def circular(size: int) -> list[Pair]:
    """Each sample with its two neighbours in a circle: as many pairs as samples."""
    if size < 3:
        return round_robin(size)
    return sorted((min(i, j), max(i, j)) for i, j in ((place, (place + 1) % size) for place in range(size)))


def next_round(size: int, outcomes: Outcomes, asked: Sequence[Pair], budget: int) -> list[Pair]:
    """The next round of a tournament after the Swiss system: neighbours in the standing that have not met yet.

    Args:
        outcomes: of the pairs so far. ``asked``: these pairs, also those without an outcome.
        budget: most pairs.
    """
    wins = mean_wins(size, outcomes)
    games = [sum(i in pair for pair in asked) for i in range(size)]  # a sample that sat out a round comes first
    order = sorted(range(size), key=lambda i: (games[i], -(0.5 if (won := wins[i]) is None else won), i))
    met, free = set(asked), list(order)
    pairs: list[Pair] = []
    while free and len(pairs) < budget:
        first = free.pop(0)
        for other in free:
            pair = (min(first, other), max(first, other))
            if pair not in met:
                free.remove(other)
                pairs.append(pair)
                break
    return pairs


def mean_wins(size: int, outcomes: Outcomes) -> list[float | None]:
    """The mean gain of each sample over its comparisons; ``None`` without any."""
    gains: list[list[float]] = [[] for _ in range(size)]
    for (i, j), gain in outcomes.items():
        gains[i].append(gain)
        gains[j].append(1 - gain)
    return [sum(each) / len(each) if each else None for each in gains]


def bradley_terry(size: int, outcomes: Outcomes, *, rounds: int = 1000, tolerance: float = 1e-10) -> list[float | None]:
    """The chance of each sample against another one of its group, by Bradley and Terry's model (1952).

    P(i better than j) = p_i / (p_i + p_j); a tie is half a win for each. The strengths are the maximum of the posterior
    where every sample has also played :data:`PRIOR` games, half of them won, against a sample of strength 1, which
    bounds them and joins samples that no chain of comparisons connects. Found by Hunter's iteration (2004). The score
    is the mean of P(i better than j) over the other samples that were compared; ``None`` without a comparison.
    """
    played = [[0.0] * size for _ in range(size)]
    won = [PRIOR / 2] * size
    for (i, j), gain in outcomes.items():
        played[i][j] += 1
        played[j][i] += 1
        won[i] += gain
        won[j] += 1 - gain
    strengths = [1.0] * size
    for _ in range(rounds):
        fresh = []
        for i, own in enumerate(strengths):
            rate = PRIOR / (own + 1) + sum(
                n / (own + other) for n, other in zip(played[i], strengths, strict=True) if n
            )
            fresh.append(won[i] / rate)
        change = max((abs(math.log(a / b)) for a, b in zip(fresh, strengths, strict=True)), default=0.0)
        strengths = fresh
        if change < tolerance:
            break
    compared = [any(row) for row in played]
    return [
        sum(own / (own + other) for j, other in enumerate(strengths) if j != i and compared[j])
        / max(1, sum(compared) - 1)
        if compared[i]
        else None
        for i, own in enumerate(strengths)
    ]
