"""Recording verdicts: once per lease, never overwritten, never lost."""

from __future__ import annotations

from sqlalchemy import BindParameter, Select, exists, func, select
from sqlalchemy.orm import Session, aliased, joinedload

from annotation_ui.labelling.assignment import counts, newest_guideline, release, reopen
from annotation_ui.store.forms import PLACED
from annotation_ui.store.tables import Assignment, Event, Item, Judgement, Project, User
from annotation_ui.store.verdicts import Verdict

LONGEST_DWELL_MS = 24 * 3600 * 1000


class LeaseLost(RuntimeError):
    """The item went back to the queue before the verdict arrived; nothing was recorded."""


class Stale(RuntimeError):
    """The judgement to be changed has been changed already, or is final; nothing was recorded."""


class Contradiction(Stale):
    """The item has another verdict under the same lease; the new one was not recorded."""


def in_force(project: Project | BindParameter[int], *, adjudication: bool | None = False) -> Select[Judgement]:
    """The judgements of ``project`` that nothing supersedes, withdrawn ones left out.

    Args:
        project: a project; or a parameter for its id, in a statement that is kept.
        adjudication: reviewers' decisions (true), annotators' judgements (false), or both.
    """
    later = aliased(Judgement)
    number = project.id if isinstance(project, Project) else project
    chosen = (
        select(Judgement)
        .join(Item, Item.id == Judgement.item_id)
        .where(Item.project_id == number, Judgement.label != "withdrawn")
        .where(~exists().where(later.supersedes == Judgement.id))
        .order_by(Judgement.id)
    )
    return chosen if adjudication is None else chosen.where(Judgement.adjudication == adjudication)


def first_votes(project: Project) -> Select[Judgement]:
    """Annotators' judgements in force, less gold items and an annotator's silent repeats of an item: the votes."""
    return (
        in_force(project)
        .outerjoin(Assignment, Assignment.id == Judgement.assignment_id)
        .where(Item.gold.is_(None), func.coalesce(Assignment.round, 0) == 0)
    )


def leased_under(session: Session, user: User, token: str) -> Assignment | None:
    """The user's assignment with this token, open or not, with its item and guideline; locked for :func:`record`."""
    return session.scalar(
        select(Assignment)
        .where(Assignment.token == token, Assignment.user_id == user.id)
        .options(joinedload(Assignment.item).lazyload(Item.responses), joinedload(Assignment.guideline))
        .with_for_update(of=Assignment)
    )


def record(
    session: Session,
    user: User,
    project: Project,
    assignment: Assignment,
    verdict: Verdict,
    *,
    dwell_ms: int | None,
    now: float,
) -> tuple[Judgement, bool]:
    """Record ``verdict`` on the item of ``assignment``; ``(judgement, whether it is new)``.

    A lease whose time is up still holds while nobody else took the item. The same verdict sent again under the same
    token returns the judgement of the first time.

    Args:
        assignment: of :func:`leased_under`.

    Raises:
        LeaseLost: the lease is not open any more.
        Contradiction: another verdict was recorded under the token.
    """
    token = assignment.token
    chain = session.scalars(
        select(Judgement).where(Judgement.assignment_id == assignment.id).order_by(Judgement.revision.desc())
    ).all()
    known = next((judgement for judgement in chain if judgement.key == token), None)
    if known is not None:
        require_same(known, verdict)
        return known, False
    if assignment.state != "leased" or assignment.item.project_id != project.id:
        raise LeaseLost("this item went back to the queue; your verdict was not recorded")
    before = chain[0] if chain else None
    judgement = _new(session, assignment, project, verdict, before=before, key=token, dwell_ms=dwell_ms, now=now)
    if verdict.label == "skip":
        release(session, assignment, "skipped")
    else:
        assignment.state = "done"
    assignment.draft = None
    session.add(_event(user, project, "judged", judgement, now))
    return judgement, True


def require_same(known: Judgement, verdict: Verdict) -> None:
    """Raise :class:`Contradiction` unless ``known`` says what ``verdict`` says."""
    if not _says(known, verdict):
        raise Contradiction(
            "you have judged this item before, with another verdict: that one stays, and this one was not recorded"
        )


def _says(known: Judgement, verdict: Verdict) -> bool:
    return all(getattr(known, name) == value for name, value in _fields(verdict).items())


def _sent_before(session: Session, user: User, project: Project, key: str) -> Judgement | None:
    """The user's judgement under ``key``, if it is the last under its assignment: the same request came twice."""
    mine = select(Judgement).join(Item, Item.id == Judgement.item_id).where(Item.project_id == project.id)
    found = session.scalar(mine.where(Judgement.key == key, Judgement.user_id == user.id))
    later = select(Judgement.id).where(Judgement.supersedes == found.id) if found is not None else None
    return found if later is not None and session.scalar(later) is None else None


def undo(session: Session, user: User, project: Project, judgement_id: int, *, now: float) -> Assignment:
    """Take back one's judgement ``judgement_id``: it is superseded, and its item is leased again. Sent twice, it counts
    once.

    Raises:
        Stale: it is not this user's, is no longer in force, is final because a model's score or the known answer was
            shown, or was a skip whose place others have filled since.
    """
    if (again := _sent_before(session, user, project, f"undo-{judgement_id}")) is not None:
        return session.get_one(Assignment, again.assignment_id)
    judgement, assignment = _own(session, user, project, judgement_id)
    if judgement.label == "skip" and counts(assignment.item, assignment.round):
        session.refresh(assignment.item, with_for_update=True)
        if assignment.item.taken >= project.votes_per_item:
            raise Stale("others have judged the item you skipped; it needs no more votes")
        assignment.item.taken += 1
    withdrawn = Judgement(
        item_id=judgement.item_id,
        user_id=user.id,
        assignment_id=assignment.id,
        revision=judgement.revision + 1,
        supersedes=judgement.id,
        adjudication=False,
        label="withdrawn",
        harms=[],
        rationale="",
        skip_reason="",
        left=judgement.left,
        key=f"undo-{judgement.id}",
        created=now,
    )
    session.add(withdrawn)
    reopen(assignment, project, newest_guideline(session, project), now=now)
    session.flush()
    session.add(_event(user, project, "undone", withdrawn, now))
    return assignment


