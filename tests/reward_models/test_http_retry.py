"""Retries: how often, how long, and that nothing but an answer ends them well."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest

from reward_models.http_retry import (
    RequestFailedError,
    RetriesExhaustedError,
    TemporaryError,
    retry_after,
    with_retries,
)


def failing(times: int, wait: float = 0.0) -> tuple[list[int], object]:
    """An attempt that fails so often, then returns the number of its calls."""
    calls: list[int] = []

    async def attempt() -> int:
        calls.append(1)
        if len(calls) <= times:
            raise TemporaryError(f"failure {len(calls)}", wait)
        return len(calls)

    return calls, attempt


def run(attempt: object, **options: object) -> int:
    settings = {"first_wait": 0.001, "longest_wait": 0.01, **options}
    return asyncio.run(with_retries(attempt, **settings))  # type: ignore[arg-type]


def test_it_is_tried_until_it_succeeds() -> None:
    retried: list[int] = []
    assert run(failing(4)[1], on_retry=lambda: retried.append(1)) == 5
    assert len(retried) == 4


def test_the_number_of_tries_is_exact_and_the_last_failure_is_quoted() -> None:
    calls, attempt = failing(100)
    with pytest.raises(RetriesExhaustedError, match="failure 3"):
        run(attempt, tries=3)
    assert len(calls) == 3


def test_no_try_starts_after_its_time() -> None:
    began = time.monotonic()
    with pytest.raises(RetriesExhaustedError):
        run(failing(100_000)[1], seconds=0.2)
    assert time.monotonic() - began < 5
    calls, attempt = failing(1, wait=100.0)
    with pytest.raises(RetriesExhaustedError):
        run(attempt, seconds=10.0)  # the server asks to wait for longer than there is time: it ends at once
    assert len(calls) == 1
    assert time.monotonic() - began < 5


def test_the_wait_that_a_server_asks_for_is_kept() -> None:
    began = time.monotonic()
    assert run(failing(1, wait=0.3)[1]) == 2
    assert time.monotonic() - began >= 0.3


def test_other_errors_are_not_retried() -> None:
    calls: list[int] = []

    async def attempt() -> int:
        calls.append(1)
        raise RequestFailedError("refused")

    with pytest.raises(RequestFailedError, match="refused"):
        run(attempt)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("Wed, 21 Oct 2015 07:28:00", None),  # no time zone
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after(httpx2.Response(429, headers={"Retry-After": value})) == seconds


def test_retry_after_as_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    found = retry_after(httpx2.Response(429, headers={"Retry-After": date}))
    assert found is not None
    assert 90 < found <= 100
