"""Passages marked in responses: stored by characters for the response, whatever its place on the screen."""

from __future__ import annotations

from typing import Any

import pytest
from annotating import NOW
from kinds import PLAIN, fill_kind, texts

from annotation_ui.exchange.exporting import export, snapshot
from annotation_ui.exchange.importing import to_candidate
from annotation_ui.labelling import session as annotating
from annotation_ui.labelling.screens import Task
from annotation_ui.store.accounts import add_user
from annotation_ui.store.database import Database
from annotation_ui.store.forms import Form
from annotation_ui.store.projects import add_items, create_project, find_project
from annotation_ui.store.verdicts import VerdictError

FORM = Form(attributes={"tone": ""}, spans=("error", "unsafe"))
SAFE = {"label": "safe"}


def mark(start: int, end: int, text: str, label: str = "error", note: object = "") -> dict[str, Any]:
    return {"start": start, "end": end, "text": text, "label": label, "note": note}


def task_of(database: Database) -> Task:
    task = annotating.next_task(database, "ann", "p", now=NOW)
    assert task is not None
    return task


@pytest.fixture
def safety(sqlite: Database) -> Database:
    with sqlite.write() as session:
        add_user(session, "ann", "annotator", None, now=NOW)
        project = create_project(session, "p", "safety", PLAIN, form=FORM, author="root", now=NOW)
        item = to_candidate({"prompt": "question", "response": "answer 0"}, "safety", id="0", source="made up")
        add_items(session, project, [item], author="root", now=NOW)
    return sqlite


def test_marks_are_stored_for_the_response_and_come_back_by_its_place(database: Database) -> None:
    rows = [{"prompt": f"q{n}", "responses": [f"a😀{n}", f"b😀{n}"]} for n in range(6)]
    fill_kind(database, "attributes", rows=rows, form=FORM)
    for n in range(6):
        task = task_of(database)
        place = [text[0] for text in texts(task)].index("b")
        spans: list[list[dict[str, Any]]] = [[], []]
        spans[place] = [mark(1, 3, f"😀{n}", "unsafe", " why\0 "), mark(0, 1, "b")]
        said = {"label": "rated", "ratings": [{"tone": 1}, {"tone": 2}], "spans": spans}
        annotating.vote(database, "ann", "p", task.token, said, now=NOW)
        past = annotating.history(database, "ann", "p")[0]
        shown = annotating.past_task(database, "ann", "p", past.judgement).said
        assert shown is not None
        assert [len(of) for of in shown["spans"]] == [len(of) for of in spans]
    with database.write() as session:
        project = find_project(session, "p")
        rows = export(session, project, snapshot(session, project, None, author="root", now=NOW).name).rows["train"]
    marked = [row for row in rows if "spans" in row]
    assert len(marked) == 6
    for row in marked:
        text = row["response"][0]["content"]
        assert text[0] == "b"
        assert row["spans"] == [mark(0, 1, "b"), mark(1, 3, text[1:], "unsafe", "why")]
        assert all(text[span["start"] : span["end"]] == span["text"] for span in row["spans"])


def test_a_label_may_have_marks_or_none(safety: Database) -> None:
    annotating.vote(safety, "ann", "p", task_of(safety).token, SAFE | {"spans": [[mark(0, 6, "answer")]]}, now=NOW)
    [past] = annotating.history(safety, "ann", "p")
    annotating.edit(safety, "ann", "p", past.judgement, SAFE | {"spans": []}, now=NOW)
    [past] = annotating.history(safety, "ann", "p")
    shown = annotating.past_task(safety, "ann", "p", past.judgement).said
    assert shown is not None
    assert "spans" not in shown


@pytest.mark.parametrize(
    "spans",
    [
        "error",
        [[], []],
        [{}],
        [["error"]],
        [[mark(0, 6, "answer")] * 51],
        [[mark(0, 99, "answer")]],
        [[mark(3, 3, "")]],
        [[mark(-1, 6, "answer")]],
        [[mark(0, 6, "answex")]],
        [[mark(0, 6, "answer", "<img src=x>")]],
        [[mark(0, 6, "answer", note=7)]],
        [[mark(0, 6, "answer", note="x" * 501)]],
        [[mark(0, 6, "answer") | {"start": True}]],
    ],
)
def test_marks_from_a_browser_are_checked(safety: Database, spans: object) -> None:
    with pytest.raises(VerdictError):
        annotating.vote(safety, "ann", "p", task_of(safety).token, SAFE | {"spans": spans}, now=NOW)


def test_no_marks_where_the_project_asks_for_none(sqlite: Database) -> None:
    fill_kind(sqlite, "ranking", items=1, responses=2)
    said = {"label": "ranked", "ranks": [1, 2], "spans": [[mark(0, 1, "a")], []]}
    with pytest.raises(VerdictError):
        annotating.vote(sqlite, "ann", "p", task_of(sqlite).token, said, now=NOW)
