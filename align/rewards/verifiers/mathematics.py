"""Accuracy of mathematical answers, compared in worker processes that can be killed.

No alarm ends a computation inside C code, and alarms fail in threads. Here each comparison runs in a worker that has an
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
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from align.rewards.parsing import Answer, final_answer, uses_verifier
from align.rewards.terms import Sample

ROOT = Path(__file__).parents[3]
START_WORKER = (
    "import sys; sys.path.insert(0, sys.argv[1]); from align.rewards.verifiers.math_worker import main; "
    "main(float(sys.argv[2]), int(sys.argv[3]))"
)
PATIENCE = 5.0  # a worker is killed after this many times its limit, which is in processor time, and a second
START = 60.0  # seconds a worker may take to import sympy on a busy machine
FORMS = ("reference", "any")
LONGEST = 20_000  # characters of an answer that are sent to a worker, from its end


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcome of one comparison.

    Args:
        verdict: ``None`` if there is none.
        error: the name under which ``errors`` counts it; empty if nothing went wrong.
        reason: what was read as the answer and as the reference, or why there is no verdict.
    """

    verdict: bool | None
    error: str = ""
    reason: str = ""


class MathWorkerError(RuntimeError):
    """The worker cannot be started at all."""


class MathWorker:
    """One worker process: started when first needed, killed when it is late, started anew on the next question."""

    def __init__(self, time_limit: float, memory: int):
        self.time_limit = time_limit
        self._command = [sys.executable, "-I", "-c", START_WORKER, str(ROOT), str(time_limit), str(memory)]
        self._process: subprocess.Popen[bytes] | None = None
        self._end: Callable[[], object] | None = None

    def compare(self, reference: str, answer: Answer, form: str, explain: bool = False) -> Comparison:
        """Compare one answer.

        Raises:
            MathWorkerError: the worker cannot be started at all.
        """
        process = self._process or self._start()
        request = {
            "reference": reference,
            "answer": answer.text[-LONGEST:],
            "marked": answer.marked,
            "form": form,
            "explain": explain,
        }
        assert process.stdin is not None
        started = _processor_seconds(process.pid)
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            self.stop()
            return Comparison(None, "crash", "the process that compares had ended")
        late, line = self._read_line(process, PATIENCE * self.time_limit + 1)
        if not line:
            used = _processor_seconds(process.pid) - started
            ended = None if late else _exit_status(process)
            self.stop()
            if ended in (-signal.SIGABRT, -signal.SIGSEGV):  # a library ended it, for want of memory or stack
                return Comparison(False, "killed", "the answer ended the process that compares")
            if late and used >= self.time_limit:  # the machine was not the reason
                return Comparison(False, "killed", "the answer takes too long to compute")
            return Comparison(None, "killed" if late else "crash", "the process that compares was stopped or died")
        return _comparison(json.loads(line))

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
        """True if the time limit passed, and the line, empty if there is none. A worker answers in one write."""
        assert process.stdout is not None
        waiting = select.poll()  # select() would fail in a process with a thousand open files
        waiting.register(process.stdout, select.POLLIN)
        ready = bool(waiting.poll(limit * 1000))
        return not ready, process.stdout.readline() if ready else b""


class MathAccuracy:
    """1.0 if the final answer equals the reference, 0.0 if it does not, cannot be computed, or there is none.

    ``None`` where the reference allows no verdict, or a worker was lost for a reason that is not the answer. ``errors``
    counts by name what went wrong: ``reference``, ``killed``, ``crash``; also answers judged wrong because they could
    not be computed: ``time``, ``memory``, ``killed``, or the exception's name.

    Args:
        workers: processes that compare at the same time.
        time_limit: seconds of processor time for one comparison.
        memory: bytes of address space of a worker.
        answer_form: ``reference``: an answer may use no operation that the reference does not use; where the reference
            is a number, so is the answer: ``27+10``, a sum or an integral is no final answer for 37. ``any``: whatever
            equals the reference. A prompt's column ``answer_form`` overrides it.
    """

    name = "accuracy_math"

    def __init__(
        self,
        *,
        workers: int = 2,
        time_limit: float = 2.0,
        memory: int = 4 << 30,
        answer_form: Literal["reference", "any"] = "reference",
    ):
        if workers < 1 or time_limit <= 0:
            raise ValueError(f"workers = {workers} and time_limit = {time_limit} must be positive")
        if answer_form not in FORMS:
            raise ValueError(f"answer_form = {answer_form!r} is none of {', '.join(FORMS)}")
        self.errors: Counter[str] = Counter()
        self._form = answer_form
        self._idle: queue.SimpleQueue[MathWorker] = queue.SimpleQueue()
        self._workers = [MathWorker(time_limit, memory) for _ in range(workers)]
        for worker in self._workers:
            self._idle.put(worker)

    def applies(self, sample: Sample) -> bool:
        return uses_verifier(sample, "math") and sample.answer is not None

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [score for score, _ in self._explain(samples, False)]

    def explain(self, samples: Sequence[Sample]) -> list[tuple[float | None, str]]:
        """Scores, each with what was read as the answer, or why there is none."""
        return self._explain(samples, True)

    def _explain(self, samples: Sequence[Sample], explain: bool) -> list[tuple[float | None, str]]:
        """Samples of a group often agree, so that each distinct pair of reference and answer is compared once."""
        keys = [(str(sample.answer), final_answer(sample), self._form_of(sample), explain) for sample in samples]
        distinct = list(dict.fromkeys(key for key in keys if key[1] is not None))
        with ThreadPoolExecutor(len(self._workers)) as threads:
            compared = dict(zip(distinct, threads.map(self._compare, distinct), strict=True))
        explained: list[tuple[float | None, str]] = []
        for key in keys:
            outcome = compared[key] if key[1] is not None else Comparison(False, reason="there is no final answer")
            if outcome.error:
                self.errors[outcome.error] += 1
            score = None if outcome.verdict is None else float(outcome.verdict)
            explained.append((score, outcome.reason))
        return explained

    def _form_of(self, sample: Sample) -> str:
        form = sample.columns.get("answer_form") or self._form
        return form if form in FORMS else "reference"

    def close(self) -> None:
        """End the workers; they start again when needed."""
        for worker in self._workers:
            worker.stop()

    def _compare(self, key: tuple[str, Answer | None, str, bool]) -> Comparison:
        reference, answer, form, explain = key
        assert answer is not None
        worker = self._idle.get()
        try:
            return worker.compare(reference, answer, form, explain)
        finally:
            self._idle.put(worker)


def _comparison(message: dict[str, str]) -> Comparison:
    if "verdict" not in message:
        return Comparison(None, message["error"], f"the reference cannot be used: {message['why']}")
    reason = f"read {message['read']}; the reference is {message['reference']}"
    return Comparison(bool(message["verdict"]), message.get("error", ""), reason)


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
