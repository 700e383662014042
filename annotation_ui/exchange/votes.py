"""Export of every single judgement: votes, skips, edits, undone verdicts and reviewers' decisions."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterator
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from annotation_ui.store.tables import Assignment, Item, Judgement, Project, SnapshotJudgement
from annotation_ui.store.verdicts import across


def votes_of(
    session: Session, project: Project, *, snapshot_id: int | None = None, pseudonyms: bool = False
) -> Iterator[dict[str, Any]]:
    """One row for every judgement of a project, in the order in which they were given.

    ``choice`` is the stored label: for a preference ``a`` or ``b`` is the response in that field, and ``shown_left``
    says which of them was on the left (null for imported votes). ``in_force`` is false for a judgement that was edited,
    undone or decided anew later: the row that takes its place has its ``judgement`` number in ``supersedes``.

    Args:
        snapshot_id: only the judgements in that snapshot.
        pseudonyms: ``annotator-1a2b…`` in the place of names. The same person has the same pseudonym throughout one
            export, and another one in the next.
    """
    key = secrets.token_bytes(16)
    wanted = select(Judgement).join(Item, Item.id == Judgement.item_id).where(Item.project_id == project.id)
    if snapshot_id is not None:
        members = select(SnapshotJudgement.judgement_id).where(SnapshotJudgement.snapshot_id == snapshot_id)
        wanted = wanted.where(Judgement.id.in_(members))
    superseded = set(session.scalars(select(Judgement.supersedes).where(Judgement.supersedes.is_not(None))))
    related = (Judgement.user, Judgement.item, Judgement.guideline)
    for judgement in session.scalars(wanted.options(*map(selectinload, related)).order_by(Judgement.id)):
        under = session.get(Assignment, judgement.assignment_id) if judgement.assignment_id else None
        name = judgement.user.name
        in_force = judgement.id not in superseded and judgement.label != "withdrawn"
        yield _row(judgement, under, _pseudonym(name, key) if pseudonyms else name, in_force)


def _row(judgement: Judgement, under: Assignment | None, annotator: str, in_force: bool) -> dict[str, Any]:
    item = judgement.item
    responses = {f"response_{response.slot}": response.messages for response in item.responses}
    return {
        "judgement": judgement.id,
        "item": item.id,
        "id": item.source_id or str(item.id),
        "source": item.source,
        "split": item.split,
        "prompt": item.prompt,
        **(responses if len(responses) != 1 else {"response": responses["response_a"]}),
        "annotator": annotator,
        "choice": judgement.label,
        "side": across(judgement.label, judgement.left) if judgement.left else None,
        "shown_left": judgement.left,
        "strength": judgement.strength,
        "harms": judgement.harms,
        "severity": judgement.severity,
        "rationale": judgement.rationale,
        "skip_reason": judgement.skip_reason,
        **(judgement.payload or {}),
        "milliseconds": judgement.dwell_ms,
        "given_at": judgement.created,
        "guideline_version": judgement.guideline.version if judgement.guideline else None,
        "gold": item.gold,
        "repeat": under is not None and under.round > 0,
        "scores_shown": under is not None and under.revealed,
        "decision_of_a_reviewer": judgement.adjudication,
        "revision": judgement.revision,
        "supersedes": judgement.supersedes,
        "in_force": in_force,
    }


def _pseudonym(name: str, key: bytes) -> str:
    return f"annotator-{hmac.new(key, name.encode(), hashlib.sha256).hexdigest()[:12]}"
