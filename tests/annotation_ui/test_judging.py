"""A judge model's verdicts are scores beside the votes, never votes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytest
from sqlalchemy import select

from annotation_ui import session as desk
from annotation_ui.database import Database
from annotation_ui.judging import Prejudged, prejudge, questions_about
from annotation_ui.projects import ProjectError
from annotation_ui.tables import Judgement, Score
from reward_models.data.curation.judging import Judgement as Answer
from reward_models.data.curation.judging import Question

NOW = 1_700_000_000.0
Fill = Callable[..., Database]


class Partial:
    """Favours what it is shown first, and beyond that response a of even items, b of odd ones; is silent on item 3."""

    deterministic = False
    settings: ClassVar[dict[str, Any]] = {}

    def calls(self, questions: Sequence[Question]) -> int:
        return len(questions)

    def check(self) -> None:
        return

    def judge(self, questions: Sequence[Question], advance: Callable[[int], None]) -> list[Answer]:
        return [self._answer(question) for question in questions]

    def _answer(self, question: Question) -> Answer:
        if question.pair.id == "3":
            return Answer(draw=question.draw, a_first=question.a_first, problem="no verdict")
        truth = 1.0 if int(question.pair.id) % 2 == 0 else -1.0
        return Answer(draw=question.draw, a_first=question.a_first, score=truth + (1 if question.a_first else -1))


def test_both_orders_cancel_and_nothing_becomes_a_vote(sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=3)
    questions = questions_about(sqlite, "p", draws=2, seed=0)
    assert len(questions) == 6
    for _ in range(2):  # a second time replaces what was there
        done = prejudge(sqlite, "p", questions, Partial(), "m", author="root", now=NOW)
    assert done == Prejudged(2, 1)
    with sqlite.read() as session:
        scores = session.execute(select(Score.item_id, Score.scorer, Score.score_a, Score.score_b)).all()
        assert session.scalars(select(Judgement)).all() == []
    assert sorted(tuple(row) for row in scores) == [(1, "judge m", -1.0, 0.0), (2, "judge m", 1.0, 0.0)]
    task = desk.next_task(sqlite, "ann", "p", now=NOW)
    assert task is not None
    [reveal] = desk.vote(sqlite, "ann", "p", task.token, {"label": "tie"}, now=NOW)
    assert reveal.scorer == "judge m"


def test_a_judge_compares(sqlite: Database, fill: Fill) -> None:
    fill(sqlite, kind="safety")
    with pytest.raises(ProjectError, match="compares two responses"):
        questions_about(sqlite, "p", draws=2, seed=0)
