"""Requests to several servers that serve the same model: retries at other replicas, and counts of all failures.

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

from reward_models.http_retry import RetriesExhaustedError, TemporaryError, named, quoted, retry_after, with_retries

T = TypeVar("T")

TOKEN_VARIABLE = "KEEL_REWARD_TOKEN"
LONGEST_WAIT = 10.0  # seconds between two tries, unless a server asks for longer
LONGEST_RETRY_AFTER = 60.0  # seconds
REST = 10.0  # seconds in which a replica that failed is used only if no other one works
HEALTH_TIMEOUT = 5.0  # seconds
REFUSALS = (400, 413, 422)  # the request itself is at fault: no other try and no other replica would help


class RewardServerError(ValueError):
    """A reward server cannot be used; the message says which, why, and how to fix it."""


class InvalidResponseError(Exception):
    """The server returned a malformed response."""


class Refused(Exception):
    """The servers do not take this request, however often it is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaConfig:
    """The servers, and the limits of requests to them.

    Args:
        urls: of replicas that serve the same model.
        timeout: seconds for one try, from connecting to the last byte.
        give_up_after: seconds for all tries of one request together.
        first_wait: seconds; the n-th wait between tries is drawn from 0 … ``first_wait`` · 2ⁿ⁻¹ (full jitter).
        concurrency: most requests in flight.
    """

    urls: tuple[str, ...]
    timeout: float = 60.0
    give_up_after: float = 240.0
    first_wait: float = 0.25
    concurrency: int = 16

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
        for name in ("timeout", "give_up_after", "concurrency"):
            if getattr(self, name) <= 0:
                raise RewardServerError(f"{name}={getattr(self, name)} must be positive")


@dataclass(slots=True)
class _Replica:
    """One server.

    Attributes:
        not_before: the server asked to get no request before this time (of the monotonic clock).
        rests_until: end of the rest after its last failure; 0 after a success.
        in_flight: requests without an answer.
    """

    url: str
    not_before: float = 0.0
    rests_until: float = 0.0
    in_flight: int = 0

    def rank(self, now: float) -> tuple[bool, int, float]:
        """Replicas with the lowest rank are used first. After its rest, a replica that failed is tried by one request
        at a time until it answers."""
        failing = self.rests_until > now or (self.rests_until > 0 and self.in_flight > 0)
        return failing, self.in_flight, random.random()


@dataclass(slots=True)
class Replicas:
    """See :class:`ReplicaConfig`.

    Attributes:
        counts: ``requests`` and ``retries``; failures: ``timeouts``, ``unreachable``, ``busy`` (429), ``errors`` (other
            statuses), ``invalid`` (malformed responses); requests that were ``refused``, or without an answer at the
            end (``gave_up``).
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
            read: the JSON of an answer to a value; raises :class:`InvalidResponseError` if it is malformed.

        Raises:
            Refused: the request itself is at fault.
            RetriesExhaustedError: no replica answered in time; the message quotes the last failure.
        """
        end = time.monotonic() + self.config.give_up_after
        last: _Replica | None = None
        detail = "no replica was tried"

        async def attempt() -> T:
            nonlocal last, detail
            replica = self._choose(last)
            if replica is None:
                free = min(each.not_before for each in self.replicas)
                raise TemporaryError(detail, max(0.0, free - time.monotonic()))
            last = replica
            try:
                return await self._try(replica, path, body, read, end)
            except TemporaryError as error:
                detail = str(error)
                raise

        async with self._slots:
            try:
                return await with_retries(
                    attempt,
                    first_wait=self.config.first_wait,
                    longest_wait=LONGEST_WAIT,
                    seconds=end - time.monotonic(),
                    on_retry=lambda: self.counts.update(retries=1),
                )
            except RetriesExhaustedError as error:
                self.counts["gave_up"] += 1
                urls = ", ".join(self.config.urls)
                raise RetriesExhaustedError(f"no answer from {urls}; the last failure: {error}") from None

    async def check(self) -> list[tuple[str, str | None]]:
        """Each replica's address and its problem, ``None`` if it is healthy."""
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
            raise RewardServerError(f"{url}{path}: {named(error)}") from None
        except (ValueError, RecursionError) as error:
            if isinstance(error, RewardServerError):
                raise
            raise RewardServerError(f"{url}{path} gives no JSON: {named(error)}") from None

    async def _problem(self, url: str) -> str | None:
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT):
                response = await self._client.get(url + self.health)
        except (TimeoutError, httpx2.HTTPError) as error:
            return named(error)
        return None if response.status_code == 200 else quoted(response)

    def _choose(self, last: _Replica | None) -> _Replica | None:
        """The replica with the lowest rank that may be asked now; not ``last`` if there is another one."""
        now = time.monotonic()
        ready = [replica for replica in self.replicas if replica.not_before <= now]
        others = [replica for replica in ready if replica is not last] or ready
        return min(others, key=lambda replica: replica.rank(now)) if others else None

    async def _try(self, replica: _Replica, path: str, body: Any, read: Callable[[Any], T], end: float) -> T:
        self.counts["requests"] += 1
        replica.in_flight += 1
        seconds = min(self.config.timeout, max(0.0, end - time.monotonic()))
        try:
            async with asyncio.timeout(seconds):
                headers = {
                    "X-Deadline-Ms": str(max(1, int(seconds * 1000)))
                }  # keel serve drops a request that is too late
                response = await self._client.post(replica.url + path, json=body, headers=headers)
            value = self._value(replica, response, read)
        except TimeoutError:
            raise self._failure(replica, "timeouts", f"no answer within {seconds:.3g} s") from None
        except httpx2.HTTPError as error:
            raise self._failure(replica, "unreachable", named(error)) from None
        except InvalidResponseError as error:
            raise self._failure(replica, "invalid", f"malformed response: {error}") from None
        finally:
            replica.in_flight -= 1
        replica.rests_until = 0.0
        return value

    def _value(self, replica: _Replica, response: httpx2.Response, read: Callable[[Any], T]) -> T:
        if response.status_code == 200:
            try:
                return read(response.json())
            except (ValueError, RecursionError) as error:
                raise InvalidResponseError(f"no JSON: {named(error)}") from None
        if response.status_code in REFUSALS:
            self.counts["refused"] += 1
            raise Refused(f"{replica.url}: {quoted(response)}")
        if response.status_code in (429, 503):  # 503: the server is about to end, or not ready yet
            wait = retry_after(response)
            replica.not_before = time.monotonic() + min(LONGEST_RETRY_AFTER, 1.0 if wait is None else wait)
        if response.status_code == 429:  # a busy server works
            self.counts["busy"] += 1
            raise TemporaryError(f"{replica.url}: {quoted(response)}")
        raise self._failure(replica, "errors", quoted(response))

    def _failure(self, replica: _Replica, count: str, detail: str) -> TemporaryError:
        self.counts[count] += 1
        replica.rests_until = time.monotonic() + REST
        return TemporaryError(f"{replica.url}: {detail}")
