"""The programs of stages that run at the same time: their output, their signals, and their end."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

from keel.pipeline.stage import Stage

TAIL = 15  # lines of a failed stage's log that are shown
STOP_SECONDS = 120.0  # time that programs have to save their state, where this process ends early


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a stage's program.

    Attributes:
        status: its exit status. ``last``: the last lines of its output.
    """

    stage: Stage
    status: int
    last: list[str]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a stage's output, which is in its log already."""

    stage: Stage
    text: str


class Programs:
    """Starts programs, copies their output to their logs, and passes Ctrl-C and SIGTERM on to all of them.

    A terminal sends Ctrl-C to the programs as well; they count both as one. When the block ends early, the programs get
    SIGTERM and time to save their state.

    Args:
        descriptor: of the project's lock, which the programs inherit.
    """

    def __init__(self, descriptor: int) -> None:
        self.received: int | None = None  # the first signal
        self._descriptor = descriptor
        self._events: SimpleQueue[Line | Ended] = SimpleQueue()
        self._processes: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Programs:
        self._before = {number: signal.signal(number, self._pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()
        for process in self._processes.values():
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def running(self) -> int:
        """The number of programs whose end :meth:`next` has not returned yet."""
        return len(self._processes)

    def start(self, stage: Stage, variables: Mapping[str, str]) -> None:
        """Start the stage's program with these environment variables besides this process's own."""
        # Bars of Hugging Face's libraries are drawn anew by going back in the line, which a log cannot.
        own = {"HF_HUB_DISABLE_PROGRESS_BARS": "1"} | os.environ
        environment = own | {"PYTHONUNBUFFERED": "1", **variables}
        pipes: dict[str, Any] = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "encoding": "utf-8",
            "errors": "replace",
        }
        process = subprocess.Popen(stage.command, env=environment, pass_fds=[self._descriptor], **pipes)
        self._processes[stage.name] = process
        if self.received is not None:  # the signal arrived before the process was in the list
            process.send_signal(self.received)
        threading.Thread(target=self._follow, args=(stage, process), daemon=True).start()

    def stop(self) -> None:
        """Ask every program to save its state and end."""
        self._send(signal.SIGTERM)

    def next(self, seconds: float) -> Line | Ended | None:
        """The next line or end of a program; ``None`` if there was none within this time."""
        try:
            event = self._events.get(timeout=seconds)
        except Empty:
            return None
        if isinstance(event, Ended):
            del self._processes[event.stage.name]
        return event

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or number
        self._send(number)

    def _send(self, number: int) -> None:
        for process in list(self._processes.values()):
            if process.poll() is None:
                process.send_signal(number)

    def _follow(self, stage: Stage, process: subprocess.Popen[str]) -> None:
        """Copy the output of a program, in a thread of its own, until it ends."""
        last: deque[str] = deque(maxlen=TAIL)
        assert process.stdout is not None
        with stage.log.open("a", encoding="utf-8") as log:
            for line in process.stdout:
                log.write(line)
                log.flush()
                if text := line.rstrip():
                    last.append(text)
                    self._events.put(Line(stage, text))
        self._events.put(Ended(stage, process.wait(), list(last)))
