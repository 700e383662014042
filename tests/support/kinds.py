"""Projects of the kinds with ranks, ratings and texts, for tests of the annotation app."""

from __future__ import annotations

from typing import Any

from annotating import NOW

from annotation_ui.exchange.importing import to_candidate
from annotation_ui.labelling import session as annotating
from annotation_ui.store.accounts import add_user
from annotation_ui.store.database import Database
from annotation_ui.store.forms import Form, Kind
from annotation_ui.store.projects import Settings, add_items, create_project

PLAIN = Settings(gold_rate=0.0, repeat_rate=0.0, eval_fraction=0.0)
ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")


def row(number: int, responses: int) -> dict[str, Any]:
    """A row with numbered responses: ``a0``, ``b0``, … to ``question 0``."""
    texts = [f"{slot}{number}" for slot in "abcdefgh"[:responses]]
    return {"id": str(number), "prompt": f"question {number}", "responses": texts, "models": ["m"] * responses}


def fill_kind(
    database: Database,
    kind: Kind,
    *,
    items: int = 3,
    responses: int = 3,
    settings: Settings = PLAIN,
    form: Form | None = None,
    people: tuple[str, ...] = ("ann", "bob", "cyd"),
    rows: list[dict[str, Any]] | None = None,
) -> None:
    """A project ``p`` of ``kind``, annotators, the reviewer ``rev`` and the admin ``root``."""
    found = [row(n, responses) for n in range(items)] if rows is None else rows
    made = [to_candidate(each, kind, id=str(n), source="made up") for n, each in enumerate(found)]
    with database.write() as session:
        for name in people:
            add_user(session, name, "annotator", None, now=NOW)
        add_user(session, "rev", "reviewer", None, now=NOW)
        add_user(session, "root", "admin", None, now=NOW)
        project = create_project(session, "p", kind, settings, form=form, author="root", now=NOW)
        add_items(session, project, made, author="root", now=NOW)


def texts(task: Any) -> list[str]:
    """The responses in the order of the screen."""
    return [shown[0]["content"] for shown in task.shown]


def rank(database: Database, who: str, order: str, now: float = NOW) -> str:
    """Rank the next item: ``ca=b`` is c before a and b, by the letters of :func:`row`. Its prompt."""
    task = annotating.next_task(database, who, "p", now=now)
    assert task is not None
    places: dict[str, int] = {}
    place = 0
    for n, char in enumerate(order):
        if char != "=":
            place += order[n - 1 : n] != "="
            places[char] = place
    said = {"label": "ranked", "ranks": [places[text[0]] for text in texts(task)]}
    annotating.vote(database, who, "p", task.token, said, dwell_ms=5000, now=now)
    return task.prompt[0]["content"]


def rate(database: Database, who: str, ratings: dict[str, list[int]], now: float = NOW) -> str:
    """Rate the next item: letter of a response → its ratings, in the order of the attributes. Its prompt."""
    task = annotating.next_task(database, who, "p", now=now)
    assert task is not None
    names = list(task.form.attributes or {})
    given = [dict(zip(names, ratings[text[0]], strict=True)) for text in texts(task)]
    annotating.vote(database, who, "p", task.token, {"label": "rated", "ratings": given}, dwell_ms=5000, now=now)
    return task.prompt[0]["content"]
