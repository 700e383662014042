"""Items on which a model and the majority of the annotators disagree, counted by hand; saved views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from annotation_ui.actions.browsing import choices, find_items, next_item
from annotation_ui.actions.item_filter import ItemFilter
from annotation_ui.actions.views import list_views, remove_view, save_view
from annotation_ui.store.accounts import add_user, disable
from annotation_ui.store.database import Database
from annotation_ui.store.privacy import forget
from annotation_ui.store.projects import ProjectError
from annotation_ui.store.service_tables import SavedView
from annotation_ui.store.tables import Assignment, Guideline, Item, Judgement, Project, Score, User

NOW = 1_700_000_000.0
Fill = Callable[..., Database]
# By item: the votes in order, and the scores of each model.
PREFERENCES: list[tuple[str, dict[str, tuple[float, float | None]]]] = [
    ("aab", {"m": (2.0, 1.0), "n": (0.0, 3.0)}),  # majority a: m with it, n against it
    ("bb", {"m": (2.0, 1.0)}),  # m against it
    ("ab", {"m": (2.0, 1.0)}),  # no majority
    ("t", {"m": (2.0, 1.0)}),  # a tie alone is none either
    ("b", {"m": (1.0, 1.0)}),  # the model is for neither
    ("", {"m": (0.0, 1.0)}),  # no vote
    ("a", {}),  # no score
]
LABELS = {"a": "a", "b": "b", "t": "tie", "s": "safe", "u": "unsafe"}


def judge(database: Database, number: int, votes: str) -> None:
    """One vote of each of the accounts in turn on the item ``number``."""
    with database.write() as session:
        people = session.scalars(select(User).where(User.role == "annotator").order_by(User.id)).all()
        guideline = session.scalars(select(Guideline)).one()
        for person, vote in zip(people, votes, strict=False):
            session.add(judgement(number, person.id, LABELS[vote], guideline.id))


def judgement(item: int, user: int, label: str, guideline: int, **other: Any) -> Judgement:
    usual: dict[str, Any] = {"revision": 0, "adjudication": False, "harms": [], "rationale": "", "skip_reason": ""}
    key = f"{item} {user} {other}"
    return Judgement(
        item_id=item, user_id=user, label=label, guideline_id=guideline, key=key, created=NOW, **(usual | other)
    )


def filled(database: Database, fill: Fill, kind: str, rows: list[tuple[str, dict[str, Any]]]) -> list[int]:
    fill(database, items=len(rows), kind=kind)
    with database.write() as session:
        add_user(session, "rev", "reviewer", None, now=NOW)
        add_user(session, "rob", "reviewer", None, now=NOW)
        add_user(session, "root", "admin", None, now=NOW)
        items = list(session.scalars(select(Item.id).order_by(Item.id)))
        for item, (_, scores) in zip(items, rows, strict=True):
            for scorer, (first, second) in scores.items():
                session.add(Score(item_id=item, scorer=scorer, score_a=first, score_b=second, created=NOW))
    for item, (votes, _) in zip(items, rows, strict=True):
        judge(database, item, votes)
    return items


def found(database: Database, items: list[int], **wanted: Any) -> list[int]:
    page = find_items(database, "rev", "p", ItemFilter(**wanted))
    return [items.index(item.item) for item in page.items]


def test_models_against_the_majority_of_preferences(database: Database, fill: Fill) -> None:
    items = filled(database, fill, "preference", PREFERENCES)
    assert found(database, items, model_view="against") == [0, 1]
    assert found(database, items, model_view="with") == [0]
    assert found(database, items, model="m", model_view="against") == [1]
    assert found(database, items, model="n", model_view="against") == [0]
    assert found(database, items, model="m") == [0, 1, 2, 3, 4, 5]
    assert found(database, items, model="unknown") == []
    assert next_item(database, "rev", "p", ItemFilter(model_view="against"), items[0]) == items[1]
    assert next_item(database, "rev", "p", ItemFilter(model_view="against"), items[1]) is None
    assert choices(database, "rev", "p").models == ["m", "n"]
    with pytest.raises(ProjectError, match="model_view is one of"):
        find_items(database, "rev", "p", ItemFilter(model_view="sideways"))  # type: ignore[arg-type]


def test_models_against_the_majority_of_safety_labels(database: Database, fill: Fill) -> None:
    rows: list[tuple[str, dict[str, Any]]] = [
        ("ssu", {"m": (1.5, None)}),
        ("ss", {"m": (-0.5, None)}),
        ("uu", {"m": (2.0, None)}),
        ("u", {"m": (-2.0, None)}),
    ]
    items = filled(database, fill, "safety", rows)
    assert found(database, items, model_view="against") == [1, 2]
    assert found(database, items, model_view="with") == [0, 3]


def test_only_votes_in_force_count_and_each_person_once(database: Database, fill: Fill) -> None:
    items = filled(database, fill, "preference", [("aab", {"m": (1.0, 2.0)}), ("bba", {"m": (1.0, 2.0)})])
    assert found(database, items, model_view="against") == [0]
    with database.write() as session:
        [project, guideline] = session.scalars(select(Project)).one(), session.scalars(select(Guideline)).one()
        people = session.scalars(select(User).where(User.role == "annotator").order_by(User.id)).all()
        first = session.scalars(select(Judgement).where(Judgement.item_id == items[0]).order_by(Judgement.id)).first()
        assert first is not None
        assert project.name == "p"
        # ann changes a into b on the first item; bob repeats the second one silently, twice the other way round
        session.add(judgement(items[0], people[0].id, "b", guideline.id, revision=1, supersedes=first.id))
        for round_ in (1, 2):
            again = Assignment(
                item_id=items[1],
                user_id=people[1].id,
                round=round_,
                token=f"t{round_}",
                left="a",
                guideline_id=guideline.id,
                state="done",
                leased_at=NOW,
                expires=NOW,
            )
            session.add(again)
            session.flush()
            session.add(judgement(items[1], people[1].id, "a", guideline.id, assignment_id=again.id))
        # and a reviewer's decision is no vote
        session.add(judgement(items[1], people[2].id, "a", guideline.id, adjudication=True))
    assert found(database, items, model_view="against") == []
    assert found(database, items, model_view="with") == [0, 1]


def test_projects_that_models_do_not_score_have_no_such_filter(sqlite: Database) -> None:
    from kinds import fill_kind

    fill_kind(sqlite, "ranking")
    with sqlite.write() as session:
        if session.scalar(select(User).where(User.name == "rev")) is None:
            add_user(session, "rev", "reviewer", None, now=NOW)
    with pytest.raises(ProjectError, match="models score the items of preference and safety"):
        find_items(sqlite, "rev", "p", ItemFilter(model_view="against"))
    assert choices(sqlite, "rev", "p").models == []


def test_views_are_their_owners_and_those_that_are_shared_everybodys(database: Database, fill: Fill) -> None:
    filled(database, fill, "preference", PREFERENCES)
    mine = ItemFilter(model_view="against", decided=False, shortest=5)
    save_view(database, "rev", "p", "against m", mine, shared=False, now=NOW)
    save_view(database, "rev", "p", "all", ItemFilter(sort="longest"), shared=True, now=NOW)
    assert [(v.name, v.wanted, v.shared, v.own) for v in list_views(database, "rev", "p")] == [
        ("against m", mine, False, True),
        ("all", ItemFilter(sort="longest"), True, True),
    ]
    assert [(v.name, v.author, v.removable) for v in list_views(database, "rob", "p")] == [("all", "rev", False)]
    save_view(database, "rev", "p", "all", ItemFilter(sort="shortest"), shared=True, now=NOW)  # in its place
    save_view(database, "rob", "p", "all", ItemFilter(), shared=False, now=NOW)  # another person's of that name
    assert [v.wanted.sort for v in list_views(database, "rob", "p")] == ["shortest", "oldest"]
    private, shared = (v.view for v in list_views(database, "rev", "p"))
    for who, number in (("rob", private), ("rob", shared), ("root", private), ("rev", 999)):
        with pytest.raises(ProjectError, match="no such view"):
            remove_view(database, who, "p", number)
    assert remove_view(database, "root", "p", shared) == "all"
    assert remove_view(database, "rev", "p", private) == "against m"
    for name in ("", " x", "x" * 61, "a\nb"):
        with pytest.raises(ProjectError, match="name has"):
            save_view(database, "rev", "p", name, ItemFilter(), shared=False, now=NOW)
    with pytest.raises(ProjectError, match="sort is one of"):
        save_view(database, "rev", "p", "x", ItemFilter(sort="x"), shared=False, now=NOW)  # type: ignore[arg-type]
    with pytest.raises(PermissionError):
        save_view(database, "ann", "p", "x", ItemFilter(), shared=False, now=NOW)


def test_a_person_who_is_removed_leaves_only_shared_views(sqlite: Database, fill: Fill) -> None:
    filled(sqlite, fill, "preference", PREFERENCES)
    for name, shared in (("mine", False), ("ours", True)):
        save_view(sqlite, "rob", "p", name, ItemFilter(), shared=shared, now=NOW)
    with sqlite.write() as session:
        disable(session, "rob", by="root", now=NOW)
        pseudonym = forget(session, "rob", by="root", now=NOW)
    with sqlite.read() as session:
        assert [view.name for view in session.scalars(select(SavedView))] == ["ours"]
    assert [view.author for view in list_views(sqlite, "rev", "p")] == [pseudonym]
