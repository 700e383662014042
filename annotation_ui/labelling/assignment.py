"""The choice of the next item for an annotator, and the leases on items.

All of it happens inside the caller's write transaction: an item is never handed to more annotators than it needs votes.
``Item.taken`` counts votes and live leases; gold items and repeats are not counted. To be free of deadlocks, locks are
taken in the order user, assignment, item, and :func:`release_expired` has a transaction of its own.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from random import Random
from typing import Any

from sqlalchemy import ColumnElement, Exists, Select, exists, func, select, update
from sqlalchemy.orm import Session, aliased

from annotation_ui.store.tables import Assignment, Guideline, Item, Project, User

REPEAT_AFTER = 10  # an item is shown again only after so many others
CLOCK_SLACK = 60.0  # seconds that the clocks of two servers may differ


def lease(session: Session, user: User, project: Project, *, now: float) -> Assignment | None:
    """The item ``user`` is to judge now: the one in hand, or a new one, or ``None`` if there is none.

    The order of new items is ``Item.rank``; gold items and repeats come in by a draw that depends only on the user and
    how many items they have had, so that asking again changes nothing.
    """
    mine = in_hand(session, user, project)
    if mine is not None and holds(mine, now=now):
        return mine
    picked = _pick(session, user, project, lock=True)
    return None if picked is None else _hand_out(session, picked, user, project, now=now)


def upcoming(session: Session, user: User, project: Project) -> Item | None:
    """The item that :func:`lease` is likely to give after the one in hand, as things stand; it stays in the queue."""
    picked = _pick(session, user, project, lock=False)
    return None if picked is None else picked.item


def in_hand(session: Session, user: User, project: Project) -> Assignment | None:
    """The lease taken last that is still open, whether or not its time is up."""
    return session.scalar(
        _mine(user, project, Assignment)
        .where(Assignment.state == "leased")
        .order_by(Assignment.leased_at.desc(), Assignment.id.desc())
        .limit(1)
    )


def holds(assignment: Assignment, *, now: float) -> bool:
    """True if a lease has not expired: the opposite of :func:`overdue`."""
    return assignment.expires > now and assignment.leased_at <= now + CLOCK_SLACK


def overdue(project: Project, *, now: float) -> ColumnElement[bool]:
    """The open leases of a project whose time is up, to be joined with their items.

    A lease taken in the future is one as well: the clock was wrong when it was taken, and has been set back.
    """
    late = (Assignment.expires <= now) | (Assignment.leased_at > now + CLOCK_SLACK)
    return (Item.project_id == project.id) & (Assignment.state == "leased") & late


def newest_guideline(session: Session, project: Project) -> Guideline:
    return session.scalars(
        select(Guideline).where(Guideline.project_id == project.id).order_by(Guideline.version.desc()).limit(1)
    ).one()


def reopen(session: Session, assignment: Assignment, project: Project, *, now: float) -> None:
    """Lease ``assignment`` again, under a new token, with the responses where they were and the newest guideline."""
    assignment.guideline = newest_guideline(session, project)
    assignment.token = secrets.token_urlsafe(18)
    assignment.state = "leased"
    assignment.leased_at = now
    assignment.expires = now + project.lease_seconds


def counts(item: Item, round: int) -> bool:
    """True if an assignment of ``item`` counts towards the votes that the item needs."""
    return item.gold is None and round == 0


def release(session: Session, assignment: Assignment, state: str) -> None:
    """End a lease without a vote: ``expired`` or ``skipped``; its place is free for somebody else."""
    assignment.state = state
    if counts(assignment.item, assignment.round):
        _take(session, assignment.item_id, -1)


def release_expired(session: Session, project: Project, *, now: float) -> int:
    """Free the places of all leases whose time is up; returns how many."""
    late = session.scalars(
        select(Assignment)
        .join(Item)
        .where(overdue(project, now=now))
        .order_by(Assignment.item_id)
        .with_for_update(of=Assignment, skip_locked=True)
    ).all()
    for assignment in late:
        release(session, assignment, "expired")
    return len(late)


def had_by(user: User) -> Exists:
    """That an item is or was in the user's hands; one that was given back untouched may come again."""
    given = aliased(Assignment)
    return exists().where(given.item_id == Item.id, given.user_id == user.id, given.state != "expired")


def _mine(user: User, project: Project, what: Any) -> Select[Any]:
    return select(what).join(Item).where(Item.project_id == project.id, Assignment.user_id == user.id)


@dataclass(frozen=True, slots=True)
class _Picked:
    item: Item
    flip: bool
    round: int = 0


def _pick(session: Session, user: User, project: Project, *, lock: bool) -> _Picked | None:
    had = session.scalar(_mine(user, project, func.count(Assignment.id))) or 0
    draw = Random(f"{project.id}:{user.id}:{had}")  # seeded by text: the same on every machine
    check, flip = draw.random(), draw.random() < 0.5
    if check < project.gold_rate:
        item = _gold(session, user, project, draw)
        if item is not None:
            return _Picked(item, flip)
    elif check < project.gold_rate + project.repeat_rate:
        before = _repeatable(session, user, project, draw)
        if before is not None:
            return _Picked(before.item, before.left == "a", round=1)
    item = _next(session, user, project, lock=lock)
    return None if item is None else _Picked(item, flip)


def _next(session: Session, user: User, project: Project, *, lock: bool) -> Item | None:
    free = (
        select(Item)
        .where(Item.project_id == project.id, Item.gold.is_(None), Item.taken < project.votes_per_item, ~had_by(user))
        .order_by(Item.rank, Item.id)
        .limit(1)
    )
    if not lock:
        return session.scalar(free)
    # Another transaction may hold the first one for a moment: pass it by, and wait only if it is the last. The lock
    # (``key_share``: FOR NO KEY UPDATE) lets verdicts on the item in, which refer to it and may wait for another one.
    return session.scalar(free.with_for_update(skip_locked=True, key_share=True)) or session.scalar(
        free.with_for_update(key_share=True)
    )


def _gold(session: Session, user: User, project: Project, draw: Random) -> Item | None:
    unseen = session.scalars(
        select(Item.id).where(Item.project_id == project.id, Item.gold.is_not(None), ~had_by(user)).order_by(Item.id)
    ).all()
    return session.get(Item, draw.choice(unseen)) if unseen else None


def _repeatable(session: Session, user: User, project: Project, draw: Random) -> Assignment | None:
    """One of the user's own judged items, far enough back, that was not repeated yet."""
    done = session.scalars(
        _mine(user, project, Assignment)
        .where(Assignment.state == "done", Item.gold.is_(None))
        .order_by(Assignment.leased_at.desc(), Assignment.id.desc())
    ).all()
    repeated = {a.item_id for a in done if a.round == 1}
    old = [a for a in done[REPEAT_AFTER:] if a.round == 0 and a.item_id not in repeated]
    return draw.choice(old) if old else None


def _hand_out(session: Session, picked: _Picked, user: User, project: Project, *, now: float) -> Assignment:
    item, round = picked.item, picked.round
    assignment = session.scalar(
        select(Assignment).where(
            Assignment.item_id == item.id, Assignment.user_id == user.id, Assignment.round == round
        )
    )
    if assignment is None:
        assignment = Assignment(item_id=item.id, user_id=user.id, round=round, left="b" if picked.flip else "a")
    reopen(session, assignment, project, now=now)
    session.add(assignment)
    if counts(item, round):
        _take(session, item.id, 1)
    session.flush()
    return assignment


def _take(session: Session, item_id: int, places: int) -> None:
    session.execute(update(Item).where(Item.id == item_id).values(taken=Item.taken + places))
