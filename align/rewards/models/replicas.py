"""Requests to several servers that answer alike: retries elsewhere, circuits, hedging, and counts of what went wrong.

All of it belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx2

T = TypeVar("T")

TOKEN_VARIABLE = "KEEL_REWARD_TOKEN"
LONGEST_WAIT = 10.0  # seconds between two tries, unless a server asks for longer
LONGEST_RETRY_AFTER = 60.0
HEALTH_TIMEOUT = 5.0  # seconds
REFUSALS = (400, 413, 422)  # the request itself is at fault: no other try and no other replica would help


class RewardServerError(ValueError):
    """A reward server that cannot be used; the message says which, why, and the way out."""


class Garbage(Exception):
    """An answer that is none: never to be taken for a score."""


class Refused(Exception):
    """The servers will not take this request, however often they are asked."""


class GaveUp(Exception):
    """No replica gave an answer in time; the message quotes the last failure."""


class _Failed(Exception):
    """One try of one replica."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaConfig:
    """How to reach the servers.

    Args:
        urls: of replicas that serve the same.
        timeout: seconds for one try, from connecting to the last byte.
        give_up_after: seconds for all tries of one request together.
        first_wait: seconds; the n-th wait between tries is drawn from 0 … ``first_wait`` · 2ⁿ⁻¹ (full jitter).
        concurrency: requests in flight at a time.
        hedge_after: seconds without an answer after which a second replica is asked too; ``None``: never.
        breaker_failures: so many failures in a row take a replica out, for ``breaker_seconds``; then it must pass its
            health check before it is asked again.
    """

    urls: tuple[str, ...]
    timeout: float = 60.0
    give_up_after: float = 240.0
    first_wait: float = 0.25
    concurrency: int = 16
    hedge_after: float | None = None
    breaker_failures: int = 3
    breaker_seconds: float = 10.0

    def __post_init__(self) -> None:
        if not self.urls:
            raise RewardServerError("no reward server: give at least one address")
        for url in self.urls:
            try:
                parsed = httpx2.URL(url)
            except httpx2.InvalidURL as error:
                raise RewardServerError(f"{url!r} is no http(s) address: {error}") from None
            if parsed.scheme not in ("http", "https") or not parsed.host:
                raise RewardServerError(f"{url!r} is no http(s) address")
            if parsed.userinfo or parsed.query:
                raise RewardServerError(
                    f"{url!r} must hold neither password nor key; put the token in {TOKEN_VARIABLE}"
                )
        for name in ("timeout", "give_up_after", "concurrency", "breaker_failures"):
            if getattr(self, name) <= 0:
                raise RewardServerError(f"{name}={getattr(self, name)} must be positive")


@dataclass(slots=True)
class _Replica:
    """``failures`` in a row; it is left alone until ``out_until`` (of the monotonic clock)."""

    url: str
    failures: int = 0
    out_until: float = 0.0
    in_flight: int = 0


