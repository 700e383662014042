"""Rewrites: drafts while they are written, and the second person who accepts a text or sends it back.

A decision is a judgement of its own, ``accepted`` or ``returned``, that names the judgement with the text in its
payload. A text that was sent back stays in the record; its item waits for its writer, whose next text takes its place.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from annotation_ui.labelling.assignment import newest_guideline
from annotation_ui.labelling.judgements import LeaseLost, Stale, in_force, last_of, leased_under
from annotation_ui.store.tables import Assignment, Event, Judgement, Project, User
from annotation_ui.store.verdicts import RATIONALE_LIMIT, TEXT_LIMIT, VerdictError, storable

DECISIONS = ("accepted", "returned")


def keep_draft(session: Session, user: User, project: Project, token: str, text: object, *, now: float) -> None:
    """Keep what a writer has so far, and hold the item for as long again: writing takes longer than reading.

    Raises:
        LeaseLost: the lease is not open any more.
        VerdictError: it is no text, or too long.
    """
    if not isinstance(text, str) or len(text) > TEXT_LIMIT:
        raise VerdictError(f"a draft is a text of at most {TEXT_LIMIT:,} characters")
    assignment = leased_under(session, user, token)
    if assignment is None or assignment.state != "leased" or assignment.item.project_id != project.id:
        raise LeaseLost("this item went back to the queue; the draft is kept in this tab alone")
    assignment.draft = {"text": storable(text)}
    assignment.expires = max(assignment.expires, now + project.lease_seconds)


def waiting(session: Session, project: Project, reviewer: User) -> list[Judgement]:
    """The texts in force without a decision, oldest first, less the reviewer's own."""
    decided = decisions(session, project)
    texts = session.scalars(in_force(project).where(Judgement.label == "written", Judgement.user_id != reviewer.id))
    return [text for text in texts if text.id not in decided]


def decisions(session: Session, project: Project) -> dict[int, str]:
    """Text → the decision in force on it."""
    found = ((_subject(each), each.label) for each in session.scalars(in_force(project, adjudication=True)))
    return {text: label for text, label in found if text is not None}


def text_of(session: Session, project: Project, judgement_id: int) -> Judgement:
    """A text in force.

    Raises:
        Stale: there is none by that number, or it was changed or taken back.
    """
    found = session.scalar(in_force(project).where(Judgement.id == judgement_id, Judgement.label == "written"))
    if found is None:
        raise Stale("this text was changed or taken back by its writer; look at the list again")
    return found


def decision_on(session: Session, project: Project, text: Judgement) -> Judgement | None:
    """The decision in force on a text."""
    on_item = session.scalars(in_force(project, adjudication=True).where(Judgement.item_id == text.item_id))
    return next((decision for decision in on_item if _subject(decision) == text.id), None)


def decide(
    session: Session,
    reviewer: User,
    project: Project,
    judgement_id: int,
    label: object,
    note: str,
    *,
    seen: int | None,
    now: float,
) -> Judgement:
    """Accept a text, or send it back to its writer with a note; in place of the decision ``seen``. Sent twice, it
    counts once.

    Raises:
        VerdictError: it is no decision, or a text is sent back without a note.
        Stale: the text was changed, another reviewer decided, or it is the reviewer's own.
    """
    if label not in DECISIONS:
        raise VerdictError(f"{str(label)[:40]!r} is no decision on a text")
    if label == "returned" and not note:
        raise VerdictError("write a note for the writer: what is to be changed?")
    if len(note) > RATIONALE_LIMIT:
        raise VerdictError(f"the note has {len(note)} characters, {RATIONALE_LIMIT} allowed")
    text, assignment = _locked(session, reviewer, project, judgement_id)
    before = decision_on(session, project, text)
    said = (reviewer.id, seen, label, note)
    if before is not None and (before.user_id, before.supersedes, before.label, before.rationale) == said:
        return before  # the same request came twice
    if (before.id if before else None) != seen:
        raise Stale("another reviewer has decided on this text; look at it again")
    if assignment.state not in ("done", "returned"):
        raise Stale("the writer is at this text again; wait for the next version")
    assignment.state = "returned" if label == "returned" else "done"
    revision = before.revision + 1 if before else 0
    decision = Judgement(
        item_id=text.item_id,
        user_id=reviewer.id,
        assignment_id=None,
        revision=revision,
        supersedes=seen,
        adjudication=True,
        label=str(label),
        harms=[],
        rationale=note,
        skip_reason="",
        payload={"decides": text.id},
        key=f"decision-{text.id}-{revision}",
        guideline_id=newest_guideline(session, project).id,
        created=now,
    )
    session.add(decision)
    session.flush()
    detail = {"judgement": decision.id, "item": text.item_id}
    session.add(Event(at=now, actor=reviewer.name, kind=f"text {label}", project=project.name, detail=detail))
    return decision


def _locked(session: Session, reviewer: User, project: Project, judgement_id: int) -> tuple[Judgement, Assignment]:
    """A text of another person and its assignment, both as they stay until the transaction ends."""
    found = text_of(session, project, judgement_id)
    if found.user_id == reviewer.id:
        raise Stale("this text is your own; another person must read it")
    # Locks in the order assignment, item; then the text is looked up again: its writer may have changed it meanwhile.
    assignment = session.get_one(Assignment, found.assignment_id, with_for_update=True)
    session.refresh(found.item, with_for_update=True)
    return text_of(session, project, judgement_id), assignment


def note_on(session: Session, assignment: Assignment) -> str | None:
    """The note with which the text under an assignment was sent back; ``None`` if it was not, or has changed since."""
    later = aliased(Judgement)
    decisions = session.scalars(
        select(Judgement)
        .where(Judgement.item_id == assignment.item_id, Judgement.label.in_(DECISIONS))
        .where(~select(later.id).where(later.supersedes == Judgement.id).exists())
        .order_by(Judgement.id.desc())
    ).all()
    last = last_of(session, assignment)
    about = next((each for each in decisions if last is not None and _subject(each) == last.id), None)
    return about.rationale if about is not None and about.label == "returned" else None


def last_text(session: Session, assignment: Assignment) -> dict[str, Any] | None:
    """The text that was sent in last under an assignment, as a form shows it."""
    last = last_of(session, assignment)
    if last is None or last.label != "written":
        return None
    return {"label": "written", "rationale": last.rationale, **(last.payload or {})}


def require_not_accepted(session: Session, project: Project, judgement_id: int) -> None:
    """Raise :class:`Stale` if a second person has accepted the text of a judgement; nobody accepts it from now on.

    The lock on the assignment, which :func:`decide` takes too, lasts until the transaction ends.
    """
    text = session.get(Judgement, judgement_id) if project.kind == "rewrite" else None
    if text is not None and text.assignment_id is not None:
        session.get(Assignment, text.assignment_id, with_for_update=True)
    if text is not None and is_accepted(session, project, text):
        raise Stale("a second person has accepted this text, so it is final")


def is_accepted(session: Session, project: Project, text: Judgement) -> bool:
    decision = decision_on(session, project, text)
    return decision is not None and decision.label == "accepted"


def _subject(decision: Judgement) -> int | None:
    return (decision.payload or {}).get("decides")
