"""The queue of a project: the next item for an annotator, by statements that are built once.

To build a statement, and SQLAlchemy's key of it, takes longer than to execute it. They have parameters for the values.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import CTE, BindParameter, ColumnElement, Integer, Select, bindparam, exists, select, union_all
from sqlalchemy.orm import Session, aliased

from annotation_ui.store.tables import Assignment, Item, Project, User

FRONT = 40  # more than the transactions that hand out an item at one time
LEVELS = 20  # with more votes wanted of an item, the whole queue is looked through
USER_ID: BindParameter[int] = bindparam("user", type_=Integer)
PROJECT_ID: BindParameter[int] = bindparam("project", type_=Integer)
VOTES_PER_ITEM: BindParameter[int] = bindparam("votes_per_item", type_=Integer)


def parameters(user: User, project: Project) -> dict[str, int]:
    """The values of the parameters of statements that are kept."""
    return {"user": user.id, "project": project.id, "votes_per_item": project.votes_per_item}


def next_item(session: Session, user: User, project: Project, *, lock: bool) -> tuple[Item, Assignment | None] | None:
    """The first item in the queue that the user has not had, and their assignment of it that expired, if any."""
    given = parameters(user, project)
    near, near_locked, free_locked, free_waiting = statements(
        project.votes_per_item if project.votes_per_item <= LEVELS else None, FRONT
    )
    row = None
    for statement in (near_locked, free_locked, free_waiting) if lock else (near,):
        row = row or session.execute(statement, given).one_or_none()
    return None if row is None else (row[0], row[1])


@cache
def statements(levels: int | None, size: int) -> tuple[Select[Any], Select[Any], Select[Any], Select[Any]]:
    """The statements of :func:`next_item`: the one without a lock, and those to try in turn for an item that is locked.

    Args:
        levels: the votes that an item needs; ``None``: the whole queue is looked through at once.
        size: items in the front of each level.
    """
    short = Item.taken < VOTES_PER_ITEM
    earlier = (Assignment.item_id == Item.id) & (Assignment.user_id == USER_ID) & (Assignment.round == 0)
    free = _unseen(short, Item, Assignment).outerjoin(Assignment, earlier).limit(1)
    near: Any = free
    if levels is not None:
        front = _front(levels, size)
        first = select(Item, Assignment).select_from(front).join(Item, Item.id == front.c.id)
        near = first.outerjoin(Assignment, earlier).where(short).order_by(Item.rank, Item.id).limit(1)
    # Another transaction may hold the first one for a moment: pass it by, and wait only if it is the last. The lock
    # (``key_share``: FOR NO KEY UPDATE) lets verdicts on the item in, which refer to it and may wait for another.
    near_locked, free_locked = (
        each.with_for_update(of=Item, skip_locked=True, key_share=True) for each in (near, free)
    )
    return near, near_locked, free_locked, free.with_for_update(of=Item, key_share=True)


def _unseen(short: ColumnElement[bool], *what: Any) -> Select[Any]:
    """The items of the queue that are ``short`` of votes and that the user has not had, in order.

    The condition is a NOT EXISTS: of an outer join with the same meaning PostgreSQL expects one row at most, and reads
    the whole queue for it.
    """
    had = aliased(Assignment)
    mine = (had.item_id == Item.id, had.user_id == USER_ID, had.round == 0, had.state != "expired")
    return (
        select(*what)
        .select_from(Item)
        .where(Item.project_id == PROJECT_ID, Item.gold.is_(None), short, ~exists().where(*mine))
        .order_by(Item.rank, Item.id)
    )


def _front(levels: int, size: int) -> CTE:
    """The first items of the queue, of each number of votes by itself, for which the index holds them in order.

    A long queue begins with many items that have all their votes; to pass them by would take longer with every vote.
    PostgreSQL computes it once, before the rest (``MATERIALIZED``). As a condition on the items it may be computed
    again for every item: the planner does so where it has no statistics yet, as in the first minute after an import.
    """
    parts = [_unseen(Item.taken == taken, Item.id).limit(size).subquery() for taken in range(levels)]
    front = union_all(*(select(part.c.id) for part in parts)).cte("front")
    return front.prefix_with("MATERIALIZED", dialect="postgresql")
