"""The progress of an annotator and of the project, and the reasons why there may be nothing left to judge."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from statistics import median
from time import monotonic
from typing import Any, NamedTuple

from sqlalchemy import Float, Integer, Select, bindparam, case, func, null, select, true
from sqlalchemy.orm import Session

from annotation_ui.labelling.assignment import had_by
from annotation_ui.labelling.item_queue import PROJECT_ID, USER_ID, VOTES_PER_ITEM, parameters
from annotation_ui.labelling.judgements import first_votes, in_force
from annotation_ui.labelling.rewrites import is_accepted
from annotation_ui.store.tables import Assignment, Item, Judgement, Project, User

LARGE = 50_000  # items
KEPT = 15.0  # seconds for which the counts of a large project are kept, at least
REST = 20.0  # counts that took t seconds are kept for REST times t


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


class _Totals(NamedTuple):
    """Counts of a project's items, and until when they are taken to be so."""

    total: int
    full: int
    votes: int
    until: float


_TOTALS: dict[tuple[Any, int], _Totals] = {}  # by database and project, of large ones alone
_KEPT = {"total": "total", "full": "full", "votes": "kept_votes", "taken": "taken"}  # parameter and column


@cache
def _counts(kept: bool) -> Select[Any]:
    """One row: the user's verdicts, all items, the user's assignments of them, and the open leases on them.

    To count a million items takes longer than everything else after a vote: of a large project the counts of all items
    may be some seconds old. ``kept``: they are parameters.
    """
    items = (Item.project_id == PROJECT_ID) & Item.gold.is_(None)
    full = Item.taken >= VOTES_PER_ITEM
    today = Judgement.created > bindparam("day", type_=Float)
    verdicts = _verdicts().with_only_columns(func.count().label("mine"), func.count().filter(today).label("today"))
    of_all: Any = select(
        func.count().label("total"),
        func.count().filter(full).label("full"),
        func.coalesce(func.sum(Item.taken), 0).label("taken"),
        null().label("kept_votes"),
    ).where(items)
    if kept:
        of_all = select(*(bindparam(f"kept_{name}", type_=Integer).label(label) for name, label in _KEPT.items()))
    of_mine = (
        select(
            func.count().filter(Assignment.state == "done").label("judged"),
            func.count().filter(Assignment.state == "skipped").label("skipped"),
            func.count().filter(full).label("mine_full"),
        )
        .join(Item)
        .where(items, Assignment.user_id == USER_ID, Assignment.round == 0, Assignment.state != "expired")
    )
    waiting = full & (Assignment.user_id != USER_ID) & ~had_by(USER_ID)
    of_leases = (
        select(
            func.count().label("leases"),
            func.count(case((waiting, Item.id)).distinct()).label("leased"),
            func.min(case((waiting, Assignment.expires))).label("next_free"),
        )
        .select_from(Assignment)
        .join(Item)
        .where(items, Assignment.state == "leased", Assignment.round == 0)
    )
    first, *others = (part.subquery() for part in (verdicts, of_all, of_mine, of_leases))
    together: Any = first
    for other in others:
        together = together.join(other, true())
    return select(first, *others).select_from(together)


@cache
def _recent() -> Any:
    """The user's last verdicts, newest first: id, time it took, and whether the known answer was shown."""
    shown = Assignment.training & (Judgement.label != "skip")
    return (
        _verdicts()
        .join(Assignment, Assignment.id == Judgement.assignment_id)
        .with_only_columns(Judgement.id, Judgement.dwell_ms, Assignment.revealed | shown)
        .order_by(Judgement.id.desc())
        .limit(50)
    )


def _verdicts() -> Select[Any]:
    return in_force(PROJECT_ID).where(Judgement.user_id == USER_ID).order_by(None)


def _votes(row: Any) -> int:
    found: int = row.taken - row.leases if row.kept_votes is None else row.kept_votes
    return found


def _queue_state(row: Any) -> QueueState:
    complete = max(0, row.full - row.mine_full - row.leased)  # counts that were kept may be behind the others
    return QueueState(
        total=row.total,
        votes=_votes(row),
        judged=row.judged,
        skipped=row.skipped,
        complete=complete,
        leased=row.leased,
        open=row.total - row.judged - row.skipped - complete - row.leased,
        next_free=row.next_free,
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
    """Few statements, since they are repeated after every vote."""
    key = session.connection().engine.url, project.id
    given: dict[str, Any] = {**parameters(user, project), "day": now - now % 86400}
    began, known = monotonic(), _TOTALS.get(key)
    kept = known is not None and known.until > began
    if known is not None and kept:
        given |= {"kept_total": known.total, "kept_full": known.full, "kept_votes": known.votes, "kept_taken": 0}
    elif known is not None:
        _TOTALS[key] = known._replace(until=began + KEPT)  # other requests use the old counts during this one
    row = session.execute(_counts(kept), given).one()
    if row.kept_votes is None:
        _TOTALS.pop(key, None)
    if row.total > LARGE and row.kept_votes is None:
        took = monotonic() - began
        _TOTALS[key] = _Totals(row.total, row.full, _votes(row), began + took + max(KEPT, REST * took))
    recent = session.execute(_recent(), parameters(user, project)).all()
    dwell = [dwell_ms for _, dwell_ms, _ in recent if dwell_ms is not None]
    final = bool(recent[0][2]) if recent else True
    if not final and project.kind == "rewrite":
        final = is_accepted(session, project, session.get_one(Judgement, recent[0].id))
    return Progress(
        mine=row.mine,
        today=row.today,
        items=row.total,
        votes=_votes(row),
        votes_needed=row.total * project.votes_per_item,
        seconds_per_item=median(dwell) / 1000 if dwell else None,
        undoable=None if final else recent[0].id,
        checks=project.gold_rate + project.repeat_rate + project.training_items > 0,
        queue=_queue_state(row),
    )


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
