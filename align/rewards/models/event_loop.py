"""An event loop that outlives calls: connections stay open between calls from functions, threads and other loops."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """An event loop in a thread of its own, started at first use, and started again in a forked process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0

    def begin(self) -> bool:
        """Start the loop if it does not run. Returns true for a new loop; objects bound to an old one are lost."""
        with self._lock:
            if self._loop is not None and self._pid == os.getpid():
                return False
            self._loop, self._pid = asyncio.new_event_loop(), os.getpid()
            threading.Thread(target=_run, args=(self._loop,), name="rewards", daemon=True).start()
            return True

    def end(self) -> None:
        """Stop the loop; what runs there is abandoned."""
        with self._lock:
            if self._loop is not None and self._pid == os.getpid():
                self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until it is stopped; then cancel what is left in it."""
    loop.run_forever()
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left))
    loop.close()
