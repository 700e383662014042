"""A function of batch numbers, computed by several processes, its results in order."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from reward_models.data.prepared import cores

T = TypeVar("T")

BATCHES_PER_PROCESS = 8  # with fewer, starting a process takes longer than its work
MOST = 64
_AHEAD = 4  # results per process that may wait for an earlier one
_work: Callable[[int], Any] | None = None


def in_order(work: Callable[[int], T], count: int) -> Iterator[T]:
    """``work(0)``, …, ``work(count - 1)``; with several cores and enough batches by several processes.

    Args:
        work: is sent to each process once. It must not need what only this process has.

    Raises:
        OSError: a process was killed. Errors of ``work`` are raised as they are.
    """
    processes = min(cores(), MOST, count // BATCHES_PER_PROCESS)
    if processes < 2:
        yield from map(work, range(count))
        return
    # Not forked: threads of torch and of the tokenizer would hold their locks in the copies for ever.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _begin, (work,)) as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for number in range(count):
                waiting.append(pool.submit(_call, number))
                if len(waiting) >= _AHEAD * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise OSError(
                f"one of {processes} processes that tokenize was killed: was there enough memory? `taskset -c 0` "
                "before the command leaves one process"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _begin(work: Callable[[int], Any]) -> None:
    """Keep the function in the process that begins; each process has one thread."""
    global _work
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _work = work


def _call(number: int) -> Any:
    assert _work is not None
    return _work(number)
