"""Batches are fair, results come back in order, and one request's trouble is not another's."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward_models.serving.batcher import WIDTH, Batcher, Job, choose

COSTS = st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=12), min_size=1, max_size=12)


@given(COSTS, st.integers(20, 100))
def test_every_item_is_computed_once_within_the_budget_and_the_oldest_always_goes_on(
    costs: list[list[int]], budget: int
) -> None:
    jobs = [Job(each, each) for each in costs]
    taken: dict[Job, list[int]] = {job: [] for job in jobs}
    left = list(jobs)
    while left:
        batch = choose(left, budget)
        assert any(job is left[0] for job, _ in batch)
        items = [job.costs[i] for job, places in batch for i in places]
        assert sum(items) <= WIDTH * budget or len(items) == 1
        for job, places in batch:
            taken[job] += places
        left = [job for job in left if job.taken < len(job.items)]
    assert all(places == list(range(len(job.items))) for job, places in taken.items())


def test_small_requests_pass_a_large_one_that_still_advances() -> None:
    large = Job(range(100), [10] * 100)
    small = [Job([0], [10]) for _ in range(6)]
    batch = dict(choose([large, *small], 80))
    assert batch == {large: range(2), **{job: range(1) for job in small}}
    # a new flood of small ones does not stop it
    assert choose([large, *(Job([0], [10]) for _ in range(50))], 80)[0] == (large, range(2, 4))


def test_an_item_over_the_budget_travels_alone() -> None:
    huge, other, small = Job([0, 1], [500, 5]), Job([0], [500]), Job([0], [5])
    assert choose([huge, small], 100) == [(huge, range(1))]
    assert choose([small, other], 100) == [(small, range(1))]


class Slow:
    """Computes −x, holds until released, and remembers its batches."""

    def __init__(self) -> None:
        self.go, self.batches = threading.Event(), list[list[int]]()

    def __call__(self, items: list[int]) -> Sequence[int]:
        self.go.wait(5)
        self.batches.append(list(items))
        if 13 in items:
            raise ValueError("thirteen")
        return [-item for item in items]


@pytest.mark.parametrize("linger", [0.0, 0.5])
def test_requests_share_batches_and_each_gets_its_own_results_in_order(linger: float) -> None:
    compute = Slow()
    batcher = Batcher(compute, 8, name="test", linger=linger)
    jobs = [batcher.submit(items := [10 * n + i for i in range(n)], [1] * len(items)) for n in range(1, 8)]
    compute.go.set()
    for n, job in enumerate(jobs, start=1):
        assert job.result(5) == [-(10 * n + i) for i in range(n)]
    batcher.close()
    assert max(map(len, compute.batches)) == 8
    seen = sorted(i for batch in compute.batches for i in batch)
    assert seen == sorted(10 * n + i for n in range(1, 8) for i in range(n))
    assert batcher.submit([], []).result(1) == []
    with pytest.raises(RuntimeError, match="unloaded"):
        batcher.submit([1], [1])


def test_only_the_request_that_fails_alone_fails() -> None:
    compute = Slow()
    batcher = Batcher(compute, 100, name="test")
    good, bad, other = (batcher.submit(items, [1] * len(items)) for items in ([1, 2], [13], [3]))
    compute.go.set()
    assert (good.result(5), other.result(5)) == ([-1, -2], [-3])
    with pytest.raises(ValueError, match="thirteen"):
        bad.result(5)
    batcher.close()


def test_what_was_cancelled_is_not_computed() -> None:
    compute = Slow()
    batcher = Batcher(compute, 1, name="test")
    first = batcher.submit([1], [1])
    time.sleep(0.05)  # it is being computed
    gone: Future[list[int]] = batcher.submit([2], [1])
    assert gone.cancel()
    last = batcher.submit([3], [1])
    compute.go.set()
    assert (first.result(5), last.result(5)) == ([-1], [-3])
    batcher.close()
    assert compute.batches == [[1], [3]]


def test_closing_computes_what_waits() -> None:
    compute = Slow()
    compute.go.set()
    batcher = Batcher(compute, 2, name="test")
    jobs = [batcher.submit([n], [1]) for n in range(100, 120)]
    batcher.close()
    assert [job.result(0) for job in jobs] == [[-n] for n in range(100, 120)]
