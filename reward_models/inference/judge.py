"""A reward model in the place of a judge in curation (``reward_models.data.curation``)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from reward_models.data.curation.judging import Judgement, Question
from reward_models.endpoint.answers import JudgeError
from reward_models.inference.reward_model import RewardModel

BATCH = 256  # pairs between two updates of the progress bar; the scorer cuts its own batches


def expected_verdict(difference: float) -> float:
    """A difference d of calibrated scores on the judges' scale: 2·(P(a better) − P(b better)) = 2·tanh(d/2).

    By Bradley and Terry P(a better) = σ(d). ±2 is certainty, the verdict "much better"; 0 is equality. A difference
    beyond ±1 on this scale means odds of more than three to one, |d| > ln 3 ≈ 1.10.
    """
    return 2 * math.tanh(difference / 2)


class RewardModelJudge:
    """See :class:`~reward_models.data.curation.judging.Judge`.

    A reward model reads one response at a time and is deterministic: there is no position bias, and one judgement of a
    pair is enough.

    Args:
        name: the model's directory, for the report.
    """

    deterministic = True

    def __init__(self, model: RewardModel, name: str) -> None:
        self._model = model
        self._name = name

    @property
    def settings(self) -> dict[str, Any]:
        return {"model": self._name}

    def calls(self, questions: Sequence[Question]) -> int:
        """All questions: scores are computed here, and none is kept."""
        return len(questions)

    def check(self) -> None:
        if self._model.task != "preference" or self._model.calibration.apply(0.0, "preference") is None:
            raise JudgeError(
                f"{self._name} cannot judge: it takes a helpful reward model with a calibration, which is fitted in "
                "training on data.calibration_fraction of the prompts"
            )

    def judge(self, questions: Sequence[Question], advance: Callable[[int], None]) -> list[Judgement]:
        judgements: list[Judgement] = []
        for start in range(0, len(questions), BATCH):
            batch = questions[start : start + BATCH]
            replies = [(q.pair.prompt, reply) for q in batch for reply in (q.pair.response_a, q.pair.response_b)]
            # check() ensures that there is a calibration
            scores = [float(score.calibrated) for score in self._model.score_responses(replies)]  # type: ignore[arg-type]
            for question, a, b in zip(batch, scores[::2], scores[1::2], strict=True):
                score = expected_verdict(a - b)
                judgements.append(Judgement(draw=question.draw, a_first=question.a_first, score=score))
            advance(len(batch))
        return judgements
