"""Accuracy of mathematical answers: math-verify, in worker processes that can be killed.

math-verify bounds its own time with ``signal.alarm``, which fails in threads, and no alarm ends a computation inside C
code. Here each comparison runs in a worker that has an alarm of its own and is killed, and started anew, if that did
not help. Whatever goes wrong is counted and gives ``None``, never 0.0.
"""

from __future__ import annotations

import contextlib
import json
import queue
import select
import subprocess
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from align.rewards.parsing import Answer, final_answer, uses_verifier
from align.rewards.terms import Sample

WORKER = Path(__file__).with_name("math_worker.py")
PATIENCE = 5.0  # a worker is killed after this many times its limit, which is in processor time, and a second
START = 60.0  # seconds a worker may take to import sympy on a busy machine


class MathWorkerError(RuntimeError):
    """The worker cannot be started at all."""


class MathWorker:
    """One worker process: started when first needed, killed when it is late, started anew on the next question."""

    def __init__(self, time_limit: float, memory: int):
        self.time_limit = time_limit
        self._command = [sys.executable, "-I", str(WORKER), str(time_limit), str(memory)]
        self._process: subprocess.Popen[bytes] | None = None
        self._end: Callable[[], object] | None = None

    def compare(self, reference: str, answer: Answer) -> bool | str:
        """The verdict, or the name of the error that prevented one."""
        process = self._process or self._start()
        request = {"reference": reference, "answer": answer.text, "marked": answer.marked}
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            self.stop()
            return "crash"
        late, line = self._read_line(process, PATIENCE * self.time_limit + 1)
        if not line:
            self.stop()
            return "killed" if late else "crash"
        answered = json.loads(line)
        return answered["error"] if "error" in answered else answered["verdict"]

    def stop(self) -> None:
        if self._end is not None:
            self._end()
        self._process = self._end = None

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._process, self._end = process, weakref.finalize(self, _end, process)  # at exit, too
        if not self._read_line(process, START)[1]:
            self.stop()
            raise MathWorkerError(f"the math verifier did not start; try it: {' '.join(self._command)}")
        return process

    @staticmethod
    def _read_line(process: subprocess.Popen[bytes], limit: float) -> tuple[bool, bytes]:
        """Whether the limit passed, and the line, empty if there is none. A worker answers in one write."""
        assert process.stdout is not None
        waiting = select.poll()  # select() would fail in a process with a thousand open files
        waiting.register(process.stdout, select.POLLIN)
        ready = bool(waiting.poll(limit * 1000))
        return not ready, process.stdout.readline() if ready else b""


class MathAccuracy:
    """1.0 if the final answer equals the reference, 0.0 if it does not or there is none.

    ``None`` where the verifier could not tell: an error, a comparison beyond the time limit, a reference that is not
    mathematics. ``errors`` counts these by name: ``time``, ``memory``, ``killed``, ``crash``, ``reference``, or the
    exception's.

    Args:
        workers: processes that compare at the same time.
        time_limit: seconds of processor time for one comparison.
        memory: bytes of address space of a worker.
    """

    name = "accuracy_math"

    def __init__(self, *, workers: int = 2, time_limit: float = 2.0, memory: int = 4 << 30):
        if workers < 1 or time_limit <= 0:
            raise ValueError(f"workers = {workers} and time_limit = {time_limit} must be positive")
        self.errors: Counter[str] = Counter()
        self._idle: queue.SimpleQueue[MathWorker] = queue.SimpleQueue()
        self._workers = [MathWorker(time_limit, memory) for _ in range(workers)]
        for worker in self._workers:
            self._idle.put(worker)

    def applies(self, sample: Sample) -> bool:
        return uses_verifier(sample, "math") and sample.answer is not None

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        """Samples of a group often agree, so that each distinct pair of reference and answer is compared once."""
        pairs = [(str(sample.answer), final_answer(sample)) for sample in samples]
        distinct = list(dict.fromkeys((reference, answer) for reference, answer in pairs if answer is not None))
        with ThreadPoolExecutor(len(self._workers)) as threads:
            verdicts = dict(zip(distinct, threads.map(self._compare, distinct), strict=True))
        scores: list[float | None] = []
        for reference, answer in pairs:
            verdict = verdicts[reference, answer] if answer is not None else False
            if isinstance(verdict, str):
                self.errors[verdict] += 1
                scores.append(None)
            else:
                scores.append(float(verdict))
        return scores

    def close(self) -> None:
        """End the workers; they start again when needed."""
        for worker in self._workers:
            worker.stop()

    def _compare(self, pair: tuple[str, Answer]) -> bool | str:
        worker = self._idle.get()
        try:
            return worker.compare(*pair)
        finally:
            self._idle.put(worker)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
