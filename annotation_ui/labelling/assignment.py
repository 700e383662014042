"""The choice of the next item for an annotator, and the leases on items.

All of it happens inside the caller's write transaction: an item is never handed to more annotators than it needs votes.
``Item.taken`` counts votes and live leases; gold items and repeats are not counted. To be free of deadlocks, locks are
taken in the order user, assignment, item, and :func:`release_expired` has a transaction of its own.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Exists,
    Select,
    exists,
    func,
    select,
    update,
)
from sqlalchemy.orm import Session, aliased

from annotation_ui.labelling.item_queue import next_item
from annotation_ui.store.tables import Assignment, Guideline, Item, Judgement, Project, User
from annotation_ui.store.verdicts import draw_order, turned

REPEAT_AFTER = 10  # an item is shown again only after so many others
CLOCK_SLACK = 60.0  # seconds that the clocks of two servers may differ


class Lease(NamedTuple):
    """``first``: the user never had the item before, so there is no judgement under the assignment."""

    assignment: Assignment
    first: bool


def lease(session: Session, user: User, project: Project, *, now: float) -> Lease | None:
    """The item ``user`` is to judge now: the one in hand, or a new one, or ``None`` if there is none.

    The order of new items is ``Item.rank``; gold items and repeats come in by a draw that depends only on the user and
    how many items they have had, so that asking again changes nothing.
    """
    standing = standing_of(session, user, project, now=now)
    mine = in_hand(session, user, project) if standing.leased else None
    if mine is not None and holds(mine, now=now):
        return Lease(mine, first=False)
    return lease_new(session, user, project, standing, now=now)


def lease_new(session: Session, user: User, project: Project, standing: Standing, *, now: float) -> Lease | None:
    """An item that ``user`` does not have yet, or ``None``. ``standing`` is of this transaction.

    A rewrite that was sent back to ``user`` comes before new items.
    """
    if project.kind == "rewrite" and (sent_back := returned_to(session, user, project)) is not None:
        reopen(sent_back, project, session.get_one(Guideline, standing.guideline), now=now)
        return Lease(sent_back, first=False)
    picked = _pick(session, user, project, standing.had, lock=True)
    if picked is None:
        return None
    guideline = session.get_one(Guideline, standing.guideline)
    return Lease(_hand_out(session, picked, user, project, guideline, now=now), first=picked.before is None)


@dataclass(frozen=True, slots=True)
class Standing:
    """The facts that a lease depends on, read in one statement.

    Args:
        had: assignments of the user in the project so far.
        leased: those of them that are open.
        overdue: whether leases of the project, of anybody, wait to be ended.
        guideline: the id of the newest guideline.
    """

    had: int
    leased: int
    overdue: bool
    guideline: int


def standing_of(session: Session, user: User, project: Project, *, now: float) -> Standing:
    late = select(Assignment.id).join(Item).where(overdue(project, now=now)).exists()
    newest = select(func.max(Guideline.id)).where(Guideline.project_id == project.id).scalar_subquery()
    mine = _mine(user, project, func.count(Assignment.id))
    open_ones = func.count(Assignment.id).filter(Assignment.state == "leased")
    return Standing(*session.execute(mine.add_columns(open_ones, late.correlate(None), newest)).one())


def upcoming(session: Session, user: User, project: Project) -> Item | None:
    """The item that :func:`lease` is likely to give after the one in hand, as things stand; it stays in the queue."""
    had = session.scalar(_mine(user, project, func.count(Assignment.id))) or 0
    picked = _pick(session, user, project, had, lock=False)
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


def reopen(assignment: Assignment, project: Project, guideline: Guideline, *, now: float) -> None:
    """Lease ``assignment`` again, under a new token and ``guideline``, with the responses where they were."""
    assignment.guideline = guideline
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
        take_back(session, project, assignment)
    return len(late)


def take_back(session: Session, project: Project, assignment: Assignment) -> None:
    """End a lease whose annotator gave no verdict. The place of a text that was sent back is kept for its writer."""
    if project.kind == "rewrite" and _has_text(session, assignment):
        assignment.state = "returned"
    else:
        release(session, assignment, "expired")


def returned_to(session: Session, user: User, project: Project) -> Assignment | None:
    """The first text of ``user`` that was sent back and is not in hand."""
    sent_back = _mine(user, project, Assignment).where(Assignment.state == "returned")
    return session.scalar(sent_back.order_by(Assignment.id).limit(1))


def _has_text(session: Session, assignment: Assignment) -> bool:
    """True if the last judgement under an assignment is a text, which then was sent back."""
    labels = select(Judgement.label).where(Judgement.assignment_id == assignment.id)
    return session.scalar(labels.order_by(Judgement.revision.desc()).limit(1)) == "written"


def had_by(user_id: int | BindParameter[int]) -> Exists:
    """That an item is or was in the user's hands; one that was given back untouched may come again."""
    given = aliased(Assignment)
    return exists().where(given.item_id == Item.id, given.user_id == user_id, given.state != "expired")


