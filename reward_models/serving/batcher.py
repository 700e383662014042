"""Continuous batching: one worker thread, and batches made of whatever waits when it becomes free."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

LOGGER = logging.getLogger(__name__)
OLDEST_SHARE = 4  # one part in so many of every batch belongs to the request that has waited longest
SMALL_SHARE = 8  # requests of up to one part in so many go as they came: samples of a prompt come together
WIDTH = 4  # small requests together may come to so many budgets, for what they begin with in common is computed once
LONGEST_LINGER = 0.1  # seconds

# Requests, items, tokens and seconds of a batch.
Observe = Callable[[int, int, int, float], None]


@dataclass(eq=False, slots=True)
class Job:
    """One request: its items in the order in which they are computed, and what is known of them.

    Attributes:
        costs: tokens of each item.
        taken, done: how many items went to the worker, and came back.
        left: tokens that were not taken yet.
    """

    items: Sequence[Any]
    costs: Sequence[int]
    future: Future[list[Any]] = field(default_factory=Future)
    results: list[Any] = field(default_factory=list)
    taken: int = 0
    done: int = 0
    left: int = 0

    def __post_init__(self) -> None:
        self.results, self.left = [None] * len(self.items), sum(self.costs)

    def take(self, budget: int, *, at_least_one: bool = False) -> int:
        """Take what fits into so many tokens; returns how many it came to."""
        spent = 0
        while self.taken < len(self.items):
            cost = self.costs[self.taken]
            if spent + cost > budget and not (at_least_one and not spent):
                break
            spent += cost
            self.taken += 1
        self.left -= spent
        return spent


def choose(jobs: Sequence[Job], budget: int) -> list[tuple[Job, range]]:
    """The next batch: which items of which jobs.

    The oldest job gets a quarter of the budget, and always at least one item: however many small requests come, a large
    one goes on. The rest goes to those with the least left: small ones do not wait for a large one.

    Args:
        jobs: oldest first; none of them is fully taken.
    """
    before = {job: job.taken for job in jobs}
    spent, small = jobs[0].take(budget // OLDEST_SHARE, at_least_one=True), budget // SMALL_SHARE
    for job in sorted(jobs, key=lambda job: max(job.left, small)):
        spent += job.take((budget * WIDTH if job.left <= small else budget) - spent)
    return [(job, range(start, job.taken)) for job, start in before.items() if job.taken > start]


class Batcher:
    """Feeds ``compute`` from the requests of all clients.

    A future's result are the results of the job's items, in order; a cancelled future's items are not computed if they
    were not yet. Where ``compute`` raises, the requests of the batch are computed one by one, so that only those fail
    that fail alone.

    Args:
        compute: items → one result each, in order; runs in the worker thread only.
        budget: most tokens of a batch, apart from what small requests share; a larger item travels alone.
        linger: a batch waits for company, as long as company keeps coming, for this share of what the last one took.
        observe: is told of every batch.
    """

    def __init__(
        self,
        compute: Callable[[list[Any]], Sequence[Any]],
        budget: int,
        *,
        name: str,
        linger: float = 0.0,
        observe: Observe | None = None,
    ) -> None:
        self._compute, self._budget, self._linger, self._observe = compute, budget, linger, observe
        self._jobs: list[Job] = []
        self._changed = threading.Condition()
        self._closing = False
        self._last_seconds = 0.0
        self._thread = threading.Thread(target=self._work, name=f"model-{name}", daemon=True)
        self._thread.start()

    def submit(self, items: Sequence[Any], costs: Sequence[int]) -> Future[list[Any]]:
        """Queue a request's items, in the order in which they are best computed."""
        job = Job(items, costs)
        if not items:
            job.future.set_result([])
            return job.future
        with self._changed:
            if self._closing:
                raise RuntimeError("this model is being unloaded")
            self._jobs.append(job)
            self._changed.notify()
        return job.future

    def close(self) -> None:
        """Compute what was submitted, then end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next():
            self._run(batch)
            del batch  # a request's texts must not live until the next one comes

    def _next(self) -> list[tuple[Job, range]]:
        """Wait for something to compute; nothing when closing."""
        with self._changed:
            while True:
                self._jobs = [job for job in self._jobs if not job.future.done()]  # cancelled, or failed
                if self._jobs:
                    self._wait_for_company()
                    batch = choose(self._jobs, self._budget)
                    self._jobs = [job for job in self._jobs if job.taken < len(job.items)]
                    return batch
                if self._closing:
                    return []
                self._changed.wait()

    def _wait_for_company(self) -> None:
        """Those who were answered by the last batch are about to ask again, and belong together."""
        longest = min(LONGEST_LINGER, self._linger * self._last_seconds)
        until = time.monotonic() + longest
        while not self._closing and sum(job.left for job in self._jobs) < WIDTH * self._budget:
            count, pause = len(self._jobs), min(longest / 4, until - time.monotonic())
            if pause <= 0 or (not self._changed.wait(pause) and len(self._jobs) == count):
                return

    def _run(self, batch: list[tuple[Job, range]]) -> None:
        items = [job.items[i] for job, places in batch for i in places]
        began = time.perf_counter()
        try:
            results = self._compute(items)
            if len(results) != len(items):
                raise RuntimeError(f"{len(results)} results for {len(items)} items")
        except Exception as error:
            if len(batch) > 1:
                for part in batch:
                    self._run([part])
                return
            LOGGER.exception("a batch of %d could not be computed", len(items))
            with suppress(InvalidStateError):
                batch[0][0].future.set_exception(error)
            return
        self._last_seconds = time.perf_counter() - began
        if self._observe is not None:
            tokens = sum(job.costs[i] for job, places in batch for i in places)
            self._observe(len(batch), len(items), tokens, self._last_seconds)
        self._deliver(batch, results)

    def _deliver(self, batch: list[tuple[Job, range]], results: Sequence[Any]) -> None:
        at = 0
        for job, places in batch:
            job.results[places.start : places.stop] = results[at : at + len(places)]
            at += len(places)
            job.done += len(places)
            if job.done == len(job.items):
                with suppress(InvalidStateError):  # it was cancelled meanwhile
                    job.future.set_result(job.results)
