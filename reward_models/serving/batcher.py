"""Continuous batching: when the worker thread becomes free, it makes the next batch of the items that wait.

A batch starts with the item that has waited longest and takes the items that share a prefix with it. Samples of one
prompt are therefore computed together, also if several clients sent them, in any order.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

LOGGER = logging.getLogger(__name__)
OLDEST_SHARE = 4  # 1/4 of a batch is reserved for the large request that has waited longest
GROUP_SHARE = 8  # items form a group if they share a prefix of at least 1/8 of the first item
MAX_INCOMPATIBLE = 8  # stop to fill a batch after this many requests whose group does not fit into the rest of it
LONGEST_LINGER = 0.1  # seconds

# (requests, items, tokens, seconds) of a batch.
Observe = Callable[[int, int, int, float], None]


@dataclass(eq=False, slots=True)
class Item:
    """One sequence to compute.

    Attributes:
        place: its index in the request.
        key: sorting by key makes items with a common prefix neighbours.
        cost: tokens of the item alone. ``own``: tokens that it adds to the items of its job with smaller keys.
        at, before, common: its position in the sorted queue, the item before it there, and the number of tokens in
            their common prefix.
    """

    job: Job
    place: int
    value: Any
    key: bytes
    cost: int
    own: int = 0
    at: int = 0
    before: Item | None = None
    common: int = 0
    taken: bool = False


@dataclass(eq=False, slots=True)
class Job:
    """One request.

    Attributes:
        items: sorted by key.
        left: tokens that are not in a batch yet.
        done: number of results so far.
    """

    items: list[Item] = field(default_factory=list)
    future: Future[list[Any]] = field(default_factory=Future)
    results: list[Any] = field(default_factory=list)
    left: int = 0
    done: int = 0


def unrelated(before: Any, value: Any) -> int:
    """The common prefix of two values that share nothing: 0 tokens."""
    return 0


def make_job(
    values: Sequence[Any],
    costs: Sequence[int],
    key: Callable[[Any], bytes],
    common: Callable[[Any, Any], int],
) -> Job:
    """A request of ``values``; see :class:`Item` and :class:`Queue`."""
    job = Job(results=[None] * len(values))
    pairs = zip(values, costs, strict=True)
    items = [Item(job, place, value, key(value), cost, cost) for place, (value, cost) in enumerate(pairs)]
    job.items = sorted(items, key=lambda item: item.key)
    for before, item in pairwise(job.items):
        item.own = max(1, item.cost - common(before.value, item.value))
    job.left = sum(item.own for item in items)
    return job


class Queue:
    """The jobs that wait, in order of arrival, and their items, sorted by key.

    Args:
        common: length in tokens of the common prefix of two values.
    """

    def __init__(self, common: Callable[[Any, Any], int]) -> None:
        self._common = common
        self.jobs: list[Job] = []
        self.items: list[Item] = []

    def renew(self, arrived: Sequence[Job]) -> None:
        """Drop taken and cancelled requests; admit new ones."""
        jobs, self.jobs = [*self.jobs, *arrived], []
        for job in jobs:
            if job.future.done() or all(item.taken for item in job.items):
                job.items.clear()  # items refer to their job: the reference cycle would keep the texts in memory
            else:
                self.jobs.append(job)
        items = [item for item in self.items if not item.taken and item.job.items]
        items += [item for job in arrived for item in job.items]
        self.items = sorted(items, key=lambda item: item.key)
        for at, item in enumerate(self.items):
            before = self.items[at - 1] if at else None
            if before is not item.before:
                item.common = 0 if before is None else self._common(before.value, item.value)
            item.at, item.before = at, before

    @property
    def tokens(self) -> int:
        """Tokens of all items together, common prefixes counted once."""
        return sum(item.cost - item.common for item in self.items)

    def choose(self, budget: int) -> tuple[list[Item], int]:
        """The next batch and its tokens. It has at least one item, also if that item exceeds the budget.

        Jobs that fit into one batch are taken in order of arrival, before larger ones; of the larger ones, the job with
        the fewest tokens left comes first. If the job that has waited longest is a large one, a quarter of the batch is
        reserved for it. It therefore advances however many small jobs arrive, and small jobs do not wait for its end.
        """
        batch: list[Item] = []
        spent = incompatible = 0
        order = sorted(self.jobs, key=lambda job: max(job.left, budget))
        if order[0] is not self.jobs[0]:
            spent, _ = self._take(self.jobs[0], batch, budget // OLDEST_SHARE, 0)
        for job in order:
            tokens, fits = self._take(job, batch, budget - spent, budget)
            spent, incompatible = spent + tokens, incompatible + (not fits)
            if incompatible == MAX_INCOMPATIBLE:
                break
        return batch, spent

    def _take(self, job: Job, batch: list[Item], room: int, whole: int) -> tuple[int, bool]:
        """Put items of a job into the batch until ``room`` tokens are used.

        Args:
            whole: a group of up to this many tokens is taken whole or not at all; its parts would share no prefix.

        Returns:
            The tokens that were added, and whether all of the job is in the batch.
        """
        spent = 0
        for seed in job.items:
            if seed.taken:
                continue
            group, tokens = self._group(seed, max(room - spent, whole))
            if batch and room - spent < tokens <= whole:
                return spent, False
            for item, cost in group:
                if batch and spent + cost > room:
                    return spent, False
                item.taken = True
                item.job.left -= item.own
                spent += cost
                batch.append(item)
        return spent, True

    def _group(self, seed: Item, most: int) -> tuple[list[tuple[Item, int]], int]:
        """The seed and the waiting items that share a prefix with it, each with the tokens that it adds; and their sum.

        Items with the longest common prefix come first; the group ends with the first item beyond ``most`` tokens. In
        the sorted queue, the common prefix of two items is the shortest one of all neighbours between them.
        """
        shared, tokens, others = 0, seed.cost, list[tuple[Item, int]]()
        first = last = seed.at
        before = after = seed.cost  # common prefix of the seed with the next item on either side
        while tokens <= most:
            below = min(before, self.items[first].common)  # 0 for the first item of the queue
            above = min(after, self.items[last + 1].common) if last + 1 < len(self.items) else 0
            if max(below, above) * GROUP_SHARE < seed.cost:
                break
            if above >= below:
                last, after = last + 1, above
                item, common = self.items[last], self.items[last].common
            else:
                first, before = first - 1, below
                item, common = self.items[first], self.items[first + 1].common
            if item.taken:
                shared = max(shared, above, below)
            else:
                others.append((item, max(1, item.cost - common)))
                tokens += others[-1][1]
        shared = min(shared, seed.cost - 1)
        return [(seed, seed.cost - shared), *others], tokens - shared


class Batcher:
    """Computes the requests of all clients in batches.

    The result of a future is the list of the job's results, in order. Items of a cancelled future are not computed
    unless their batch has started. If ``compute`` raises, the requests of the batch are computed one by one: a request
    fails only if it fails alone.

    Args:
        compute: items → one result each, in order; called in the worker thread only.
        budget: most tokens of a batch; a larger item is a batch of its own.
        key, common: see :class:`Item` and :class:`Queue`; by default items share nothing.
        linger: longest time that a batch waits for further requests, as a share of the last batch's time. The wait ends
            as soon as no request arrives.
        observe: called after every batch.
    """

    def __init__(
        self,
        compute: Callable[[list[Any]], Sequence[Any]],
        budget: int,
        *,
        name: str,
        key: Callable[[Any], bytes] = lambda value: b"",
        common: Callable[[Any, Any], int] = unrelated,
        linger: float = 0.0,
        observe: Observe | None = None,
    ) -> None:
        self._compute, self._budget, self._linger, self._observe = compute, budget, linger, observe
        self._key, self._common = key, common
        self._queue = Queue(common)  # used by the worker thread only
        self._arrived: list[Job] = []
        self._changed = threading.Condition()
        self._closing = False
        self._last_seconds = 0.0
        self._thread = threading.Thread(target=self._work, name=f"model-{name}", daemon=True)
        self._thread.start()

    def submit(self, values: Sequence[Any], costs: Sequence[int]) -> Future[list[Any]]:
        """Queue a request's items, each with its tokens."""
        job = make_job(values, costs, self._key, self._common)
        if not values:
            job.future.set_result([])
            return job.future
        with self._changed:
            if self._closing:
                raise RuntimeError("this model is being unloaded")
            self._arrived.append(job)
            self._changed.notify()
        return job.future

    def close(self) -> None:
        """Compute what was submitted, then end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while self._wait():
            batch, tokens = self._queue.choose(self._budget)
            self._run(batch, tokens)
            del batch  # frees the texts of the request before the next one arrives

    def _wait(self) -> bool:
        """Wait until there is something to compute; false when closing."""
        while True:
            self._admit()
            if self._queue.jobs:
                self._linger_for_more()
            if self._queue.jobs:
                return True
            with self._changed:
                if not self._arrived:
                    if self._closing:
                        return False
                    self._changed.wait()

    def _admit(self) -> None:
        with self._changed:
            arrived, self._arrived = self._arrived, []
        self._queue.renew(arrived)  # not under the lock: the event loop would wait for it

    def _linger_for_more(self) -> None:
        """Clients answered by the last batch usually ask again at once; their requests make one batch."""
        longest = min(LONGEST_LINGER, self._linger * self._last_seconds)
        until = time.monotonic() + longest
        while self._queue.tokens < self._budget:
            with self._changed:
                pause = min(longest / 4, until - time.monotonic())
                if self._closing or pause <= 0:
                    return
                if not self._arrived and not self._changed.wait(pause):
                    return
            self._admit()

    def _run(self, batch: list[Item], tokens: int) -> None:
        jobs: dict[Job, list[Item]] = {}
        for item in batch:
            jobs.setdefault(item.job, []).append(item)
        began = time.perf_counter()
        try:
            results = self._compute([item.value for item in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results for {len(batch)} items")
        except Exception as error:
            if len(jobs) > 1:
                for part in jobs.values():
                    self._run(part, sum(item.own for item in part))
                return
            LOGGER.exception("a batch of %d could not be computed", len(batch))
            with suppress(InvalidStateError):
                batch[0].job.future.set_exception(error)
            return
        self._last_seconds = time.perf_counter() - began
        if self._observe is not None:
            self._observe(len(jobs), len(batch), tokens, self._last_seconds)
        self._deliver(batch, results)

    def _deliver(self, batch: list[Item], results: Sequence[Any]) -> None:
        for item, result in zip(batch, results, strict=True):
            item.job.results[item.place] = result
            item.job.done += 1
            if item.job.done == len(item.job.results):
                with suppress(InvalidStateError):  # it was cancelled meanwhile
                    item.job.future.set_result(item.job.results)