def _mine(user: User, project: Project, what: Any) -> Select[Any]:
    return select(what).join(Item).where(Item.project_id == project.id, Assignment.user_id == user.id)


@dataclass(frozen=True, slots=True)
class _Picked:
    """An item, and the user's assignment of it in this round where there was one: given back, untouched."""

    item: Item
    left: str
    round: int = 0
    before: Assignment | None = None
    training: bool = False


def _pick(session: Session, user: User, project: Project, had: int, *, lock: bool) -> _Picked | None:
    draw = Random(f"{project.id}:{user.id}:{had}")  # seeded by text: the same on every machine
    check, flip = draw.random(), draw.random() < 0.5
    if (number := to_train_on(session, user, project)) is not None:
        known = session.get_one(Item, number)
        left = draw_order(len(known.responses), flip=flip, draw=draw)
        return _Picked(known, left, before=_before(session, user, known, 0), training=True)
    if check < project.gold_rate:
        item = _gold(session, user, project, draw)
        if item is not None:
            left = draw_order(len(item.responses), flip=flip, draw=draw)
            return _Picked(item, left, before=_before(session, user, item, 0))
    elif check < project.gold_rate + project.repeat_rate and project.kind != "rewrite":
        before = _repeatable(session, user, project, draw)
        if before is not None:
            again = _before(session, user, before.item, 1)
            return _Picked(before.item, turned(before.left), round=1, before=again)
    found = next_item(session, user, project, lock=lock)
    if found is None:
        return None
    left = draw_order(len(found[0].responses), flip=flip, draw=draw)
    return _Picked(found[0], left, before=found[1])


def _before(session: Session, user: User, item: Item, round: int) -> Assignment | None:
    return session.scalar(
        select(Assignment).where(
            Assignment.item_id == item.id, Assignment.user_id == user.id, Assignment.round == round
        )
    )


def _gold(session: Session, user: User, project: Project, draw: Random) -> Item | None:
    unseen = session.scalars(unseen_gold(user, project)).all()
    return session.get(Item, draw.choice(unseen)) if unseen else None


def unseen_gold(user: User, project: Project) -> Select[int]:
    """The items with a known answer that the user has not had, in the order of their import."""
    unseen = (Item.project_id == project.id, Item.gold.is_not(None), ~had_by(user.id))
    return select(Item.id).where(*unseen).order_by(Item.id)


def trained(session: Session, user: User, project: Project) -> int:
    """The items of the training round that the user has answered; those that were skipped do not count."""
    answered = _mine(user, project, func.count(Assignment.id)).where(Assignment.training, Assignment.state == "done")
    return session.scalar(answered) or 0


def to_train_on(session: Session, user: User, project: Project) -> int | None:
    """The id of the next item of the training round; ``None`` where it is over, or no known answer is left.

    The round has as many items as the project says. Those that the user skipped come again at its end.
    """
    done = trained(session, user, project) if project.training_items else 0
    if done >= project.training_items:
        return None
    skipped = _mine(user, project, Assignment.item_id).where(Assignment.training, Assignment.state == "skipped")
    again = session.scalars(skipped.order_by(Assignment.leased_at, Assignment.id)).all()
    unseen = session.scalar(unseen_gold(user, project).limit(1)) if done + len(again) < project.training_items else None
    return unseen if unseen is not None or not again else again[0]


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
    session: Session, picked: _Picked, user: User, project: Project, guideline: Guideline, *, now: float
) -> Assignment:
    item, round = picked.item, picked.round
    assignment = picked.before
    if assignment is None:
        assignment = Assignment(item=item, user_id=user.id, round=round, left=picked.left)
    assignment.training = picked.training
    reopen(assignment, project, guideline, now=now)
    session.add(assignment)
    if counts(item, round):
        _take(session, item.id, 1)
    session.flush()
    return assignment


def _take(session: Session, item_id: int, places: int) -> None:
    session.execute(update(Item).where(Item.id == item_id).values(taken=Item.taken + places))
