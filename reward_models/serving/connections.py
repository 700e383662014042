"""Connections of the server: those that do not send a whole request head in time are closed."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


def timed_connection(seconds: float) -> type[H11Protocol]:
    """A protocol class for uvicorn that waits for a request head for at most ``seconds``.

    The time starts when the connection is made, and for later requests on it with the first byte after the last
    response; between requests uvicorn's keep-alive limit holds. The time for a request's body is part of its deadline.
    """

    class TimedConnection(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def _watch(self) -> None:
            """Start the timer if a head is awaited, stop it if there is one."""
            if self.conn.their_state is not h11.IDLE:
                self._stop()
            elif self._timer is None:
                self._timer = self.loop.call_later(seconds, self._close)

        def _stop(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _close(self) -> None:
            self._timer = None
            if self.conn.their_state is h11.IDLE and self.transport is not None:
                self.transport.close()

    return TimedConnection
