"""Accuracy of mathematical answers, compared in worker processes that can be killed."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from align.rewards.parsing import Answer, final_answer, uses_verifier
from align.rewards.terms import Sample
from align.rewards.verifiers.worker import Lost, Worker, Workers

ROOT = Path(__file__).parents[3]
START_WORKER = (
    "import sys; sys.path.insert(0, sys.argv[1]); from align.rewards.verifiers.math_worker import main; "
    "main(float(sys.argv[2]), int(sys.argv[3]))"
)
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
        command = [sys.executable, "-I", "-c", START_WORKER, str(ROOT), str(time_limit), str(memory)]
        self._workers = Workers([Worker(command, time_limit) for _ in range(workers)])

    def applies(self, sample: Sample) -> bool:
        return uses_verifier(sample, "math") and sample.answer is not None

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [score for score, _ in self._explain(samples, False)]

    def explain(self, samples: Sequence[Sample]) -> list[tuple[float | None, str]]:
        """Scores, each with what was read as the answer, or why there is none."""
        return self._explain(samples, True)

    def _explain(self, samples: Sequence[Sample], explain: bool) -> list[tuple[float | None, str]]:
        """Samples of a group often agree, so that each distinct pair of reference and answer is compared once."""
        keys = [
            (str(sample.answer), final_answer(sample, compares=True), self._form_of(sample), explain)
            for sample in samples
        ]
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
        self._workers.stop()

    def _compare(self, key: tuple[str, Answer | None, str, bool]) -> Comparison:
        reference, answer, form, explain = key
        assert answer is not None
        request = {
            "reference": reference,
            "answer": answer.text[-LONGEST:],
            "marked": answer.marked,
            "behind": answer.behind,
            "form": form,
            "explain": explain,
        }
        with self._workers.one() as worker:
            reply = worker.ask(request)
        if isinstance(reply, Lost):
            return Comparison(False if reply.answers_fault else None, reply.error, reply.reason)
        return _comparison(reply)


def _comparison(message: dict[str, str]) -> Comparison:
    if "verdict" not in message:
        return Comparison(None, message["error"], f"the reference cannot be used: {message['why']}")
    reason = f"read {message['read']}; the reference is {message['reference']}"
    return Comparison(bool(message["verdict"]), message.get("error", ""), reason)
