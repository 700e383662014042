"""Accuracy of answers to problems of reasoning-gym, scored by the package itself in worker processes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

from align.rewards.parsing import final_answer
from align.rewards.terms import Sample
from align.rewards.verifiers.answers import behind_announcement
from align.rewards.verifiers.worker import Lost, Worker, Workers
from reward_models.data.gym_tasks import COLUMN, fixed_python
from reward_models.extras import needs

START_WORKER = (
    "import sys; sys.path.insert(0, sys.argv[1]); from align.rewards.verifiers.gym_worker import main; "
    "main(float(sys.argv[2]), int(sys.argv[3]))"
)
FENCE = re.compile(r"```[^\n`]*\n(.*?)\n?```", re.DOTALL)


class ReasoningGym:
    """1.0 if the package gives the final answer full marks, 0.0 if it does not, or there is no answer.

    The problem is made again from the prompt's column ``reasoning_gym``. ``None`` where it has become another one, or
    cannot be made, or a worker was lost for a reason that is not the answer; ``errors`` counts these by name.

    Args:
        workers: processes that judge at the same time; each keeps the package in about 150 MB of memory.
        time_limit: seconds of processor time for one answer.
        memory: bytes of address space of a worker.

    Raises:
        MissingExtraError: the package is not installed.
    """

    name = "accuracy_reasoning_gym"

    def __init__(self, *, workers: int = 2, time_limit: float = 5.0, memory: int = 4 << 30):
        if workers < 1 or time_limit <= 0:
            raise ValueError(f"workers = {workers} and time_limit = {time_limit} must be positive")
        with needs("reasoning"):
            if find_spec("reasoning_gym") is None:  # it is loaded in the workers alone
                raise ModuleNotFoundError("no reasoning_gym", name="reasoning_gym")
        command, environment = fixed_python(START_WORKER)
        command = [*command, str(time_limit), str(memory)]
        self.errors: Counter[str] = Counter()
        self._workers = Workers([Worker(command, time_limit, environment) for _ in range(workers)])

    def applies(self, sample: Sample) -> bool:
        return sample.columns.get(COLUMN) is not None

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [score for score, _ in self.explain(samples)]

    def explain(self, samples: Sequence[Sample]) -> list[tuple[float | None, str]]:
        """Scores, each with what was read as the answer. Equal answers to one problem are judged once."""
        keys = [(str(sample.columns[COLUMN]), answer_of(sample)) for sample in samples]
        distinct = {key: sample for key, sample in zip(keys, samples, strict=True) if key[1] is not None}
        with ThreadPoolExecutor(len(self._workers)) as threads:
            judged = dict(
                zip(distinct, threads.map(self._judge, distinct.values(), (key[1] for key in distinct)), strict=True)
            )
        found: list[tuple[float | None, str]] = []
        for key in keys:
            verdict, error, reason = judged.get(key, (False, "", "there is no final answer"))
            self.errors.update([error] if error else [])
            found.append((None if verdict is None else float(verdict), reason))
        return found

    def close(self) -> None:
        """End the workers; they start again when needed."""
        self._workers.stop()

    def _judge(self, sample: Sample, answer: str | None) -> tuple[bool | None, str, str]:
        """Verdict, the name of the error, and the reason."""
        made_with = sample.columns[COLUMN]
        if problem := made_with_problem(made_with):
            return None, "problem", problem
        question = sample.prompt[-1].content
        with self._workers.one() as worker:
            reply = worker.ask({"made_with": dict(made_with), "question": question, "answer": answer})
        if isinstance(reply, Lost):
            return (False if reply.answers_fault else None), reply.error, reply.reason
        return reply.get("verdict"), str(reply.get("error", "")), str(reply["why"])


def made_with_problem(made_with: Any) -> str | None:
    """The error in a column ``reasoning_gym``, as a sentence, or ``None``."""
    if not isinstance(made_with, Mapping) or not isinstance(made_with.get("task"), str):
        return f"the column {COLUMN} does not say which task the problem is of"
    if not isinstance(made_with.get("options"), Mapping) or not isinstance(made_with.get("index"), int):
        return f"the column {COLUMN} has no options and index to make the problem of again"
    if "level" not in made_with or not isinstance(made_with["level"], int | None):
        return f"the column {COLUMN} has no level, which is a number or null"
    return None


def answer_of(sample: Sample) -> str | None:
    """The final answer without the fence around it; of an unmarked text what follows its only announcement."""
    answer = final_answer(sample)
    if answer is None:
        return None
    text = answer.text
    if not answer.marked:
        announced = behind_announcement(text)
        text = announced[0].strip().rstrip(".") if announced else text
    fenced = FENCE.fullmatch(text.strip())
    return (fenced[1] if fenced else text).strip("\n ") or None
