"""A model's scores decide the order of the queue, but not of the evaluation slice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from annotation_ui.exchange.scoring import add_scores, items_to_score
from annotation_ui.labelling import session as annotating
from annotation_ui.store.database import Database
from annotation_ui.store.projects import ProjectError, Settings, find_project
from annotation_ui.store.tables import Item, Score
from keel.cli import app

NOW = 1_700_000_000.0
Fill = Callable[..., Database]


def margins(database: Database, values: dict[str, float], scorer: str = "rm") -> None:
    with database.write() as session:
        project = find_project(session, "p")
        rows = list(items_to_score(session, project))
        scores = [
            {"response_a": {"raw": 1 + values[row["prompt"][0]["content"]]}, "response_b": {"raw": 1}} for row in rows
        ]
        add_scores(session, project, scorer, rows, scores, author="root", now=NOW)


def order(database: Database) -> list[str]:
    seen = []
    while (task := annotating.next_task(database, "ann", "p", now=NOW)) is not None:
        seen.append(task.prompt[0]["content"])
        annotating.vote(database, "ann", "p", task.token, {"label": "tie"}, now=NOW)
    return seen


def test_people_judge_first_what_the_model_is_least_sure_of(database: Database, fill: Fill) -> None:
    fill(database, items=4, settings=Settings(gold_rate=0, repeat_rate=0, eval_fraction=0))
    margins(database, {f"question {n}": margin for n, margin in enumerate((3.0, -0.5, -2.0, 1.0))})
    assert order(database) == ["question 1", "question 3", "question 2", "question 0"]


def test_with_several_models_first_what_they_disagree_about(sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=4, settings=Settings(gold_rate=0, repeat_rate=0, eval_fraction=0))
    margins(sqlite, {f"question {n}": margin for n, margin in enumerate((1.0, -1.0, 1.0, -1.0))})
    # In units of their spreads, 1 and 30: (1, 1), (−1, −1/3), (1, −1), (−1, 1/3), so the gaps are 0, 2/3, 2, 4/3.
    other = dict(enumerate((30.0, -10.0, -30.0, 10.0)))
    with sqlite.write() as session:
        session.add_all(
            Score(item_id=n, scorer="judge x", score_a=100.0 * n, score_b=0.0, created=NOW) for n in range(1, 5)
        )
    margins(sqlite, {f"question {n}": margin * 1.5 for n, margin in other.items()}, "other")
    assert order(sqlite) == ["question 2", "question 3", "question 1", "question 0"]


def test_the_evaluation_slice_keeps_its_places(sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=30, settings=Settings(gold_rate=0, repeat_rate=0, eval_fraction=0.4))
    with sqlite.read() as session:
        before = [item.source_id for item in session.scalars(select(Item).order_by(Item.rank)) if item.split == "eval"]
        places = {item.rank for item in session.scalars(select(Item)) if item.split == "eval"}
    margins(sqlite, {f"question {n}": 30.0 - n for n in range(30)})
    with sqlite.read() as session:
        items = session.scalars(select(Item).order_by(Item.rank)).all()
    assert 5 < len(before) < 25
    assert [item.source_id for item in items if item.split == "eval"] == before
    assert {item.rank for item in items if item.split == "eval"} == places
    trained = [int(item.source_id) for item in items if item.split == "train"]
    assert trained == sorted(trained, reverse=True)


def test_a_new_call_replaces_the_scores_of_a_model(sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=2, settings=Settings(eval_fraction=0))
    for scorer in ("rm", "other", "rm"):
        margins(sqlite, {"question 0": 1.0, "question 1": 2.0}, scorer)
    with sqlite.read() as session:
        assert sorted(session.scalars(select(Score.scorer))) == ["other", "other", "rm", "rm"]


@pytest.mark.parametrize(
    ("items", "scores", "says"),
    [
        ([{"id": 1}], [], "1 items and 0 scores"),
        ([{"id": 77}], [{}], "line 1: 'p' has no item 77"),
        ([{"id": 1}], [{"response_a": {"raw": 1.0}}], "line 1: no number at response_a.raw and response_b.raw"),
        ([{"id": 1}], [{"error": "x"}], "no number"),
        ([{"id": 1}], [{"response_a": {"raw": "nan"}, "response_b": {"raw": 1}}], "not finite"),
    ],
)
def test_scores_that_do_not_fit(
    sqlite: Database, fill: Fill, items: list[dict[str, int]], scores: list[dict[str, object]], says: str
) -> None:
    fill(sqlite, items=1)
    with pytest.raises(ProjectError, match=says), sqlite.write() as session:
        add_scores(session, find_project(session, "p"), "rm", items, scores, author="root", now=NOW)


def test_the_round_trip_on_the_command_line(sqlite: Database, fill: Fill, tmp_path: Path) -> None:
    fill(sqlite, items=2, kind="safety")
    items, scores, db = tmp_path / "items.jsonl", tmp_path / "scores.jsonl", str(sqlite.url.database)
    assert "wrote 2 items" in CliRunner().invoke(app, ["annotate", "items", str(items), "--db", db]).output
    assert [sorted(json.loads(line)) for line in items.open()] == [["id", "prompt", "response"]] * 2
    scores.write_text('{"response": {"raw": 2.5}}\n{"response": {"raw": -1}}\n')
    done = CliRunner().invoke(app, ["annotate", "scores", str(items), str(scores), "--scorer", "s", "--db", db])
    assert "2 items scored by s" in done.output
    with sqlite.read() as session:
        assert session.execute(select(Score.score_a, Score.score_b)).all() == [(2.5, None), (-1.0, None)]
