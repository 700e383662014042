"""The common part of judge terms: the client, its costs, and what becomes of replies that are no verdicts."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from align.rewards.judges.quoting import Question
from align.rewards.terms import Sample, ScoresWithExtras, TermError
from reward_models.endpoint.answers import AnswerFile, JudgeError
from reward_models.endpoint.client import KEY_VARIABLE, ChatClient, ChatRequest, EndpointConfig, Reply

DEFAULTS: dict[str, Any] = {"temperature": 0.0, "max_tokens": 1024}


class Verdict(NamedTuple):
    """A score and its reason: ``None`` where the judge gave no verdict, nan where it could not be asked."""

    score: float | None
    reason: str


class JudgeTerm:
    """A term whose scores come from a language model behind an OpenAI-compatible endpoint.

    A reply that cannot be read as a verdict is no score (``None``), and counted in ``judge_unread``. A question without
    a reply after all tries is a failure (nan). An endpoint that refuses the key, or fails again and again, stops the
    run.

    Args:
        url: the part of the address before ``/chat/completions``, usually ending in ``/v1``.
        model: the endpoint's name for the judge.
        cache: the file that answers are kept in. A question that it holds is not asked again, so a run that goes on
            after a kill has the same scores. Several ranks and runs may share it.
        key_variable: the environment variable with the endpoint's key, which must then be set; default:
            ``KEEL_JUDGE_API_KEY``, and no key is sent where that is not set.
        options: of :class:`~reward_models.endpoint.client.EndpointConfig`; ``temperature`` is 0 and ``max_tokens`` 1024
            unless they say otherwise.

    Raises:
        TermError: the endpoint cannot be reached, or refuses the key; the variable that ``key_variable`` names is not
            set.
    """

    name: ClassVar[str]
    term_totals: ClassVar[tuple[str, ...]] = (
        *("judge_calls", "judge_cached", "judge_failed", "judge_unread"),
        *("judge_tokens_in", "judge_tokens_out", "judge_cost"),
    )

    def __init__(self, *, url: str, model: str, cache: str, key_variable: str | None = None, **options: Any) -> None:
        variable = key_variable or KEY_VARIABLE
        key = os.environ.get(variable)
        if key_variable is not None and not key:
            raise TermError(f"rewards: {self.name}: key_variable names {variable}, which is not set or empty")
        self._broken_off: dict[str, float] = {}
        try:
            config = EndpointConfig(base_url=url, model=model, **(DEFAULTS | options))
            self.client = ChatClient(config, AnswerFile(Path(cache)), key, key_variable=variable)
            self.client.check()
        except JudgeError as error:
            raise TermError(f"rewards: {self.name}: {error}") from error

    def applies(self, sample: Sample) -> bool:
        return True

    async def score(self, samples: Sequence[Sample]) -> ScoresWithExtras:
        totals = dict.fromkeys(self.term_totals, 0.0)
        try:
            verdicts = await self.judge(samples, totals)
        except BaseException:  # cancelled above all, because the call takes too long: its questions were paid for
            self._broken_off = {name: value + self._broken_off.get(name, 0.0) for name, value in totals.items()}
            raise
        scores = ScoresWithExtras([verdict.score for verdict in verdicts])
        scores.totals = totals
        return scores

    def unreported_totals(self) -> Mapping[str, float]:
        """The costs of calls that were broken off, once."""
        found, self._broken_off = self._broken_off, {}
        return found

    def explain(self, samples: Sequence[Sample]) -> list[tuple[float | None, str]]:
        """Scores, each with the judge's reason."""
        verdicts = asyncio.run(self.judge(samples, dict.fromkeys(self.term_totals, 0.0)))
        return [(None if v.score is not None and math.isnan(v.score) else v.score, v.reason) for v in verdicts]

    async def judge(self, samples: Sequence[Sample], totals: dict[str, float]) -> list[Verdict]:
        """A verdict per sample; costs are added to ``totals``."""
        raise NotImplementedError

    async def ask(
        self,
        questions: Sequence[tuple[Question, Mapping[str, Any]]],
        read: Callable[[int, dict[str, Any]], Verdict | None],
        totals: dict[str, float],
    ) -> list[Verdict]:
        """Ask questions.

        Args:
            questions: each with the JSON schemas of its verdict's keys.
            read: the verdict in a reply's object, by the question's place; ``None`` if it has not the right form.
        """
        requests = [ChatRequest(each.messages, schema=each.schema(properties)) for each, properties in questions]

        def heard(reply: Reply) -> None:
            for cost, value in self.client.costs([reply]).items():
                totals[f"judge_{cost}"] += value

        try:
            replies = await self.client.ask(requests, heard=heard)
        except JudgeError as error:
            raise TermError(f"rewards: {self.name}: {error}") from error
        verdicts = [
            _verdict(place, question, reply, read)
            for place, ((question, _), reply) in enumerate(zip(questions, replies, strict=True))
        ]
        totals["judge_unread"] += sum(verdict.score is None for verdict in verdicts)
        return verdicts


def _verdict(
    place: int, question: Question, reply: Reply, read: Callable[[int, dict[str, Any]], Verdict | None]
) -> Verdict:
    if reply.answer is None:
        return Verdict(math.nan, f"the judge could not be asked: {reply.error}")
    if reply.answer.finish_reason == "length":  # a verdict in it may be a draft
        return Verdict(None, "the judge's reply was cut off; raise max_tokens")
    found = question.verdict(reply.answer.reply)
    verdict = None if found is None else read(place, found)
    if verdict is None:
        return Verdict(None, f"the judge's reply is no verdict: {' '.join(reply.answer.reply.split())[:200]!r}")
    return verdict


def number_in(value: Any, low: float, high: float) -> float | None:
    """The number, if it is one and lies between the bounds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        return None
    return float(value)


def text_of(value: Any) -> str:
    """A reason, as one line."""
    return " ".join(value.split())[:500] if isinstance(value, str) else ""
