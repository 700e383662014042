"""Select the items of an optimizer step and divide them into micro-batches.

A step is a fixed number of items drawn by a seeded permutation, whatever the number of ranks; within the step, items
are packed under a token budget so that every rank runs the same number of micro-batches (collectives stay in step) of
about equal work. Every rank computes the whole plan from the lengths alone: no communication, and a resumed run or one
with another number of ranks sees the same steps.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

MicroBatch = list[int]


@dataclass(frozen=True, slots=True)
class EpochSampler:
    """Step number → items of that step: a fresh seeded permutation per epoch; an epoch's last step may be smaller."""

    items: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        if self.items < 1 or self.batch_size < 1:
            raise ValueError(f"cannot draw batches of {self.batch_size} from {self.items} items")

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.items / self.batch_size)

    def step(self, step: int) -> np.ndarray:
        """Indices of the items of a 0-based step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        return self.permutation(epoch)[place * self.batch_size : (place + 1) * self.batch_size]

    def permutation(self, epoch: int) -> np.ndarray:
        """The order of all items in an epoch."""
        return _permutation(self.items, self.seed, epoch)


@lru_cache(maxsize=1)
def _permutation(items: int, seed: int, epoch: int) -> np.ndarray:
    """That of the present epoch is kept: of a million items it takes longer than a step's plan."""
    order = np.random.default_rng([seed, epoch]).permutation(items)
    order.setflags(write=False)
    return order


def plan_trees(tokens: Sequence[int] | np.ndarray, budget: int, ranks: int = 1) -> list[list[MicroBatch]]:
    """Pack items of the given token counts: rank → micro-batches → positions in ``tokens``.

    Largest first into the lightest bin, with the fewest bins that keep every micro-batch within ``budget`` (an item
    larger than the budget travels alone). All ranks get equally many micro-batches; where there are fewer items than
    bins, some are empty.
    """
    sizes = [int(t) for t in tokens]
    order = sorted(range(len(sizes)), key=lambda i: (-sizes[i], i))
    per_rank = max(1, math.ceil(sum(sizes) / (budget * ranks)))
    while True:
        bins: list[tuple[int, int, MicroBatch]] = [(0, number, []) for number in range(per_rank * ranks)]
        for item in order:
            load, number, members = heapq.heappop(bins)
            members.append(item)
            heapq.heappush(bins, (load + sizes[item], number, members))
        if all(load <= budget or len(members) <= 1 for load, _, members in bins):
            break
        per_rank += 1
    ordered = [members for _, _, members in sorted(bins, key=lambda b: b[1])]
    return [ordered[rank::ranks] for rank in range(ranks)]


def plan_padded(lengths: Sequence[int] | np.ndarray, rows: int, budget: int, ranks: int = 1) -> list[list[MicroBatch]]:
    """The same for padded batches: items of like length go together, and ``budget`` bounds rows × longest.

    The cut minimises padding: what is computed, padding included, plus a fixed cost per micro-batch.

    Args:
        lengths: longest sequence of each item. ``rows``: sequences per item.
    """
    sizes = [int(t) for t in lengths]
    order = sorted(range(len(sizes)), key=lambda i: (-sizes[i], i))
    groups = [order[a:b] for a, b in _cheapest_cuts(rows * np.array([sizes[i] for i in order]), budget)] or [[]]
    while len(groups) % ranks:
        groups.sort(key=len)
        largest = groups.pop()
        middle = (len(largest) + 1) // 2
        groups += [largest[:middle], largest[middle:]]
    groups.sort(key=lambda g: -len(g) * (sizes[g[0]] if g else 0))
    return [groups[rank::ranks] for rank in range(ranks)]


def _cheapest_cuts(sizes: np.ndarray, budget: int) -> list[tuple[int, int]]:
    """Consecutive stretches of falling sizes, each padded to its first, of least total cost (dynamic programming)."""
    fixed = budget / 64  # what a micro-batch costs beside its tokens, as tokens
    cost = np.full(len(sizes) + 1, np.inf)
    cost[0] = 0
    begin = np.zeros(len(sizes) + 1, dtype=np.int64)
    first = 0
    for end in range(1, len(sizes) + 1):
        # sizes fall, so what is too much for one beginning is too much for all before it
        while first < end - 1 and sizes[first] * (end - first) > budget:
            first += 1
        starts = np.arange(first, end)
        costs = cost[first:end] + sizes[first:end] * (end - starts)
        best = int(costs.argmin())
        begin[end], cost[end] = first + best, costs[best] + fixed
    cuts = []
    end = len(sizes)
    while end:
        cuts.append((int(begin[end]), end))
        end = int(begin[end])
    return cuts[::-1]


def group_by_prefix(sequences: Sequence[np.ndarray], least: int = 16) -> list[list[int]]:
    """Group the sequences that are computed as one tree each; returns places, each in exactly one group.

    In lexicographic order sequences that begin alike are neighbours; of all ways to cut that order into groups, the one
    that leaves the fewest tokens is found (dynamic programming).

    Args:
        least: tokens that a branch must save to be worth a place in a tree.
    """
    order = sorted(range(len(sequences)), key=lambda i: sequences[i].astype(">i4").tobytes())
    saved = np.zeros(len(order) + 1)  # by the best cut of the first so many
    begin = np.zeros(len(order) + 1, dtype=np.int64)
    shared = np.full(len(order), np.iinfo(np.int64).max)  # prefix of a group from here to the sequence at hand
    for end in range(1, len(order) + 1):
        if end > 1:
            common = common_prefix(sequences[order[end - 2]], sequences[order[end - 1]])
            shared[: end - 1] = np.minimum(shared[: end - 1], common)
        branches = end - 1 - np.arange(end)  # beside the first
        gains = saved[:end] + branches * np.where(branches > 0, shared[:end] - least, 0)
        begin[end] = gains.argmax()
        saved[end] = gains[begin[end]]
    groups = []
    end = len(order)
    while end:
        groups.append(order[begin[end] : end])
        end = int(begin[end])
    return groups[::-1]


def common_prefix(a: np.ndarray, b: np.ndarray) -> int:
    """Number of tokens that two sequences have in common at their beginning."""
    shorter = min(len(a), len(b))
    differs = np.flatnonzero(a[:shorter] != b[:shorter])
    return int(differs[0]) if differs.size else shorter
