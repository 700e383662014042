"""The order of an item's responses that its rankings make most probable (Plackett 1975; Luce 1959).

A ranking is drawn stage by stage: the next best response is i with probability w_i / Σ w over the responses that are
left. Responses with the same rank are taken as drawn from the same set in any order, as Breslow (1974) treats ties:
Π_{i in T} w_i / (Σ_left w)^|T|. The worths w are found by minorisation and maximisation (Hunter 2004).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

Ranks = Mapping[str, int]
# Wins and losses of every response against one of worth 1, so that a response that always won has a finite worth.
PRIOR = 0.5


def worths(
    rankings: Sequence[Ranks], *, prior: float = PRIOR, rounds: int = 10_000, tolerance: float = 1e-10
) -> dict[str, float]:
    """The worth of every response, by slot; the geometric mean is near 1.

    It maximises the log-likelihood of the rankings plus ``prior · Σ (log w_i − 2 log (1 + w_i))``.

    Args:
        rankings: slot → rank, 1 for the best; all over the same responses.
    """
    slots = sorted(rankings[0])
    wins, stages = _stages(rankings, slots)
    worth = np.ones(len(slots))
    for _ in range(rounds):
        per_stage = [drawn / worth[left].sum() for left, drawn in stages]
        rates = np.zeros(len(slots))
        for (left, _), rate in zip(stages, per_stage, strict=True):
            rates[left] += rate
        better = (wins + prior) / (rates + 2 * prior / (1 + worth))
        change = np.abs(np.log(better / worth)).max()
        worth = better
        if change < tolerance:
            break
    return dict(zip(slots, worth.tolist(), strict=True))


def _stages(rankings: Sequence[Ranks], slots: Sequence[str]) -> tuple[np.ndarray, list[tuple[np.ndarray, int]]]:
    """The draws of each response, and of every stage the responses that were left and the number of those drawn."""
    wins, stages = np.zeros(len(slots)), []
    for ranks in rankings:
        rank = np.array([ranks[slot] for slot in slots])
        for place in np.unique(rank):
            left, drawn = rank >= place, rank == place
            if left.sum() > 1:  # the last one alone is certain
                wins += drawn
                stages.append((left, int(drawn.sum())))
    return wins, stages


def log_likelihood(rankings: Sequence[Ranks], worth: Mapping[str, float]) -> float:
    """Of ``rankings`` under the model, without the prior."""
    slots = sorted(worth)
    w = np.array([worth[slot] for slot in slots])
    wins, stages = _stages(rankings, slots)
    return float(wins @ np.log(w) - sum(drawn * np.log(w[left].sum()) for left, drawn in stages))
