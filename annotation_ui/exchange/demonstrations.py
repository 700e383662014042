"""Accepted rewrites as demonstrations for fine-tuning: who wrote the text, who accepted it, when, and from what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation_ui.store.tables import Item, Judgement, Snapshot, SnapshotJudgement

Row = dict[str, Any]


def demonstrations(session: Session, found: Snapshot) -> list[tuple[Item, str, Row | None]]:
    """``(item, outcome, row)`` of every text in a snapshot, and of every item that was only skipped.

    A row holds ``prompt, response``, the ``original`` response and its model where there was one, and the pseudonyms of
    the writer and of the person who accepted: ``person-7``, the same in all exports of a database.
    """
    members = session.scalars(
        select(Judgement)
        .join(SnapshotJudgement, SnapshotJudgement.judgement_id == Judgement.id)
        .where(SnapshotJudgement.snapshot_id == found.id)
        .order_by(Judgement.item_id, Judgement.id)
    ).all()
    texts = [judgement for judgement in members if judgement.label == "written"]
    decided = {(each.payload or {}).get("decides"): each for each in members if each.adjudication}
    outcomes = [_outcome(text, decided.get(text.id)) for text in texts]
    return [*outcomes, *_skipped(members, {text.item_id for text in texts})]


def _outcome(text: Judgement, decision: Judgement | None) -> tuple[Item, str, Row | None]:
    if decision is None:
        return text.item, "not read by a second person yet", None
    if decision.label == "returned":
        return text.item, "sent back to the writer", None
    return text.item, "exported", _row(text, decision)


def _skipped(members: Sequence[Judgement], written: set[int]) -> list[tuple[Item, str, Row | None]]:
    items = {each.item_id: each.item for each in members if each.label == "skip" and each.item_id not in written}
    return [(item, "skipped by all", None) for item in items.values()]


def _row(text: Judgement, decision: Judgement) -> Row:
    item = text.item
    row: Row = {
        "id": item.source_id or str(item.id),
        "source": item.source,
        "prompt": item.prompt,
        "response": [{"role": "assistant", "content": (text.payload or {})["text"]}],
    }
    for original in item.responses:
        row |= {"original": original.messages, "original_model": original.model}
    return row | {
        "writer": f"person-{text.user_id}",
        "accepted_by": f"person-{decision.user_id}",
        "written_at": text.created,
        "accepted_at": decision.created,
        "guideline_version": text.guideline.version if text.guideline else None,
    }
