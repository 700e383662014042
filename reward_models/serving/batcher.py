"""Continuous batching: one worker thread, and batches made of whatever waits when it becomes free.

A batch begins with what has waited longest and takes along whatever begins alike: samples of one prompt are computed
together, whoever sent them and in whatever order they came.
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
OLDEST_SHARE = 4  # one part in so many of a batch goes to a large request that has waited longest
FAMILY_SHARE = 8  # items belong together if they have at least one part in so many of the first one in common
MISFITS = 8  # families that did not fit into the rest of a batch; then no more are tried
LONGEST_LINGER = 0.1  # seconds

# Requests, items, tokens and seconds of a batch.
Observe = Callable[[int, int, int, float], None]


@dataclass(eq=False, slots=True)
class Item:
    """One thing to compute.

    Attributes:
        place: in its job's request.
        key: items that begin alike are neighbours in the order of their keys.
        cost: tokens that it takes alone; ``own``: beside those items of its job that come before it in that order.
        at, before, common: where it stands in the line of all that wait, behind which item, and how many tokens the two
            have in common.
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
        items: in the order of their keys.
        left: tokens that were not taken yet.
        done: how many results came back.
    """

    items: list[Item] = field(default_factory=list)
    future: Future[list[Any]] = field(default_factory=Future)
    results: list[Any] = field(default_factory=list)
    left: int = 0
    done: int = 0


def unrelated(before: Any, value: Any) -> int:
    """No two values have anything in common."""
    return 0


def make_job(
    values: Sequence[Any],
    costs: Sequence[int],
    key: Callable[[Any], bytes],
    common: Callable[[Any, Any], int],
) -> Job:
    """A request of ``values``; see :class:`Item` and :class:`Line`."""
    job = Job(results=[None] * len(values))
    pairs = zip(values, costs, strict=True)
    items = [Item(job, place, value, key(value), cost, cost) for place, (value, cost) in enumerate(pairs)]
    job.items = sorted(items, key=lambda item: item.key)
    for before, item in pairwise(job.items):
        item.own = max(1, item.cost - common(before.value, item.value))
    job.left = sum(item.own for item in items)
    return job


class Line:
    """All that waits, the jobs as they came, their items in the order of their keys.

    Args:
        common: how many tokens two values begin with in common.
    """

    def __init__(self, common: Callable[[Any, Any], int]) -> None:
        self._common = common
        self.jobs: list[Job] = []
        self.items: list[Item] = []

    def renew(self, arrived: Sequence[Job]) -> None:
        """Forget what was taken, and whom nobody waits for any more; let ``arrived`` in."""
        jobs, self.jobs = [*self.jobs, *arrived], []
        for job in jobs:
            if job.future.done() or all(item.taken for item in job.items):
                job.items.clear()  # they name their job: a cycle would keep texts alive
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
        """What all of it comes to."""
        return sum(item.cost - item.common for item in self.items)

    def choose(self, budget: int) -> tuple[list[Item], int]:
        """The next batch, and its tokens. There is at least one item in it, over the budget if need be.

        Jobs of up to one batch go as they came, and before larger ones, of which the one with the least left goes
        first. The one that has waited longest gets a quarter of the batch before all others if it is a large one: it
        goes on however many small ones come, and they do not wait for its end.
        """
        batch: list[Item] = []
        spent = misfits = 0
        order = sorted(self.jobs, key=lambda job: max(job.left, budget))
        if order[0] is not self.jobs[0]:
            spent, _ = self._take(self.jobs[0], batch, budget // OLDEST_SHARE, 0)
        for job in order:
            tokens, fits = self._take(job, batch, budget - spent, budget)
            spent, misfits = spent + tokens, misfits + (not fits)
            if misfits == MISFITS:
                break
        return batch, spent

    def _take(self, job: Job, batch: list[Item], room: int, whole: int) -> tuple[int, bool]:
        """Put as much of a job into the batch as there is room for; returns its tokens, and whether it was all of it.

        Args:
            whole: a family of up to so many tokens is not torn apart, for its parts would share nothing.
        """
        spent = 0
        for seed in job.items:
            if seed.taken:
                continue
            family, tokens = self._family(seed, max(room - spent, whole))
            if batch and room - spent < tokens <= whole:
                return spent, False
            for item, cost in family:
                if batch and spent + cost > room:
                    return spent, False
                item.taken = True
                item.job.left -= item.own
                spent += cost
                batch.append(item)
        return spent, True

    def _family(self, seed: Item, most: int) -> tuple[list[tuple[Item, int]], int]:
        """The seed, and those that begin like it and were not taken, each with the tokens that it adds; and their sum.

        Those with the most in common come first, and the first one beyond ``most`` tokens last. In the order of keys
        what two items have in common is the least that any two neighbours between them have.
        """
        shared, tokens, others = 0, seed.cost, list[tuple[Item, int]]()
        first = last = seed.at
        before = after = seed.cost  # what the seed has in common with the next on either side
        while tokens <= most:
            below = min(before, self.items[first].common)  # 0 of the first in the line
            above = min(after, self.items[last + 1].common) if last + 1 < len(self.items) else 0
            if max(below, above) * FAMILY_SHARE < seed.cost:
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
    """Feeds ``compute`` from the requests of all clients.

    A future's result are the results of the job's items, in order; a cancelled future's items are not computed if they
    were not yet. Where ``compute`` raises, the requests of the batch are computed one by one, so that only those fail
    that fail alone.

    Args:
        compute: items → one result each, in order; runs in the worker thread only.
        budget: most tokens of a batch; a larger item travels alone.
        key, common: see :class:`Item` and :class:`Line`; by default no two items have anything in common.
        linger: a batch waits for company, as long as company keeps coming, for this share of what the last one took.
        observe: is told of every batch.
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
        self._line = Line(common)  # the worker's own
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
            batch, tokens = self._line.choose(self._budget)
            self._run(batch, tokens)
            del batch  # a request's texts must not live until the next one comes

    def _wait(self) -> bool:
        """Until there is something to compute; false when closing."""
        while True:
            self._let_in()
            if self._line.jobs:
                self._wait_for_company()
            if self._line.jobs:
                return True
            with self._changed:
                if not self._arrived:
                    if self._closing:
                        return False
                    self._changed.wait()

    def _let_in(self) -> None:
        with self._changed:
            arrived, self._arrived = self._arrived, []
        self._line.renew(arrived)  # not under the lock, for which the event loop would wait

    def _wait_for_company(self) -> None:
        """Those who were answered by the last batch are about to ask again, and belong together."""
        longest = min(LONGEST_LINGER, self._linger * self._last_seconds)
        until = time.monotonic() + longest
        while self._line.tokens < self._budget:
            with self._changed:
                pause = min(longest / 4, until - time.monotonic())
                if self._closing or pause <= 0:
                    return
                if not self._arrived and not self._changed.wait(pause):
                    return
            self._let_in()

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
