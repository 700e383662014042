"""A judge model's verdicts are scores beside the votes, never votes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sqlalchemy import select
from stand_in_judge import StandInJudge
from typer.testing import CliRunner

from annotation_ui.actions.judging import ModelLabels, label_by_model, questions_about
from annotation_ui.exchange.exporting import export
from annotation_ui.exchange.exporting import snapshot as take
from annotation_ui.labelling import session as annotating
from annotation_ui.quality.statistics import quality
from annotation_ui.store.database import Database
from annotation_ui.store.projects import ProjectError, Settings, find_project
from annotation_ui.store.tables import Judgement, Score
from keel.cli import app
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
    fill(sqlite, items=3, settings=Settings(gold_rate=0, repeat_rate=0, show_scores=True))
    questions = questions_about(sqlite, "p", draws=2, seed=0)
    assert len(questions) == 6
    for _ in range(2):  # a second time replaces what was there
        done = label_by_model(sqlite, "p", questions, Partial(), "m", author="root", now=NOW)
    assert done == ModelLabels(2, 1)
    with sqlite.read() as session:
        scores = session.execute(select(Score.item_id, Score.scorer, Score.score_a, Score.score_b)).all()
        assert session.scalars(select(Judgement)).all() == []
    assert sorted(tuple(row) for row in scores) == [(1, "judge m", -1.0, 0.0), (2, "judge m", 1.0, 0.0)]
    task = annotating.next_task(sqlite, "ann", "p", now=NOW)
    assert task is not None
    [reveal] = annotating.vote(sqlite, "ann", "p", task.token, {"label": "tie"}, now=NOW).scores
    assert reveal.scorer == "judge m"


def test_a_judge_compares(sqlite: Database, fill: Fill) -> None:
    fill(sqlite, kind="safety")
    with pytest.raises(ProjectError, match="compares two responses"):
        questions_about(sqlite, "p", draws=2, seed=0)


def test_a_judge_behind_an_endpoint(sqlite: Database, fill: Fill, tmp_path: Path) -> None:
    """The command, over HTTP: every pair in both orders, paid for once, and beside what people say."""
    fill(sqlite, items=4)
    task = annotating.next_task(sqlite, "ann", "p", now=NOW)
    assert task is not None
    annotating.vote(sqlite, "ann", "p", task.token, {"label": "tie"}, now=NOW)

    def first_is_better(one: str, other: str) -> float:
        return 1.0 if one.startswith("first") else -1.0

    with StandInJudge(first_is_better, bias=0.6, noise=0.0, faults=0.0) as judge:
        db = str(sqlite.url.database)
        words = ["annotate", "judge", judge.url, "--model", "stand-in", "--db", db, "--project", "p"]
        words += ["--answers", str(tmp_path / "answers.jsonl")]
        outputs = [CliRunner().invoke(app, words) for _ in range(2)]
        asked = sum(judge.requests.values())
        shown = [body["messages"][-1]["content"] for body in judge.bodies if len(body["messages"][-1]["content"]) > 20]
    assert [result.exit_code for result in outputs] == [0, 0], outputs[0].output
    assert "4 items judged by stand-in; 0 without a verdict" in outputs[0].output
    assert "8 judgements, 0 to ask for" in outputs[1].output
    assert asked >= 8
    assert sum("first 2" in text for text in shown) == 2
    with sqlite.read() as session:
        scores = session.scalars(select(Score).order_by(Score.item_id)).all()
        people = session.scalars(select(Judgement)).all()
        figures = quality(session, find_project(session, "p"))
    assert [(score.scorer, score.score_b) for score in scores] == [("judge stand-in", 0.0)] * 4
    assert all(0 < score.score_a <= 2 for score in scores)  # response a is better, whichever was shown first
    assert [judgement.label for judgement in people] == ["tie"]
    assert (figures.votes, set(figures.longer)) == (1, {"people", "judge stand-in"})
    with sqlite.write() as session:
        made = take(session, find_project(session, "p"), None, author="root", now=NOW)
        assert sum(export(session, find_project(session, "p"), made.name).counts.values()) == 1  # the person's only
