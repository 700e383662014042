"""Processes that judge answers, one JSON line in, one JSON line out, and are killed when they are late.

No alarm ends a computation inside C code, and alarms fail in threads. Here each question goes to a process that has an
alarm of its own, and is killed and started anew if that does not help.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import signal
import subprocess
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE = 5.0  # a worker is killed after this many times its limit, which is in processor time, and a second
START = 60.0  # seconds a worker may take to import its libraries on a busy machine


class WorkerError(RuntimeError):
    """The worker cannot be started at all."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A question whose worker gave no reply.

    Args:
        error: the name by which it is counted: ``killed`` or ``crash``.
        answers_fault: the answer used up the time, or ended the process; false if the machine may be the reason.
        reason: a sentence.
    """

    error: str
    answers_fault: bool
    reason: str


class Worker:
    """One worker process: started when first needed, killed when it is late, started anew on the next question.

    Args:
        command, environment: of the process. It writes a line when it is ready, and one for each question.
        time_limit: seconds of processor time for one question, which the process itself keeps as long as it can.
    """

    def __init__(self, command: Sequence[str], time_limit: float, environment: Mapping[str, str] | None = None):
        self.time_limit = time_limit
        self._command, self._environment = list(command), environment
        self._process: subprocess.Popen[bytes] | None = None
        self._end: Callable[[], object] | None = None

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any] | Lost:
        """The reply to one question.

        Raises:
            WorkerError: the worker cannot be started at all.
        """
        process = self._process or self._start()
        assert process.stdin is not None
        started = _processor_seconds(process.pid)
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            self.stop()
            return Lost("crash", False, "the process that judges had ended")
        late, line = self._read_line(process, PATIENCE * self.time_limit + 1)
        if not line:
            used = _processor_seconds(process.pid) - started
            ended = None if late else _exit_status(process)
            self.stop()
            if ended in (-signal.SIGABRT, -signal.SIGSEGV):  # a library ended it, for want of memory or stack
                return Lost("killed", True, "the answer ended the process that judges")
            if late and used >= self.time_limit:  # the machine was not the reason
                return Lost("killed", True, "the answer takes too long to compute")
            return Lost("killed" if late else "crash", False, "the process that judges was stopped or died")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def stop(self) -> None:
        if self._end is not None:
            self._end()
        self._process = self._end = None

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._process, self._end = process, weakref.finalize(self, _end, process)  # at exit, too
        if not self._read_line(process, START)[1]:
            self.stop()
            raise WorkerError(f"the verifier did not start; try it: {' '.join(self._command)}")
        return process

    @staticmethod
    def _read_line(process: subprocess.Popen[bytes], limit: float) -> tuple[bool, bytes]:
        """True if the time limit passed, and the line, empty if there is none. A worker answers in one write."""
        assert process.stdout is not None
        waiting = select.poll()  # select() would fail in a process with a thousand open files
        waiting.register(process.stdout, select.POLLIN)
        ready = bool(waiting.poll(limit * 1000))
        return not ready, process.stdout.readline() if ready else b""


class Workers:
    """Several workers, each of which answers one question at a time."""

    def __init__(self, workers: Sequence[Worker]):
        self._all = list(workers)
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self._all:
            self._idle.put(worker)

    def __len__(self) -> int:
        return len(self._all)

    @contextmanager
    def one(self) -> Iterator[Worker]:
        """A worker that is idle; waits for one."""
        worker = self._idle.get()
        try:
            yield worker
        finally:
            self._idle.put(worker)

    def stop(self) -> None:
        """End the processes; they start again when needed."""
        for worker in self._all:
            worker.stop()


def _processor_seconds(process: int) -> float:
    """Processor time that a process has used; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _exit_status(process: subprocess.Popen[bytes]) -> int | None:
    """Exit status of a process that closed its output; ``None`` if it still runs after a second."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(timeout=1)
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
