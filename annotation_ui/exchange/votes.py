"""Export of every single judgement: votes, skips, edits, undone verdicts and reviewers' decisions."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session, aliased, selectinload

from annotation_ui.store.tables import Assignment, Item, Judgement, Project, SnapshotJudgement
from annotation_ui.store.verdicts import across

CHUNK = 500  # judgements read at a time
# Columns of a judgement that have another name in the export, and those that mean nothing outside the database. Every
# other column comes out under its own name, one that holds a mapping as a column for each of its keys.
NAMES = {
    "id": "judgement",
    "label": "choice",
    "left": "shown_left",
    "dwell_ms": "milliseconds",
    "created": "given_at",
    "adjudication": "decision_of_a_reviewer",
}
INTERNAL = frozenset({"item_id", "user_id", "assignment_id", "guideline_id", "key"})


def votes_of(
    session: Session, project: Project, *, snapshot_id: int | None = None, pseudonyms: bytes | None = None
) -> Iterator[dict[str, Any]]:
    """One row for every judgement of a project, in the order in which they were given.

    ``choice`` is the stored label: for a preference ``a`` or ``b`` is the response in that field, and ``shown_left``
    says which of them was on the left (null for imported votes). ``in_force`` is false for a judgement that was edited,
    undone or decided anew later: the row that takes its place has its ``judgement`` number in ``supersedes``.

    Judgements are read :data:`CHUNK` at a time, so the memory needed does not grow with their number, and those given
    after the beginning are left out.

    Args:
        snapshot_id: only the judgements in that snapshot.
        pseudonyms: ``annotator-1a2b…`` in the place of names, made with this key
            (:func:`annotation_ui.store.privacy.pseudonym_key`): the same person has the same one in every export.
    """
    last, newest = 0, newest_judgement(session)
    while rows := votes_after(session, project.id, last, newest, snapshot_id=snapshot_id, pseudonyms=pseudonyms):
        yield from rows
        last = rows[-1]["judgement"]


def newest_judgement(session: Session) -> int:
    """The number of the last judgement of all; 0 without any."""
    return session.scalar(select(func.max(Judgement.id))) or 0


def votes_after(
    session: Session,
    project: int,
    last: int,
    newest: int,
    *,
    snapshot_id: int | None = None,
    pseudonyms: bytes | None = None,
) -> list[dict[str, Any]]:
    """The next rows of :func:`votes_of`, at most :data:`CHUNK`, of the judgements after ``last`` up to ``newest``."""
    later = aliased(Judgement)
    wanted = (
        select(Judgement, Assignment, later.id.is_not(None))
        .join(Item, Item.id == Judgement.item_id)
        .outerjoin(Assignment, Assignment.id == Judgement.assignment_id)
        .outerjoin(later, and_(later.supersedes == Judgement.id, later.id <= newest))
        .where(Item.project_id == project, Judgement.id > last, Judgement.id <= newest)
        .options(*map(selectinload, (Judgement.user, Judgement.item, Judgement.guideline)))
        .order_by(Judgement.id)
        .limit(CHUNK)
    )
    if snapshot_id is not None:
        members = select(SnapshotJudgement.judgement_id).where(SnapshotJudgement.snapshot_id == snapshot_id)
        wanted = wanted.where(Judgement.id.in_(members))
    rows = []
    for judgement, under, superseded in session.execute(wanted):
        name = pseudonym(judgement.user_id, pseudonyms) if pseudonyms else judgement.user.name
        rows.append(row_of(judgement, under, name, not superseded and judgement.label != "withdrawn"))
    return rows


def row_of(judgement: Judgement, under: Assignment | None, annotator: str, in_force: bool) -> dict[str, Any]:
    """The row of one judgement, given ``under`` an assignment."""
    item = judgement.item
    responses = {f"response_{response.slot}": response.messages for response in item.responses}
    row = {
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
    }
    for name in columns():
        value = getattr(judgement, name)
        if isinstance(value, Mapping):
            row |= {key: part for key, part in value.items() if key not in row}
        elif not (value is None and name in mappings()):
            row[NAMES.get(name, name)] = value
    return row | {
        "guideline_version": judgement.guideline.version if judgement.guideline else None,
        "gold": item.gold,
        "known_answer": item.answer,
        "repeat": under is not None and under.round > 0,
        "scores_shown": under is not None and under.revealed,
        "training": under is not None and under.training,
        "in_force": in_force,
    }


def columns() -> list[str]:
    """The columns of a judgement that are exported, whichever there are."""
    return [attribute.key for attribute in Judgement.__mapper__.column_attrs if attribute.key not in INTERNAL]


def mappings() -> frozenset[str]:
    """Those of them that hold a mapping."""
    return frozenset(
        name for name in columns() if "dict[" in str(Judgement.__annotations__.get(name, "")).split("list[")[0]
    )


def pseudonym(user: int, key: bytes) -> str:
    """The name that stands for an account in exports with this key; it cannot be computed without the key."""
    return f"annotator-{hmac.new(key, f'user {user}'.encode(), hashlib.sha256).hexdigest()[:12]}"
