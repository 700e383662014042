"""The progress of an annotator and of the project, and the reasons why there may be nothing left to judge."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from annotation_ui.labelling.assignment import had_by
from annotation_ui.labelling.judgements import first_votes, in_force
from annotation_ui.store.tables import Assignment, Item, Judgement, Project, User


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """The states of a project's items from one annotator's point of view (gold items left out).

    Args:
        total: in the project, with ``votes`` by anybody. The others are parts of it:
        judged, skipped: by this user.
        complete: with all the votes they need, none of them this user's.
        leased: waiting in the hands of others; ``next_free`` says when the first of those leases ends.
        open: that this user could still get.
    """

    total: int
    votes: int
    judged: int
    skipped: int
    complete: int
    leased: int
    open: int
    next_free: float | None


def queue_state(session: Session, user: User, project: Project) -> QueueState:
    items = (Item.project_id == project.id) & Item.gold.is_(None)
    full = Item.taken >= project.votes_per_item
    total, all_full, taken = session.execute(
        select(func.count(), func.count().filter(full), func.coalesce(func.sum(Item.taken), 0)).where(items)
    ).one()
    mine = dict.fromkeys(("done", "skipped"), 0)
    mine_full = 0
    for state, count, of_them_full in session.execute(
        select(Assignment.state, func.count(), func.count().filter(full))
        .join(Item)
        .where(items, Assignment.user_id == user.id, Assignment.round == 0, Assignment.state != "expired")
        .group_by(Assignment.state)
    ):
        mine[state] = count
        mine_full += of_them_full
    waiting = full & (Assignment.user_id != user.id) & ~had_by(user)
    leases, leased, next_free = session.execute(
        select(
            func.count(),
            func.count(case((waiting, Item.id)).distinct()),
            func.min(case((waiting, Assignment.expires))),
        )
        .select_from(Assignment)
        .join(Item)
        .where(items, Assignment.state == "leased", Assignment.round == 0)
    ).one()
    complete = all_full - mine_full - leased
    return QueueState(
        total=total,
        votes=taken - leases,
        judged=mine["done"],
        skipped=mine["skipped"],
        complete=complete,
        leased=leased,
        open=total - mine["done"] - mine["skipped"] - complete - leased,
        next_free=next_free,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress of an annotator and of the project.

    Args:
        seconds_per_item: the median of the last fifty.
        undoable: the annotator's last judgement in force, unless it is final.
        checks: whether some tasks count for nothing but check the annotator; exact counts would give them away.
    """

    mine: int
    today: int
    items: int
    votes: int
    votes_needed: int
    seconds_per_item: float | None
    undoable: int | None
    checks: bool
    queue: QueueState


def progress_of(session: Session, user: User, project: Project, *, now: float) -> Progress:
    mine = in_force(project).where(Judgement.user_id == user.id).order_by(None)
    today = Judgement.created > now - now % 86400
    made_here = case((Judgement.assignment_id.is_not(None), Judgement.id))
    count, of_today, undoable = session.execute(
        mine.with_only_columns(func.count(), func.count().filter(today), func.max(made_here))
    ).one()
    if undoable is not None and _is_final(session, undoable):
        undoable = None
    timed = mine.with_only_columns(Judgement.dwell_ms).where(Judgement.dwell_ms.is_not(None))
    dwell = [ms for ms in session.scalars(timed.order_by(Judgement.id.desc()).limit(50)) if ms is not None]
    queue = queue_state(session, user, project)
    return Progress(
        mine=count,
        today=of_today,
        items=queue.total,
        votes=queue.votes,
        votes_needed=queue.total * project.votes_per_item,
        seconds_per_item=median(dwell) / 1000 if dwell else None,
        undoable=undoable,
        checks=project.gold_rate + project.repeat_rate > 0,
        queue=queue,
    )


def _is_final(session: Session, judgement_id: int) -> bool:
    under = select(Assignment.revealed).join(Judgement, Judgement.assignment_id == Assignment.id)
    return bool(session.scalar(under.where(Judgement.id == judgement_id)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectProgress:
    """The finished and the open part of a project, without gold items and repeats.

    Args:
        complete: items with all the votes they need.
        untouched: items without a vote or an open lease.
        leased: open leases.
        last_week: votes of the last seven days.
    """

    items: int
    complete: int
    untouched: int
    votes: int
    votes_needed: int
    leased: int
    last_week: int

    @property
    def days_left(self) -> float | None:
        """Days to the end at the pace of the last week; ``None`` without any vote in it."""
        return 7 * max(0, self.votes_needed - self.votes) / self.last_week if self.last_week else None


def project_progress(session: Session, project: Project, *, now: float) -> ProjectProgress:
    counted = (Item.project_id == project.id) & Item.gold.is_(None)
    items, taken, untouched = session.execute(
        select(func.count(), func.coalesce(func.sum(Item.taken), 0), func.count().filter(Item.taken == 0)).where(
            counted
        )
    ).one()
    open_leases = (
        select(Assignment.item_id)
        .join(Item)
        .where(counted, Assignment.state == "leased", Assignment.round == 0)
        .subquery()
    )
    leased = session.scalar(select(func.count()).select_from(open_leases)) or 0
    full = counted & (Item.taken >= project.votes_per_item)
    complete = session.scalar(select(func.count()).where(full, Item.id.not_in(select(open_leases)))) or 0
    recent = first_votes(project).where(Judgement.label != "skip", Judgement.created > now - 7 * 86400)
    return ProjectProgress(
        items=items,
        complete=complete,
        untouched=untouched,
        votes=taken - leased,
        votes_needed=items * project.votes_per_item,
        leased=leased,
        last_week=session.scalar(select(func.count()).select_from(recent.order_by(None).subquery())) or 0,
    )
