"""Which item an annotator gets next, and for how long it is theirs.

All of it happens inside the caller's write transaction: an item is never handed to more annotators than it needs votes.
``Item.taken`` counts votes and live leases; gold items and repeats are not counted. To be free of deadlocks, locks are
taken in the order user, assignment, item, and :func:`release_expired` has a transaction of its own.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from random import Random
from typing import Any

from sqlalchemy import Exists, Select, exists, func, select, update
from sqlalchemy.orm import Session, aliased

from annotation_ui.tables import Assignment, Guideline, Item, Project, User

REPEAT_AFTER = 10  # an item is shown again only after so many others


def lease(session: Session, user: User, project: Project, *, now: float) -> Assignment | None:
    """The item ``user`` is to judge now: the one in hand, or a new one, or ``None`` if there is none.

    The order of new items is ``Item.rank``; gold items and repeats come in by a draw that depends only on the user and
    how many items they have had, so that asking again changes nothing.
    """
    mine = in_hand(session, user, project)
    if mine is not None and mine.expires > now:
        return mine
    had = session.scalar(_mine(user, project, func.count(Assignment.id))) or 0
    draw = Random(f"{project.id}:{user.id}:{had}")  # seeded by text: the same on every machine
    check, flip = draw.random(), draw.random() < 0.5
    if check < project.gold_rate:
        item = _gold(session, user, project, draw)
        if item is not None:
            return _hand_out(session, item, user, project, flip=flip, now=now)
    elif check < project.gold_rate + project.repeat_rate:
        before = _repeatable(session, user, project, draw)
        if before is not None:
            return _hand_out(session, before.item, user, project, flip=before.left == "a", now=now, round=1)
    item = _next(session, user, project)
    return None if item is None else _hand_out(session, item, user, project, flip=flip, now=now)


def in_hand(session: Session, user: User, project: Project) -> Assignment | None:
    """The lease taken last that is still open, whether or not its time is up."""
    return session.scalar(
        _mine(user, project, Assignment)
        .where(Assignment.state == "leased")
        .order_by(Assignment.leased_at.desc(), Assignment.id.desc())
        .limit(1)
    )


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
    """Whether an assignment of ``item`` is one of the votes it needs."""
    return item.gold is None and round == 0


def release(session: Session, assignment: Assignment, state: str) -> None:
    """End a lease without a vote: ``expired`` or ``skipped``; its place is free for somebody else."""
    assignment.state = state
    if counts(assignment.item, assignment.round):
        _take(session, assignment.item_id, -1)


def release_expired(session: Session, project: Project, *, now: float) -> int:
    """Free the places of all leases whose time is up; returns how many."""
    overdue = session.scalars(
        select(Assignment)
        .join(Item)
        .where(Item.project_id == project.id, Assignment.state == "leased", Assignment.expires <= now)
        .order_by(Assignment.item_id)
        .with_for_update(of=Assignment, skip_locked=True)
    ).all()
    for assignment in overdue:
        release(session, assignment, "expired")
    return len(overdue)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """Why there is no next item, in numbers of items (gold items left out).

    Args:
        total: in the project. The others are parts of it, from the user's point of view:
        judged, skipped: by this user.
        complete: with all the votes they need, none of them this user's.
        leased: waiting in the hands of others; ``next_free`` says when the first of those leases ends.
        open: that this user could still get.
    """

    total: int
    judged: int
    skipped: int
    complete: int
    leased: int
    open: int
    next_free: float | None


def queue_state(session: Session, user: User, project: Project) -> QueueState:
    items = (Item.project_id == project.id) & Item.gold.is_(None)
    total = session.scalar(select(func.count(Item.id)).where(items)) or 0
    states = (
        select(Assignment.state, func.count())
        .join(Item)
        .where(items, Assignment.user_id == user.id, Assignment.round == 0)
        .group_by(Assignment.state)
    )
    mine = {row[0]: row[1] for row in session.execute(states)}
    held = aliased(Assignment)
    out = exists().where(held.item_id == Item.id, held.user_id != user.id, held.state == "leased")
    full = items & ~_had(user) & (Item.taken >= project.votes_per_item)
    leased = session.scalar(select(func.count(Item.id)).where(full, out)) or 0
    complete = (session.scalar(select(func.count(Item.id)).where(full)) or 0) - leased
    next_free = session.scalar(
        select(func.min(Assignment.expires))
        .join(Item)
        .where(full, Assignment.user_id != user.id, Assignment.state == "leased")
    )
    judged, skipped = mine.get("done", 0), mine.get("skipped", 0)
    open_ = total - judged - skipped - complete - leased
    return QueueState(
        total=total,
        judged=judged,
        skipped=skipped,
        complete=complete,
        leased=leased,
        open=open_,
        next_free=next_free,
    )


def _had(user: User) -> Exists:
    """That an item is or was in the user's hands; one that was given back untouched may come again."""
    given = aliased(Assignment)
    return exists().where(given.item_id == Item.id, given.user_id == user.id, given.state != "expired")


def _mine(user: User, project: Project, what: Any) -> Select[Any]:
    return select(what).join(Item).where(Item.project_id == project.id, Assignment.user_id == user.id)


def _next(session: Session, user: User, project: Project) -> Item | None:
    free = (
        select(Item)
        .where(Item.project_id == project.id, Item.gold.is_(None), Item.taken < project.votes_per_item, ~_had(user))
        .order_by(Item.rank, Item.id)
        .limit(1)
    )
    # Another transaction may hold the first one for a moment: pass it by, and wait only if it is the last.
    return session.scalar(free.with_for_update(skip_locked=True)) or session.scalar(free.with_for_update())


def _gold(session: Session, user: User, project: Project, draw: Random) -> Item | None:
    unseen = session.scalars(
        select(Item.id).where(Item.project_id == project.id, Item.gold.is_not(None), ~_had(user)).order_by(Item.id)
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


def _hand_out(
    session: Session, item: Item, user: User, project: Project, *, flip: bool, now: float, round: int = 0
) -> Assignment:
    assignment = session.scalar(
        select(Assignment).where(
            Assignment.item_id == item.id, Assignment.user_id == user.id, Assignment.round == round
        )
    )
    if assignment is None:
        assignment = Assignment(item_id=item.id, user_id=user.id, round=round, left="b" if flip else "a")
    reopen(session, assignment, project, now=now)
    session.add(assignment)
    if counts(item, round):
        _take(session, item.id, 1)
    session.flush()
    return assignment


def _take(session: Session, item_id: int, places: int) -> None:
    session.execute(update(Item).where(Item.id == item_id).values(taken=Item.taken + places))
