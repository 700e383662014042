"""Limits on log-ins: how many wrong passwords are accepted, and how many passwords are checked at once.

A stranger's failures never lock an account's owner out: a browser from which the account has logged in before carries a
mark (``accounts.device_mark``) and is counted by itself (OWASP's "device cookies"). All other browsers share the limits
of the account and of their address. Failures are kept in memory, for a quarter of an hour, and nowhere else.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager

WINDOW = 15 * 60.0
PER_DEVICE = 8  # failures of one browser that is known to the account
PER_ACCOUNT_AND_ADDRESS = 8
PER_ACCOUNT = 100  # from all unknown browsers together: a password cannot be guessed by many machines
PER_ADDRESS = 200  # an office behind one address has room for many mistakes
KEYS = 20_000

_Key = tuple[str, str, str]


class LoginLimits:
    """Failed log-ins of the last :data:`WINDOW` seconds. Safe to use from several threads."""

    def __init__(self) -> None:
        self._failures: OrderedDict[_Key, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def reached(self, name: str, address: str, device: str | None, *, now: float) -> bool:
        """True if a log-in must be refused before its password is checked.

        Args:
            device: the mark of a browser that is known to the account; ``None`` for any other.
        """
        with self._lock:
            return any(self._count(key, now) >= limit for key, limit in _limits(name, address, device))

    def failed(self, name: str, address: str, device: str | None, *, now: float) -> bool:
        """Count a wrong password; whether it was the one that reached a limit of the account."""
        with self._lock:
            reached = False
            for key, limit in _limits(name, address, device):
                found = self._failures.setdefault(key, deque(maxlen=limit))
                found.append(now)
                self._failures.move_to_end(key)
                reached |= key[0] != "address" and self._count(key, now) == limit
            while len(self._failures) > KEYS:
                self._failures.popitem(last=False)
            return reached

    def _count(self, key: _Key, now: float) -> int:
        found = self._failures.get(key)
        while found and found[0] <= now - WINDOW:
            found.popleft()
        return len(found) if found else 0


def _limits(name: str, address: str, device: str | None) -> list[tuple[_Key, int]]:
    if device is not None:
        return [(("device", name, device), PER_DEVICE)]
    return [
        (("account and address", name, address), PER_ACCOUNT_AND_ADDRESS),
        (("account", name, ""), PER_ACCOUNT),
        (("address", "", address), PER_ADDRESS),
    ]


class Gate:
    """Lets one thread in at a time and a few wait; all others are turned away at once.

    Checking a password costs 80 ms and 32 MiB: a flood of log-ins must not hold the server's threads.
    """

    def __init__(self, places: int) -> None:
        self._places, self._inside = threading.Semaphore(places), threading.Lock()

    @contextmanager
    def entered(self) -> Iterator[bool]:
        if not self._places.acquire(blocking=False):
            yield False
            return
        try:
            with self._inside:
                yield True
        finally:
            self._places.release()
