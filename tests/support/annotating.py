"""Steps of an annotator, for tests of the annotation app."""

from __future__ import annotations

from sqlalchemy import func, select

from annotation_ui.labelling import session as annotating
from annotation_ui.store.database import Database
from annotation_ui.store.tables import Assignment, Item

NOW = 1_700_000_000.0
LEFT = {"label": "left", "strength": 2}
SKIP = {"label": "skip", "skip_reason": "I cannot tell"}


def taken_adds_up(database: Database) -> bool:
    """The law of the queue: ``Item.taken`` is the number of votes and leases on every item."""
    with database.read() as session:
        for item in session.scalars(select(Item)):
            kept = Assignment.state.in_(("leased", "done", "returned"))
            held = session.scalar(
                select(func.count(Assignment.id)).where(Assignment.item_id == item.id, Assignment.round == 0, kept)
            )
            if item.taken != (0 if item.gold else held):
                return False
    return True


def in_hands(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count(Assignment.id)).where(Assignment.state == "leased")) or 0


def judge(database: Database, who: str, said: dict[str, object] = LEFT, now: float = NOW) -> str:
    """Judge the next item; the text of its prompt."""
    task = annotating.next_task(database, who, "p", now=now)
    assert task is not None
    annotating.vote(database, who, "p", task.token, said, dwell_ms=1500, now=now)
    return task.prompt[0]["content"]