@dataclass(slots=True)
class Replicas:
    """See :class:`ReplicaConfig`.

    Attributes:
        counts: ``requests``, ``retries``, ``hedges`` and ``hedges_won``; what failed: ``timeouts``, ``unreachable``,
            ``busy`` (429), ``errors`` (other statuses), ``garbage``; ``circuits`` that opened; requests that were
            ``refused``, or that it ``gave_up``.
    """

    config: ReplicaConfig
    health: str
    counts: Counter[str] = field(default_factory=Counter)
    replicas: list[_Replica] = field(init=False)
    _client: httpx2.AsyncClient = field(init=False)
    _slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        token = os.environ.get(TOKEN_VARIABLE)
        self.replicas = [_Replica(url.rstrip("/")) for url in self.config.urls]
        limit = self.config.concurrency
        self._client = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=None,
            limits=httpx2.Limits(max_connections=2 * limit, max_keepalive_connections=limit),
        )
        self._slots = asyncio.Semaphore(limit)

    async def close(self) -> None:
        await self._client.aclose()

    async def ask(self, path: str, body: Any, read: Callable[[Any], T]) -> T:
        """The answer to one POST, as ``read`` understands it.

        Args:
            read: the JSON of an answer to a value; raises :class:`Garbage` where it is none.

        Raises:
            Refused, GaveUp: see there.
        """
        end = time.monotonic() + self.config.give_up_after
        last, detail, number = None, "none of them was tried", 0
        async with self._slots:
            while True:
                replica = self._choose(last)
                if replica is not None:
                    try:
                        return await self._hedged(replica, path, body, read, end)
                    except _Failed as error:
                        last, detail = replica, str(error)
                wait = random.uniform(0, min(LONGEST_WAIT, self.config.first_wait * 2**number))
                if replica is None:
                    wait += max(0.0, min(r.out_until for r in self.replicas) - time.monotonic())
                number += 1
                if time.monotonic() + wait >= end:
                    self.counts["gave_up"] += 1
                    raise GaveUp(f"no answer from {', '.join(self.config.urls)}; the last failure: {detail}")
                self.counts["retries"] += 1
                await asyncio.sleep(wait)

    async def check(self) -> list[tuple[str, str | None]]:
        """Each replica's address and what is wrong with it, ``None`` for a healthy one."""
        problems = await asyncio.gather(*(self._problem(replica.url) for replica in self.replicas))
        return list(zip(self.config.urls, problems, strict=True))

    async def get(self, url: str, path: str) -> Any:
        """The JSON at a path of one replica. :class:`RewardServerError` if there is none."""
        try:
            async with asyncio.timeout(self.config.timeout):
                response = await self._client.get(url.rstrip("/") + path)
            if response.status_code in (401, 403):
                raise RewardServerError(f"{url} refuses the token ({quoted(response)}); set {TOKEN_VARIABLE}")
            if response.status_code != 200:
                raise RewardServerError(f"{url}{path}: {quoted(response)}")
            return response.json()
        except (TimeoutError, httpx2.HTTPError) as error:
            raise RewardServerError(f"{url}{path}: {_named(error)}") from None
        except (ValueError, RecursionError) as error:
            if isinstance(error, RewardServerError):
                raise
            raise RewardServerError(f"{url}{path} gives no JSON: {_named(error)}") from None

    async def _problem(self, url: str) -> str | None:
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT):
                response = await self._client.get(url + self.health)
        except (TimeoutError, httpx2.HTTPError) as error:
            return _named(error)
        return None if response.status_code == 200 else quoted(response)

    def _choose(self, last: _Replica | None) -> _Replica | None:
        """The least busy replica that is not out, another one than ``last`` if there is one."""
        now = time.monotonic()
        ready = [replica for replica in self.replicas if replica.out_until <= now]
        others = [replica for replica in ready if replica is not last] or ready
        return min(others, key=lambda replica: (replica.in_flight, random.random())) if others else None

    async def _hedged(self, replica: _Replica, path: str, body: Any, read: Callable[[Any], T], end: float) -> T:
        """One try; where it takes too long, a second one of another replica. The first answer counts."""
        tries = [asyncio.ensure_future(self._try(replica, path, body, read, end))]
        try:
            if self.config.hedge_after is not None:
                done, _ = await asyncio.wait(tries, timeout=self.config.hedge_after)
                other = None if done else self._choose(replica)
                if other is not None and other is not replica:
                    self.counts["hedges"] += 1
                    tries.append(asyncio.ensure_future(self._try(other, path, body, read, end)))
            for finished in asyncio.as_completed(list(tries)):
                try:
                    value = await finished
                except _Failed as error:
                    failure = error
                    continue
                if len(tries) == 2 and not tries[0].done():
                    self.counts["hedges_won"] += 1
                return value
            raise failure
        finally:
            for task in tries:
                task.cancel()

    async def _try(self, replica: _Replica, path: str, body: Any, read: Callable[[Any], T], end: float) -> T:
        if replica.failures >= self.config.breaker_failures:
            await self._readmit(replica)
        self.counts["requests"] += 1
        replica.in_flight += 1
        seconds = min(self.config.timeout, max(0.0, end - time.monotonic()))
        try:
            async with asyncio.timeout(seconds):
                headers = {"X-Deadline-Ms": str(max(1, int(seconds * 1000)))}  # whoever knows it drops what is too late
                response = await self._client.post(replica.url + path, json=body, headers=headers)
            value = self._value(replica, response, read)
        except TimeoutError:
            raise self._failure(replica, "timeouts", f"no answer within {seconds:.3g} s") from None
        except httpx2.HTTPError as error:
            raise self._failure(replica, "unreachable", _named(error)) from None
        except Garbage as error:
            raise self._failure(replica, "garbage", f"garbage: {error}") from None
        finally:
            replica.in_flight -= 1
        replica.failures = 0
        return value

    def _value(self, replica: _Replica, response: httpx2.Response, read: Callable[[Any], T]) -> T:
        if response.status_code == 200:
            try:
                return read(response.json())
            except (ValueError, RecursionError) as error:
                raise Garbage(f"no JSON: {_named(error)}") from None
        if response.status_code in REFUSALS:
            self.counts["refused"] += 1
            raise Refused(f"{replica.url}: {quoted(response)}")
        if response.status_code == 429:  # a busy server is no broken one
            self.counts["busy"] += 1
            replica.out_until = time.monotonic() + _retry_after(response)
            raise _Failed(f"{replica.url}: {quoted(response)}")
        failure = self._failure(replica, "errors", quoted(response))
        if response.status_code == 503:  # it is going away, or not there yet
            replica.out_until = max(replica.out_until, time.monotonic() + _retry_after(response))
        raise failure

    async def _readmit(self, replica: _Replica) -> None:
        """A replica whose circuit was open: its health is looked at before it gets work again."""
        replica.out_until = time.monotonic() + self.config.breaker_seconds  # one look at a time
        if problem := await self._problem(replica.url):
            raise _Failed(f"{replica.url}: {problem}")
        replica.failures, replica.out_until = self.config.breaker_failures - 1, 0.0

    def _failure(self, replica: _Replica, sort: str, detail: str) -> _Failed:
        self.counts[sort] += 1
        replica.failures += 1
        if replica.failures == self.config.breaker_failures:
            self.counts["circuits"] += 1
            replica.out_until = time.monotonic() + self.config.breaker_seconds
        return _Failed(f"{replica.url}: {detail}")


def quoted(response: httpx2.Response) -> str:
    """Status and the beginning of the body, for error messages."""
    return f"HTTP {response.status_code}: {' '.join(response.text.split())[:200]!r}"


def _retry_after(response: httpx2.Response) -> float:
    value = response.headers.get("Retry-After", "")
    return min(LONGEST_RETRY_AFTER, float(value)) if value.isdecimal() else 1.0


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
