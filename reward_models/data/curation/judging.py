"""Questions to a judge, its answers, and the verdict of several answers about one pair.

Verdicts are on Arena-Hard's scale, −2 (B is much better) to 2 (A is much better), where A is what the judge is shown
first. Scores are about the pair: above 0 its response a is better, whichever way round it was shown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from reward_models.data.conversations import digest
from reward_models.data.records import Pair
from reward_models.data.splits import content_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One judgement to ask for.

    Args:
        draw: 0-based number among the judgements of this pair.
        a_first: whether response a is the one shown first.
    """

    pair: Pair
    draw: int
    a_first: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One answer of a judge, or why there is none.

    Args:
        score: −2 … 2, above 0 if response a of the pair is better; ``None`` if the judge gave no verdict.
        verdict: the verdict as the judge wrote it, ``None`` for a judge that answers in numbers.
        problem: what kept the judge from a verdict: ``no verdict``, ``cut off`` or ``failed``; else ``None``.
        detail: more about a failure.
    """

    draw: int
    a_first: bool
    score: float | None = None
    verdict: str | None = None
    problem: str | None = None
    detail: str | None = None

    def __post_init__(self) -> None:
        if (self.score is None) == (self.problem is None):
            raise ValueError("a judgement has either a score or a problem")


class Judge(Protocol):
    """Says which of two responses is better."""

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that its answers depend on beside the question, as JSON's types, for the report."""

    @property
    def deterministic(self) -> bool:
        """True if the answer is a function of the pair alone; a second call then gives nothing new."""

    def calls(self, questions: Sequence[Question]) -> int:
        """Number of paid calls that ``questions`` would take."""

    def check(self) -> None:
        """Nothing, if the judge is ready to be called, else a :class:`JudgeError`. Costs nothing."""

    def judge(self, questions: Sequence[Question], advance: Callable[[int], None]) -> list[Judgement]:
        """One judgement for each question, in their order; ``advance`` is told how many more are done.

        Raises:
            JudgeError: the judge failed in a way that asking on would not mend.
        """


def draw_questions(pair: Pair, judgements: int, seed: int) -> list[Question]:
    """The questions to ask about ``pair``: who is shown first is drawn at random, and balanced.

    Draws come in twos, the second showing the responses the other way round, and a coin says which way the first does.
    So an even number shows both ways equally often, and an additive preference for a position, of any size, cancels
    within every pair. With independent coins it would cancel over the whole set only: each Δ would keep an error of
    standard deviation bias / √judgements, of the size of the threshold.

    The coin depends on the contents, the seed and the number of the draw alone: a resumed run asks the same, the
    first questions of a longer draw are those of a shorter one, and a pair stored the other way round is shown alike.
    """
    key, canonical = content_key(pair), digest(pair.response_a) < digest(pair.response_b)

    def a_first(draw: int) -> bool:
        coin = hashlib.sha256(f"{seed}:{draw // 2}:".encode() + key).digest()[0] % 2
        return (coin + draw + canonical) % 2 == 1

    return [Question(pair=pair, draw=draw, a_first=a_first(draw)) for draw in range(judgements)]


def average(judgements: Iterable[Judgement], min_valid: int) -> float | None:
    """Δ: the mean score of one pair's judgements, both ways of showing it weighing the same.

    Where all judgements of an even draw are valid this is their plain mean; where some are not, the position still
    cancels. ``None``, and never 0, if fewer than ``min_valid`` are valid or one of the ways asked has no valid one.
    """
    scores: dict[bool, list[float]] = {}
    for judgement in judgements:
        way = scores.setdefault(judgement.a_first, [])
        if judgement.score is not None:
            way.append(judgement.score)
    ways = list(scores.values())
    if sum(map(len, ways)) < max(1, min_valid) or not all(ways):
        return None
    if len(ways) == 1:
        return sum(ways[0]) / len(ways[0])
    one, other = ways  # over a common denominator, so that whole verdicts average without rounding
    return (sum(one) * len(other) + sum(other) * len(one)) / (2 * len(one) * len(other))


def position_bias(judgements: Iterable[Judgement]) -> float | None:
    """The mean verdict in favour of what was shown first, on the scale −2 … 2; ``None`` without valid judgements."""
    verdicts = [j.score if j.a_first else -j.score for j in judgements if j.score is not None]
    return sum(verdicts) / len(verdicts) if verdicts else None
