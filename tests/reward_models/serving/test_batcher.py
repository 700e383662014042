"""Batches are fair, results come back in order, and one request's trouble is not another's."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from itertools import pairwise, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward_models.serving.batcher import Batcher, Job, Queue, make_job

WORDS = st.lists(st.text("abc", min_size=1, max_size=12), min_size=1, max_size=12)


def common(a: str, b: str) -> int:
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False))))


def job(*words: str) -> Job:
    """A request of words, of which every letter is a token."""
    return make_job(words, [len(word) for word in words], str.encode, common)


def choices(jobs: Sequence[Job], budget: int) -> Iterator[tuple[list[str], int]]:
    """All batches until nothing is left."""
    queue = Queue(common)
    queue.renew(jobs)
    while queue.jobs:
        batch, tokens = queue.choose(budget)
        yield [item.value for item in batch], tokens
        queue.renew(())


def tree(words: Sequence[str]) -> int:
    """Tokens of words that share whatever they can."""
    ordered = sorted(words)
    return sum(map(len, ordered)) - sum(common(a, b) for a, b in pairwise(ordered))


@given(st.lists(WORDS, min_size=1, max_size=12), st.integers(3, 40))
def test_every_item_is_computed_once_and_within_the_budget(requests: list[list[str]], budget: int) -> None:
    batches = list(choices([job(*words) for words in requests], budget))
    assert sorted(w for words, _ in batches for w in words) == sorted(w for words in requests for w in words)
    for words, tokens in batches:
        assert tree(words) <= tokens
        assert tokens <= budget or len(words) == 1


@given(st.lists(WORDS, min_size=1, max_size=12), st.integers(3, 40))
def test_the_oldest_request_goes_on_with_every_batch(requests: list[list[str]], budget: int) -> None:
    jobs = [job(*words) for words in requests]
    queue = Queue(common)
    queue.renew(jobs)
    while queue.jobs:
        oldest = queue.jobs[0]
        batch, _ = queue.choose(budget)
        assert any(item.job is oldest for item in batch)
        queue.renew(())


def test_what_begins_alike_goes_together_whoever_sent_it_and_in_whatever_order() -> None:
    prompts = ["a" * 20, "b" * 20, "c" * 20]
    samples = [prompt + end for end in "uvwxyz" for prompt in prompts]  # one of each prompt, then the next of each
    batches = list(choices([job(sample) for sample in samples], 30))
    assert [(sorted(words), tokens) for words, tokens in batches] == [
        ([prompt + end for end in "uvwxyz"], 26) for prompt in prompts
    ]


def test_a_group_that_fits_is_not_split_and_a_larger_one_is() -> None:
    first, group = job("c" * 10), [job("a" * 10 + end) for end in "uvwxyz"]
    assert [len(words) for words, _ in choices([first, *group], 20)] == [1, 6]
    large = [job("a" * 10 + end * 5) for end in "uvwxyz"]
    assert [tokens for _, tokens in choices(large, 22)] == [20, 20, 20]


def test_those_with_the_most_in_common_come_first() -> None:
    """Not what merely has the same instructions before it."""
    seed, others = job("i" * 10 + "m" * 10 + "m"), [job("i" * 10 + letter * 10 + "a") for letter in "xyz"]
    own = [job("i" * 10 + "m" * 10 + end) for end in "abcxyz"]
    words, tokens = next(iter(choices([seed, *others, *own], 30)))
    assert sorted(words) == sorted("i" * 10 + "m" * 10 + end for end in "abcmxyz")
    assert tokens == 27


def test_small_requests_pass_a_large_one_that_still_advances() -> None:
    words = [letter * 10 for letter in "abcdefghijklmnopqrstuvwxyz"]
    large, small = job(*words), [job(str(number) * 10) for number in range(6)]
    batches = [words for words, _ in choices([large, *small], 80)]
    assert batches[0] == ["a" * 10, "b" * 10, *(str(number) * 10 for number in range(6))]
    assert len(batches) == 4
    flood = [job(str(number % 10) * 5 + str(number) * 5) for number in range(200)]
    first = next(iter(choices([job(*words), *flood], 80)))[0]
    assert first[:2] == ["a" * 10, "b" * 10]
    assert set(first[2:]).isdisjoint(words)


def test_an_item_over_the_budget_travels_alone() -> None:
    huge, small = job("a" * 500, "b" * 5), job("c" * 5)
    assert [words for words, _ in choices([huge, small], 100)] == [["a" * 500], ["b" * 5, "c" * 5]]
    assert [len(words) for words, _ in choices([job("c" * 5), job("a" * 500)], 100)] == [1, 1]


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
