"""A reward model as the judge of curation, beside chat models behind an endpoint (``reward_models.data.curation``)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from reward_models.data.curation.judging import Judgement, Question
from reward_models.data.records import Comparison, Pair

BATCH = 256  # pairs between two movements of the progress bar; the scorer cuts its own batches


class Score(Protocol):
    """What is read of a score: the calibrated one, whose differences are log-odds of being preferred."""

    @property
    def calibrated(self) -> float: ...


class Scorer(Protocol):
    """What is asked of a reward model: the scores of both responses, a before b."""

    def score_records(self, records: Sequence[Comparison]) -> Sequence[tuple[Score, ...]]: ...


def expected_verdict(difference: float) -> float:
    """A difference d of calibrated scores on the judges' scale: 2·(P(a better) − P(b better)) = 2·tanh(d/2).

    By Bradley and Terry P(a better) = σ(d). Certainty is ±2, the verdict "much better", and a coin's toss is 0; |Δ| > 1
    asks for three to one, |d| > ln 3 ≈ 1.10.
    """
    return 2 * math.tanh(difference / 2)


class RewardModelJudge:
    """See :class:`~reward_models.data.curation.judging.Judge`.

    A reward model reads one response at a time and says the same every time: there is no position to favour, and one
    judgement is all there is to know.

    Args:
        name: the model's directory; stands in the report.
    """

    deterministic = True

    def __init__(self, model: Scorer, name: str) -> None:
        self._model = model
        self._name = name

    @property
    def settings(self) -> dict[str, Any]:
        return {"model": self._name}

    def calls(self, questions: Sequence[Question]) -> int:
        """Every question is scored, and none is paid for: there is nothing to keep."""
        return len(questions)

    def check(self) -> None:
        """A model that was loaded is ready."""

    def judge(self, questions: Sequence[Question], advance: Callable[[int], None]) -> list[Judgement]:
        judgements: list[Judgement] = []
        for start in range(0, len(questions), BATCH):
            batch = questions[start : start + BATCH]
            scores = self._model.score_records([_unjudged(question.pair) for question in batch])
            for question, (a, b) in zip(batch, scores, strict=True):
                score = expected_verdict(a.calibrated - b.calibrated)
                judgements.append(Judgement(draw=question.draw, a_first=question.a_first, score=score))
            advance(len(batch))
        return judgements


def _unjudged(pair: Pair) -> Comparison:
    """``pair`` in the form that is scored; no scorer reads the label."""
    return Comparison(prompt=pair.prompt, response_a=pair.response_a, response_b=pair.response_b, label="tie")
