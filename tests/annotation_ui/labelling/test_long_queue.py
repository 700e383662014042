"""A queue whose first items have all or some of their votes: its order stays, and large counts are kept for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from sqlalchemy import select, text

from annotation_ui.labelling import item_queue, progress, session
from annotation_ui.store.database import Database
from annotation_ui.store.projects import Settings
from annotation_ui.store.tables import Assignment, Item, Project, User

NOW = 1_700_000_000.0
Fill = Callable[..., Database]


@pytest.mark.parametrize("front", [1, 3, 40])
@pytest.mark.parametrize("levels", [20, 1])
def test_everybody_gets_the_first_item_that_is_short_of_votes_and_new_to_them(
    database: Database, fill: Fill, monkeypatch: pytest.MonkeyPatch, front: int, levels: int
) -> None:
    """The same item as by going through the whole queue, however the votes are spread."""
    monkeypatch.setattr(item_queue, "FRONT", front)
    monkeypatch.setattr(item_queue, "LEVELS", levels)
    people = ("ann", "bob", "cyd", "dan")
    fill(database, items=12, people=people, settings=Settings(votes_per_item=3, gold_rate=0, repeat_rate=0))
    draw = Random(front)
    for _ in range(24):
        who = draw.choice(people)
        expected = first_by_hand(database, who)
        task = session.next_task(database, who, "p", now=NOW)
        assert (task and task.prompt[0]["content"]) == expected
        if task is None:
            continue
        label = draw.choice(("left", "skip"))
        said = {"label": label, "strength": 1} if label == "left" else {"label": label, "skip_reason": "I cannot tell"}
        session.vote(database, who, "p", task.token, said, dwell_ms=1000, now=NOW)


def first_by_hand(database: Database, who: str) -> str | None:
    with database.read() as found:
        user = found.scalars(select(User).where(User.name == who)).one()
        had = set(found.scalars(select(Assignment.item_id).where(Assignment.user_id == user.id)))
        items = found.scalars(select(Item).where(Item.taken < 3).order_by(Item.rank, Item.id)).all()
        return next((item.prompt[0]["content"] for item in items if item.id not in had), None)


def test_the_front_of_the_queue_is_computed_once_while_the_tables_have_no_statistics(
    database: Database, fill: Fill
) -> None:
    """PostgreSQL has none in the first minute after an import: it may compute a condition again for every item."""
    if database.sqlite:
        pytest.skip("SQLite computes it once in any form")
    fill(database, items=300, people=("ann",), settings=Settings(votes_per_item=3, gold_rate=0, repeat_rate=0))
    with database.read() as found:
        user = found.scalars(select(User).where(User.name == "ann")).one()
        project = found.scalars(select(Project)).one()
        given = item_queue.parameters(user, project)
        dialect = database.engine.dialect
        for statement in item_queue.statements(3, item_queue.FRONT)[:2]:
            wording = statement.params(given).compile(dialect=dialect, compile_kwargs={"literal_binds": True})
            plan = found.execute(text(f"EXPLAIN (ANALYZE, FORMAT JSON) {wording}")).scalar_one()
            limits = [node for node in nodes(plan[0]["Plan"]) if node["Node Type"] == "Limit"]
            assert len(limits) == 4  # of the whole, and of each level
            assert all(node["Actual Loops"] <= 1 for node in limits)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def test_counts_of_a_large_project_are_kept_and_those_of_the_own_work_are_not(
    database: Database, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(progress, "LARGE", 2)
    monkeypatch.setattr(progress, "monotonic", lambda: clock[0])
    fill(database, items=4, people=("ann", "bob"), settings=Settings(votes_per_item=1, gold_rate=0, repeat_rate=0))

    def figures() -> tuple[int, int, int]:
        found = session.progress(database, "ann", "p", now=NOW)
        return found.mine, found.items, found.votes

    def vote() -> None:
        task = session.next_task(database, "ann", "p", now=NOW)
        assert task is not None
        said = {"label": "left", "strength": 1}
        session.vote(database, "ann", "p", task.token, said, dwell_ms=1000, now=NOW)

    assert figures() == (0, 4, 0)
    vote()
    assert figures() == (1, 4, 0)
    clock[0] += progress.KEPT
    assert figures() == (1, 4, 1)
    monkeypatch.setattr(progress, "LARGE", 4)  # four items are not more than four
    clock[0] += progress.KEPT
    vote()
    assert figures() == (2, 4, 2)