def edit(
    session: Session, user: User, project: Project, judgement_id: int, verdict: Verdict, *, now: float
) -> Judgement:
    """Replace one's judgement ``judgement_id`` by ``verdict``, as a new revision under the guideline of the old one,
    which is the version shown on the page that edits. Sent twice, it counts once.

    Raises:
        Stale: as :func:`undo`; also where the change would be from or to a skip, which is for :func:`undo`.
    """
    again = _sent_before(session, user, project, f"edit-{judgement_id}")
    if again is not None and _says(again, verdict):
        return again
    judgement, assignment = _own(session, user, project, judgement_id)
    if "skip" in (judgement.label, verdict.label):
        raise Stale("a skip cannot be edited; undo it instead")
    edited = _new(
        session,
        assignment,
        project,
        verdict,
        before=judgement,
        key=f"edit-{judgement.id}",
        dwell_ms=judgement.dwell_ms,
        now=now,
    )
    if assignment.state == "returned":
        assignment.state = "done"  # the next version of a text that was sent back
    session.add(_event(user, project, "edited", edited, now))
    return edited


def adjudicate(
    session: Session,
    reviewer: User,
    project: Project,
    item: Item,
    verdict: Verdict,
    *,
    seen: int | None,
    left: str | None = None,
    now: float,
) -> Judgement:
    """A reviewer's decision on ``item``, in place of the decision ``seen`` that was in force when they looked. Sent
    twice, it counts once.

    Args:
        left: the response that the reviewer saw on the left.

    Raises:
        Stale: somebody else decided in the meantime.
    """
    session.refresh(item, with_for_update=True)
    before = session.scalar(in_force(project, adjudication=True).where(Judgement.item_id == item.id))
    if before is not None and before.user_id == reviewer.id and before.supersedes == seen and _says(before, verdict):
        return before
    if (before.id if before else None) != seen:
        raise Stale("another reviewer has decided on this item; look at it again")
    judgement = Judgement(
        item_id=item.id,
        user_id=reviewer.id,
        assignment_id=None,
        revision=before.revision + 1 if before else 0,
        supersedes=seen,
        adjudication=True,
        left=left,
        key=f"adjudication-{item.id}-{before.revision + 1 if before else 0}",
        guideline_id=newest_guideline(session, project).id,
        created=now,
        **_fields(verdict),
    )
    session.add(judgement)
    session.flush()
    session.add(_event(reviewer, project, "adjudicated", judgement, now))
    return judgement


def last_of(session: Session, assignment: Assignment) -> Judgement | None:
    """The last judgement of the chain under ``assignment``, withdrawn or not."""
    return session.scalar(
        select(Judgement).where(Judgement.assignment_id == assignment.id).order_by(Judgement.revision.desc()).limit(1)
    )


def _own(session: Session, user: User, project: Project, judgement_id: int) -> tuple[Judgement, Assignment]:
    judgement = session.scalar(
        in_force(project).where(
            Judgement.id == judgement_id, Judgement.user_id == user.id, Judgement.assignment_id.is_not(None)
        )
    )
    assignment = session.get(Assignment, judgement.assignment_id, with_for_update=True) if judgement else None
    if judgement is None or assignment is None or last_of(session, assignment) is not judgement:
        raise Stale("this verdict was changed or undone before")
    if assignment.revealed:
        raise Stale("a model's score of this item was shown after your vote, so the vote is final")
    if assignment.training and judgement.label != "skip":
        raise Stale("the known answer was shown after your vote, so the vote is final")
    return judgement, assignment


def _new(
    session: Session,
    assignment: Assignment,
    project: Project,
    verdict: Verdict,
    *,
    before: Judgement | None,
    key: str,
    dwell_ms: int | None,
    now: float,
) -> Judgement:
    judgement = Judgement(
        item_id=assignment.item_id,
        user_id=assignment.user_id,
        assignment_id=assignment.id,
        revision=before.revision + 1 if before else 0,
        supersedes=before.id if before else None,
        adjudication=False,
        left=assignment.left if project.kind in PLACED else None,
        dwell_ms=None if dwell_ms is None else max(0, min(dwell_ms, LONGEST_DWELL_MS)),
        guideline_id=assignment.guideline_id,
        key=key,
        created=now,
        **_fields(verdict),
    )
    session.add(judgement)
    session.flush()
    return judgement


def _fields(verdict: Verdict) -> dict[str, object]:
    return {
        "label": verdict.label,
        "strength": verdict.strength,
        "harms": list(verdict.harms),
        "severity": verdict.severity,
        "rationale": verdict.rationale,
        "skip_reason": verdict.skip_reason,
        "payload": None if verdict.payload is None else dict(verdict.payload),
    }


def _event(user: User, project: Project, kind: str, judgement: Judgement, now: float) -> Event:
    return Event(
        at=now,
        actor=user.name,
        kind=kind,
        project=project.name,
        detail={"judgement": judgement.id, "item": judgement.item_id},
    )
