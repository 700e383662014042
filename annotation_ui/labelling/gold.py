"""Items with a known answer: how right a verdict is, and the annotators who are warned or paused by it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from random import Random
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from annotation_ui.labelling.assignment import to_train_on
from annotation_ui.labelling.judgements import in_force
from annotation_ui.store.projects import Settings
from annotation_ui.store.service_tables import Clearance
from annotation_ui.store.tables import Assignment, Event, Item, Judgement, Project, User

NEAR = 1  # a rating is right that is at most so far from the known one
WINDOW = 20  # the last answers on known items, of which the accuracy is
WARN_AFTER, PAUSE_AFTER = 3, 6  # answers; the first few say little
LONGEST_LAG = 8  # judgements after which an answer counts, at most

Payload = Mapping[str, Any]


def rightness(label: str, payload: Payload | None, gold: str, answer: Payload | None) -> float | None:
    """The share of the known answer that a verdict gives, from 0 to 1; ``None`` if nothing of it was asked.

    A label is right or wrong. Of rankings it is the share of the pairs of responses in the known order, of ratings the
    share of those at most :data:`NEAR` from the known ones; of both together the share of all pairs and ratings. The
    guideline of the verdict may ask for less than that of the known answer: the rest of the answer does not count.
    """
    said, known = payload or {}, answer or {}
    if label != gold or not known.keys() & {"ranks", "ratings"}:
        return float(label == gold)
    right = [*_right_pairs(said.get("ranks"), known.get("ranks")), *_right_ratings(said, known)]
    return sum(right) / len(right) if right else None


def _right_pairs(said: Mapping[str, int] | None, known: Mapping[str, int] | None) -> Iterable[bool]:
    if not known or not said:
        return
    for one, other in combinations(sorted(known), 2):
        yield _sign(said[one] - said[other]) == _sign(known[one] - known[other])


def _right_ratings(said: Payload, known: Payload) -> Iterable[bool]:
    for slot, ratings in known.get("ratings", {}).items():
        given = said.get("ratings", {}).get(slot, {})
        for name, rating in ratings.items():
            if name in given:
                yield abs(given[name] - rating) <= NEAR


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldRecord:
    """The answers of an annotator on known items.

    Args:
        training: the training round is not over.
        n: the last answers, at most :data:`WINDOW`, since a reviewer let the annotator go on.
        share: how right they are; ``None`` without any.
    """

    training: bool
    n: int
    share: float | None
    warned: bool
    paused: bool


def gold_record(session: Session, user: User, project: Project) -> GoldRecord:
    """The record as it takes effect.

    An answer outside of the training round counts only some judgements later, as many as are drawn for it: a warning
    right after a verdict would tell the annotator which items are checks.
    """
    training = to_train_on(session, user, project) is not None
    cleared = session.get(Clearance, (project.id, user.id))
    mine = in_force(project).order_by(None).where(Judgement.user_id == user.id, Judgement.label != "skip")
    mine = mine.order_by(Judgement.id.desc())
    last = session.scalars(mine.with_only_columns(Judgement.id).limit(LONGEST_LAG)).all()
    answers = session.execute(
        mine.join(Assignment, Assignment.id == Judgement.assignment_id)
        .with_only_columns(
            Judgement.id, Judgement.label, Judgement.payload, Item.gold, Item.answer, Assignment.training
        )
        .where(Item.gold.is_not(None), Judgement.id > (cleared.after if cleared else 0))
        .limit(WINDOW + LONGEST_LAG)
    ).all()
    effective = [row for row in answers if row.training or sum(n > row.id for n in last) >= _lag(row.id)]
    shares = [(row.training, rightness(row.label, row.payload, row.gold, row.answer)) for row in effective]
    counted = [(training, right) for training, right in shares if right is not None][:WINDOW]
    share = sum(right for _, right in counted) / len(counted) if counted else None
    low = share is not None and share < project.pause_below
    enough = len(counted) >= PAUSE_AFTER or all(training for training, _ in counted)
    paused = low and enough and not training
    return GoldRecord(
        training=training,
        n=len(counted),
        share=share,
        warned=low and not paused and len(counted) >= WARN_AFTER,
        paused=paused,
    )


def _lag(judgement: int) -> int:
    return Random(f"lag:{judgement}").randint(1, LONGEST_LAG)


def missing_known_answers(session: Session, project: Project) -> tuple[str, ...]:
    """The settings of a project that have no effect because too few of its items have a known answer, in sentences.

    A project without any and with the default share of gold items asked for no checks: that is no reason for a warning.
    """
    wanted = project.training_items
    found = select(Item.id).where(Item.project_id == project.id, Item.gold.is_not(None)).limit(wanted + 1)
    known = len(session.scalars(found).all())
    said = []
    if known < wanted:
        said.append(
            f"the training round has {wanted} items, but the project has a known answer for {known} only: import more"
        )
    asked_for = known > 0 or wanted > 0 or project.gold_rate != Settings().gold_rate
    if asked_for and project.gold_rate > 0 and known <= wanted and project.kind != "rewrite":
        said.append(
            f"no known answer is left for checks: the project has {known}, the training round takes {wanted}, so the "
            f"share of gold items, {project.gold_rate:g}, has no effect"
        )
    return tuple(said)


def is_paused(session: Session, user: User, project: Project) -> bool:
    """True if ``user`` gets no new items of the project until a reviewer lets them go on."""
    return project.pause_below > 0 and gold_record(session, user, project).paused


def clear(session: Session, user: User, project: Project, *, by: str, now: float) -> None:
    """Let ``user`` go on: the answers so far count no longer towards a warning or a pause."""
    mine = in_force(project).order_by(None).where(Judgement.user_id == user.id)
    last = session.scalar(mine.with_only_columns(Judgement.id).order_by(Judgement.id.desc()).limit(1)) or 0
    session.execute(delete(Clearance).where(Clearance.project_id == project.id, Clearance.user_id == user.id))
    session.add(Clearance(project_id=project.id, user_id=user.id, after=last))
    detail = {"user": user.id}  # names are replaced when a person leaves
    session.add(Event(at=now, actor=by, kind="annotator let go on", project=project.name, detail=detail))
