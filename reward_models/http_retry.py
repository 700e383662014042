"""Retries of HTTP requests with exponential backoff, for all clients.

The wait before try n + 1 is drawn from 0 … min(longest, first · 2ⁿ⁻¹) seconds ("full jitter": clients that failed
together do not return together). A request without a valid answer ends in an exception, never in a value.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx2

T = TypeVar("T")


class RequestFailedError(Exception):
    """A request has no answer; the message quotes the last failure."""


class RetriesExhaustedError(RequestFailedError):
    """A request has no answer after all its tries."""


class TemporaryError(Exception):
    """One try failed, and a later one may succeed.

    Args:
        wait: seconds to wait at least before the next try.
    """

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


async def with_retries(
    attempt: Callable[[], Awaitable[T]],
    *,
    first_wait: float,
    longest_wait: float,
    tries: int | None = None,
    seconds: float | None = None,
    on_retry: Callable[[], None] = lambda: None,
) -> T:
    """Call ``attempt`` until it returns.

    Args:
        attempt: one try; raises :class:`TemporaryError` to be called again. Any other exception ends the request.
        first_wait, longest_wait: seconds; see the module.
        tries: most calls; ``None`` for no limit.
        seconds: no try starts after so many seconds; ``None`` for no limit.
        on_retry: called before every wait.

    Raises:
        RetriesExhaustedError: ``tries`` or ``seconds`` are used up.
    """
    end = None if seconds is None else time.monotonic() + seconds
    for number in itertools.count():
        try:
            return await attempt()
        except TemporaryError as error:
            wait = max(error.wait, random.uniform(0, min(longest_wait, first_wait * 2.0 ** min(number, 60))))
            late = end is not None and time.monotonic() + wait >= end
            if late or (tries is not None and number + 1 >= tries):
                raise RetriesExhaustedError(str(error)) from None
        on_retry()
        await asyncio.sleep(wait)
    raise AssertionError("unreachable")


def retry_after(response: httpx2.Response) -> float | None:
    """Seconds in the header ``Retry-After``, given as a number or as a date; ``None`` if there are none."""
    value = response.headers.get("Retry-After", "")
    try:
        if value.isdecimal():
            return float(value)
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # TypeError: a date without a time zone
        return None


def quoted(response: httpx2.Response) -> str:
    """Status and the beginning of the body, for error messages."""
    return f"HTTP {response.status_code}: {' '.join(response.text.split())[:200]!r}"


def named(error: Exception) -> str:
    """Type and message of an exception; some of httpx's have no message."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
