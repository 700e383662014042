"""Judges of single responses: a score, the equivalence of an open answer with the reference, a rubric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from align.rewards.judges.base import JudgeTerm, Verdict, number_in, text_of
from align.rewards.judges.quoting import Question, answer_of, question
from align.rewards.terms import Sample

Ask = Literal["score", "equivalence"]
LOWEST, HIGHEST = 1, 10
UNANSWERED = Verdict(0.0, "nothing is answered")
SCORE = f"""\
You are an impartial judge. You are shown a conversation and a response to its last message. Judge how well the \
response serves the person who wrote that message: is it correct, does it do what was asked, is it complete, is it \
clear? First name what is good and the mistakes that matter; then give a whole number from {LOWEST} (useless or \
harmful) to {HIGHEST} (nothing to improve)."""
EQUIVALENCE = """\
You are shown a conversation with a question, the reference answer to it, and a response. Decide whether the final \
answer of the response means the same as the reference answer. The reference is right; do not solve the question \
yourself. Another wording, order, notation or unit is the same if the meaning is. An answer that leaves out a part, \
adds a contradiction, offers several answers, or never commits to one is not the same."""
RUBRIC = """\
You are shown a conversation, a response to its last message, and criteria. Decide for each criterion, by itself, \
whether the response meets it. First give the reason, with the words of the response that show it; a criterion that is \
met in part only is not met."""


class Judge(JudgeTerm):
    """A judge's opinion of a response, in 0 … 1.

    ``score``: a number from 1 to 10, less 1, divided by 9; a reference answer is shown where there is one.
    ``equivalence``: 1.0 if the response gives the reference answer, else 0.0, for prompts with a reference answer; for
    open answers that no verifier can compare.

    A response that answers nothing has 0.0 and is not shown to the judge: no score would be a way out of a bad one.

    Args:
        ask: ``score`` or ``equivalence``.
        instructions: what the judge is told in place of our own words about what to judge.
        endpoint: of :class:`JudgeTerm`.
    """

    name = "judge"

    def __init__(self, *, ask: Ask = "score", instructions: str | None = None, **endpoint: Any) -> None:
        if ask not in get_args(Ask):
            raise ValueError(f"ask = {ask!r} is none of {', '.join(get_args(Ask))}")
        self._equivalence = ask == "equivalence"
        self._task = instructions or (EQUIVALENCE if self._equivalence else SCORE)
        super().__init__(**endpoint)

    def applies(self, sample: Sample) -> bool:
        return not self._equivalence or sample.answer is not None

    async def judge(self, samples: Sequence[Sample], totals: dict[str, float]) -> list[Verdict]:
        asked = [place for place, sample in enumerate(samples) if answer_of(sample)]
        questions = [self._question(samples[place]) for place in asked]
        verdicts = [UNANSWERED] * len(samples)
        for place, verdict in zip(asked, await self.ask(questions, self._read, totals), strict=True):
            verdicts[place] = verdict
        return verdicts

    def _question(self, sample: Sample) -> tuple[Question, Mapping[str, Any]]:
        reference = {} if sample.answer is None else {"REFERENCE ANSWER": sample.answer}
        key, meaning = ("equivalent", "true or false") if self._equivalence else ("score", "the number")
        schema = (
            {"type": "boolean"} if self._equivalence else {"type": "integer", "minimum": LOWEST, "maximum": HIGHEST}
        )
        asked = question(
            self._task,
            sample.prompt,
            {**reference, "RESPONSE": answer_of(sample)},
            {"reason": "your reason, in a few sentences", key: meaning},
        )
        return asked, {"reason": {"type": "string"}, key: schema}

    def _read(self, place: int, found: dict[str, Any]) -> Verdict | None:
        reason = text_of(found.get("reason"))
        if self._equivalence:
            equivalent = found.get("equivalent")
            return Verdict(float(equivalent), reason) if isinstance(equivalent, bool) else None
        value = number_in(found.get("score"), LOWEST, HIGHEST)
        return None if value is None else Verdict((value - LOWEST) / (HIGHEST - LOWEST), reason)


@dataclass(frozen=True, slots=True)
class Criterion:
    """One line of a rubric. A weight below 0 is for something that a response must not do."""

    text: str
    weight: float


def criteria_of(given: Any) -> list[Criterion]:
    """The criteria in ``[{criterion, weight}, …]``; ``points`` is another name for the weight, 1 where nothing but the
    text is given.

    Raises:
        ValueError: it is something else, or no weight is positive.
    """
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise ValueError("a rubric is a list of criteria: [{criterion: text, weight: number}, …]")
    found = []
    for each in given:
        text = each.get("criterion") if isinstance(each, Mapping) else each
        # without a weight, further keys may be a weight of another name: 1 would be a guess
        without = None if isinstance(each, Mapping) and len(each) > 1 else 1.0
        weight = each.get("weight", each.get("points", without)) if isinstance(each, Mapping) else without
        number = number_in(weight, -math.inf, math.inf)
        if not isinstance(text, str) or not text.strip() or not number or not math.isfinite(number):
            raise ValueError(f"{str(each)[:100]!r} is no criterion with a text and a weight other than 0")
        found.append(Criterion(text.strip(), number))
    if not any(each.weight > 0 for each in found):
        raise ValueError("a rubric needs a criterion with a positive weight")
    return found


class Rubric(JudgeTerm):
    """Σ of the weights of the criteria that a response meets / Σ of the positive weights, limited to 0 … 1.

    The judge decides each criterion by itself, met or not, with the reason before the verdict (as HealthBench,
    arXiv:2505.08775, and Rubrics as Rewards, arXiv:2507.17746). A verdict that leaves a criterion out, or decides one
    twice, is none. A response that answers nothing has 0.0.

    Args:
        criteria: ``[{criterion: text, weight: number}, …]``; a prompt's own, in its column ``rubric``, take their
            place. Without criteria the term applies to prompts with a rubric only.
        endpoint: of :class:`JudgeTerm`.
    """

    name = "rubric"

    def __init__(self, *, criteria: Sequence[Any] | None = None, **endpoint: Any) -> None:
        self._criteria = None if criteria is None else criteria_of(criteria)
        super().__init__(**endpoint)

    def applies(self, sample: Sample) -> bool:
        return self._criteria is not None or sample.columns.get("rubric") is not None

    async def judge(self, samples: Sequence[Sample], totals: dict[str, float]) -> list[Verdict]:
        verdicts, asked = [UNANSWERED] * len(samples), []
        rubrics: list[list[Criterion]] = []
        for place, sample in enumerate(samples):
            try:
                criteria = self._criteria_for(sample)
            except ValueError as error:
                verdicts[place] = Verdict(None, f"the column rubric cannot be read: {error}")
                continue
            if answer_of(sample):
                asked.append(place)
                rubrics.append(criteria)
        questions = [_rubric_question(samples[i], criteria) for i, criteria in zip(asked, rubrics, strict=True)]
        found = await self.ask(questions, lambda place, each: _read_rubric(each, rubrics[place]), totals)
        for place, verdict in zip(asked, found, strict=True):
            verdicts[place] = verdict
        return verdicts

    def _criteria_for(self, sample: Sample) -> list[Criterion]:
        own = sample.columns.get("rubric")
        if own is not None:
            return criteria_of(own)
        assert self._criteria is not None
        return self._criteria


def _rubric_question(sample: Sample, criteria: Sequence[Criterion]) -> tuple[Question, Mapping[str, Any]]:
    listed = "\n".join(f"{number}. {each.text}" for number, each in enumerate(criteria, 1))
    reference = {} if sample.answer is None else {"REFERENCE ANSWER": sample.answer}
    asked = question(
        RUBRIC,
        sample.prompt,
        {**reference, "CRITERIA": listed, "RESPONSE": answer_of(sample)},
        {"criteria": 'a list with {"number": …, "reason": …, "met": true or false} for each criterion, in order'},
    )
    item = {
        "type": "object",
        "properties": {"number": {"type": "integer"}, "reason": {"type": "string"}, "met": {"type": "boolean"}},
        "required": ["number", "reason", "met"],
        "additionalProperties": False,
    }
    count = {"minItems": len(criteria), "maxItems": len(criteria)}
    return asked, {"criteria": {"type": "array", "items": item, **count}}


def _read_rubric(found: dict[str, Any], criteria: Sequence[Criterion]) -> Verdict | None:
    items = found.get("criteria")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        return None
    if [item.get("number") for item in items] != list(range(1, len(criteria) + 1)):
        return None
    met = [item.get("met") for item in items]
    if not all(isinstance(each, bool) for each in met):
        return None
    reached = sum(each.weight for each, does in zip(criteria, met, strict=True) if does)
    score = min(1.0, max(0.0, reached / sum(each.weight for each in criteria if each.weight > 0)))
    lines = [f"{item['number']} {'met' if item['met'] else 'not met'}: {text_of(item.get('reason'))}" for item in items]
    return Verdict(score, "; ".join(lines))
