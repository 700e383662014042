"""Replicas that send wrong answers, hang or stop: no wrong score, no endless wait, and every failure counted."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from remote_samples import QUICK, SAMPLES, length, lengths, scores
from stand_in_rewards import StandIn, keel, serving

from align.rewards.models.client import RewardClient
from align.rewards.models.remote import RemoteReward
from align.rewards.models.replicas import _Replica
from align.rewards.scoring import RewardFailure, check_failures
from align.rewards.terms import run_terms


def spoiled(kinds: Iterator[Any]) -> Callable[[StandIn], StandIn]:
    """A server that gives the next of ``kinds``, or what it makes of the true answer; ``None`` is the true answer."""

    def spoil(stand_in: StandIn) -> StandIn:
        honest = stand_in.answer

        def answer(path: str, body: Any) -> Any:
            kind = next(kinds, None)
            true = honest(path, body)
            return true if kind is None else kind(true) if callable(kind) else kind

        stand_in.answer = answer
        return stand_in

    return spoil


def _changed(key: str, value: Any) -> Callable[[Any], Any]:
    return lambda true: {**true, "results": [{**true["results"][0], key: value}, *true["results"][1:]]}


MALFORMED: list[Any] = [
    (200, {}, b"<html>Bad gateway</html>"),
    (200, {}, b""),
    (200, {}, b"[" * 100_000),
    (200, {}, b'{"results": NaN}'),
    [],
    "scores",
    (200, {}, b"null"),
    lambda true: {**true, "results": true["results"][1:]},
    lambda true: {**true, "results": true["results"] * 2},
    lambda true: {**true, "model": "other"},
    lambda true: {**true, "manifest": "reloaded"},
    _changed("raw", float("nan")),
    _changed("raw", float("inf")),
    _changed("raw", "1.5"),
    _changed("raw", True),
    _changed("raw", [1.0]),
    _changed("calibrated", "high"),
    _changed("terms", [1]),
    (500, {}, b"Traceback"),
    (302, {"Location": "http://127.0.0.1:1/"}, b""),
]


def test_malformed_responses_are_asked_again_elsewhere_and_never_a_score() -> None:
    honest = keel(length)
    for kind in MALFORMED:
        stand_in = spoiled(itertools.repeat(kind))(keel(length))
        with serving(stand_in, honest) as urls:
            term = RemoteReward(task="preference", urls=urls, batch=2, concurrency=2, **QUICK)
            assert scores(term) == lengths()
            failed = term.counts["invalid"] + term.counts["errors"]
            assert failed == len(stand_in.requests)
            assert term.counts["retries"] == failed
            assert not term.counts["failed"]


def test_where_every_response_is_malformed_there_is_no_score_and_the_run_stops() -> None:
    with serving(spoiled(itertools.repeat(_changed("raw", "1.5")))(keel(length))) as urls:
        term = RemoteReward(task="preference", urls=urls, **(QUICK | {"give_up_after": 0.3}))
        found = run_terms([term], SAMPLES, retries=0)["helpful"]
    assert found.scores == (None,) * 10
    assert found.failures == 10
    assert term.counts["failed"] == 10
    assert term.counts["gave_up"] == 1
    with pytest.raises(RewardFailure, match="failed on 10 of 10"):
        check_failures({"helpful": (found.failures, found.applicable)}, 0.1)


def test_a_replica_that_dies_costs_nothing_but_time_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("align.rewards.models.replicas.REST", 60.0)
    dying, other = keel(length), keel(length)
    with serving(dying, other) as urls:
        term = RemoteReward(task="preference", urls=urls, batch=1, concurrency=4, **QUICK)
        assert scores(term) == lengths()
        dying.stop()
        for _ in range(3):
            assert scores(term) == lengths()
        # at most the requests in flight found it dead; it rests since, and the other one has all the work
        assert 1 <= term.counts["unreachable"] <= 4
        dying.start()
        before = len(dying.requests)
        assert scores(term) == lengths()
        assert len(dying.requests) == before
        later = SimpleNamespace(monotonic=lambda: time.monotonic() + 120.0)  # for this module alone
        monkeypatch.setattr("align.rewards.models.replicas.time", later)
        for _ in range(3):
            assert scores(term) == lengths()
    assert len(dying.requests) > before
    assert not term.counts["failed"]


def test_a_replica_that_failed_is_tried_by_one_request_at_a_time_after_its_rest() -> None:
    replica = _Replica("http://a", rests_until=100.0)
    assert replica.rank(99.0)[0]
    assert not replica.rank(101.0)[0]
    replica.in_flight = 1
    assert replica.rank(101.0)[0]
    replica.rests_until = 0.0
    assert not replica.rank(101.0)[0]


def test_no_answer_at_all_is_given_up_in_time() -> None:
    stand_in = keel(length)
    with serving(stand_in) as urls:
        term = RemoteReward(task="preference", urls=urls, **(QUICK | {"timeout": 0.1, "give_up_after": 0.5}))
        stand_in.delay = 5.0
        began = time.monotonic()
        found = scores(term)
        took = time.monotonic() - began
    assert all(math.isnan(value) for value in found if value is not None)
    assert None not in found
    assert took < 2.0
    assert term.counts["timeouts"] >= 2
    assert term.counts["failed"] == 10


def test_a_busy_server_is_left_alone_as_long_as_it_asks_and_a_draining_one_avoided() -> None:
    busy = iter([(429, {"Retry-After": "1"}, b"later")])
    with serving(spoiled(busy)(keel(length))) as urls:
        term = RemoteReward(task="preference", urls=urls, **QUICK)
        began = time.monotonic()
        assert scores(term) == lengths()
        assert time.monotonic() - began >= 1.0
    assert (term.counts["busy"], term.counts["errors"]) == (1, 0)
    draining = spoiled(itertools.repeat((503, {}, b"draining")))(keel(length))
    with serving(draining, keel(length)) as urls:
        term = RemoteReward(task="preference", urls=urls, batch=1, concurrency=1, **QUICK)
        assert scores(term) == lengths()
    assert len(draining.requests) <= 1


def test_one_sample_that_is_refused_does_not_cost_its_neighbours_their_scores() -> None:
    stand_in = keel(length)
    honest = stand_in.answer

    def answer(path: str, body: Any) -> Any:
        too_long = any("7" in c[-1]["content"] for c in body["conversations"])
        return (422, {}, b"too long") if too_long else honest(path, body)

    stand_in.answer = answer
    with serving(stand_in) as urls:
        term = RemoteReward(task="preference", urls=urls, **QUICK)
        found = run_terms([term], SAMPLES, retries=0)["helpful"]
    assert found.scores == tuple(None if i == 7 else value for i, value in enumerate(lengths()))
    assert found.failures == 1


def test_an_error_of_one_sample_is_a_failure_of_it_alone() -> None:
    with serving(keel(lambda c: {"error": "no"} if "3" in c[-1]["content"] else length(c))) as urls:
        found = run_terms([RemoteReward(task="preference", urls=urls)], SAMPLES, retries=0)["helpful"]
    assert found.failures == 1
    assert found.scores[3] is None
    assert [s for s in found.scores if s is not None] == [v for i, v in enumerate(lengths()) if i != 3]


def test_many_threads_ask_for_one_sample_each_as_openrlhf_does() -> None:
    stand_in = keel(length)
    with serving(stand_in) as urls, ThreadPoolExecutor(32) as threads:
        client = RewardClient(urls, concurrency=8)
        found = list(threads.map(lambda s: asyncio.run(client.answers([s]))[0].calibrated, SAMPLES * 20))
    assert found == lengths() * 20
    assert len(stand_in.requests) == client.counts["requests"] == 200


def test_whatever_happens_no_score_is_wrong_and_every_failure_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three replicas that lie, stall, refuse and die at random, for as long as it takes to ask for 600 scores."""
    monkeypatch.setattr("align.rewards.models.replicas.LONGEST_WAIT", 0.2)
    chance = random.Random(0)
    replicas = [keel(length) for _ in range(3)]
    for replica in replicas:
        spoiled(iter(lambda: chance.choice(MALFORMED) if chance.random() < 0.3 else None, object()))(replica)
    ended = threading.Event()

    def unrest() -> None:
        while not ended.wait(0.05):
            victim = chance.choice(replicas)
            victim.stop()
            victim.delay = chance.choice([0.0, 0.0, 0.3])
            ended.wait(0.05)
            victim.start()

    with serving(*replicas) as urls:
        term = RemoteReward(task="preference", urls=urls, batch=2, timeout=0.2, give_up_after=20, first_wait=0.01)
        trouble = threading.Thread(target=unrest)
        trouble.start()
        began = time.monotonic()
        found = scores(term, SAMPLES * 60)
        took = time.monotonic() - began
        ended.set()
        trouble.join()
    wrong = [(f, e) for f, e in zip(found, lengths() * 60, strict=True) if f != e and not math.isnan(f or 0.0)]
    assert not wrong
    assert sum(math.isnan(f or 0.0) for f in found) == term.counts["failed"] == 2 * term.counts["gave_up"]
    assert term.counts["invalid"] > 50
    assert term.counts["unreachable"] + term.counts["timeouts"] > 0
    assert took < 60
