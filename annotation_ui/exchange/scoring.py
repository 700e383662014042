"""Reward models' scores of items: kept beside the votes, and used to ask people where a model is least sure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import pstdev
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from annotation_ui.store.projects import ProjectError
from annotation_ui.store.tables import Event, Item, Project, Score

JUDGE = "judge "  # how the names begin under which judge models' verdicts are kept


def items_to_score(session: Session, project: Project) -> Iterator[dict[str, Any]]:
    """Every item as a row that ``keel score`` reads: ``id, prompt, response_a, response_b``, or ``response`` alone.

    Raises:
        ProjectError: the items of a project of this kind are not scored.
    """
    if project.kind not in ("preference", "safety"):
        raise ProjectError(f"models score the items of preference and safety projects, not of {project.kind} projects")
    keys = {"a": "response_a", "b": "response_b"} if project.kind == "preference" else {"a": "response"}
    for item in session.scalars(select(Item).where(Item.project_id == project.id).order_by(Item.id)):
        yield {"id": item.id, "prompt": item.prompt} | {keys[r.slot]: r.messages for r in item.responses}


def add_scores(
    session: Session,
    project: Project,
    scorer: str,
    items: Sequence[Mapping[str, Any]],
    scores: Sequence[Mapping[str, Any]],
    *,
    author: str,
    now: float,
) -> int:
    """Keep what ``scorer`` gave for ``items``, line for line, in place of what it gave before; then set the order anew.

    Args:
        items: rows of :func:`items_to_score`.
        scores: for each of them ``{"response_a": {"raw": …}, "response_b": {"raw": …}}`` or ``{"response": …}``.

    Raises:
        ProjectError: the two do not belong together, or not to this project.
    """
    if not scorer or len(scorer) > 100 or not scorer.isprintable() or scorer.startswith(JUDGE):
        raise ProjectError(
            f"{scorer[:40]!r} is no name for a scorer: 1 to 100 printable characters that do not begin with {JUDGE!r}"
        )
    if project.kind not in ("preference", "safety"):
        raise ProjectError(f"models score the items of preference and safety projects, not of {project.kind} projects")
    if len(items) != len(scores):
        raise ProjectError(f"{len(items)} items and {len(scores)} scores: they are not of one call of `keel score`")
    known = {item.id: item for item in session.scalars(select(Item).where(Item.project_id == project.id))}
    made = []
    for line, (row, found) in enumerate(zip(items, scores, strict=True), start=1):
        if row.get("id") not in known:
            raise ProjectError(f"line {line}: {project.name!r} has no item {row.get('id')!r}")
        keys = ("response_a", "response_b") if project.kind == "preference" else ("response",)
        try:
            values = [float(found[key]["raw"]) for key in keys]
        except (KeyError, TypeError, ValueError):
            raise ProjectError(f"line {line}: no number at {' and '.join(f'{key}.raw' for key in keys)}") from None
        if not all(map(math.isfinite, values)):
            raise ProjectError(f"line {line}: a score that is not finite")
        second = values[1] if len(values) == 2 else None
        made.append(Score(item_id=row["id"], scorer=scorer, score_a=values[0], score_b=second, created=now))
    session.execute(delete(Score).where(Score.scorer == scorer, Score.item_id.in_(list(known))))
    session.add_all(made)
    session.flush()
    order_by_uncertainty(session, project, list(known.values()))
    detail = {"scorer": scorer, "items": len(made)}
    session.add(Event(at=now, actor=author, kind="scored", project=project.name, detail=detail))
    return len(made)


def order_by_uncertainty(session: Session, project: Project, items: Sequence[Item]) -> None:
    """Put first what the reward models are least sure of.

    With one model that is the smallest distance of its margin (or score) from 0; with several, what they disagree about
    most: the largest standard deviation of their margins, each in units of its own spread. Judges have no say. Items of
    the evaluation slice keep their places, so that what is judged of them stays a random sample; items that not every
    model scored come after the others.
    """
    margins: dict[str, dict[int, float]] = {}
    scored = select(Score).join(Item, Item.id == Score.item_id).where(Item.project_id == project.id)
    for score in session.scalars(scored.where(~Score.scorer.startswith(JUDGE))):
        margins.setdefault(score.scorer, {})[score.item_id] = score.score_a - (score.score_b or 0.0)
    certainty = _certainty(list(margins.values()))
    movable = sorted((item for item in items if item.split == "train"), key=lambda item: item.rank)
    places = [item.rank for item in movable]
    ordered = sorted(movable, key=lambda item: certainty.get(item.id, math.inf))
    for place, item in zip(places, ordered, strict=True):
        item.rank = place


def _certainty(margins: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """The models' certainty about each item that all of them scored; smaller is less sure."""
    if len(margins) == 1:
        return {item: abs(margin) for item, margin in margins[0].items()}
    scales = [pstdev(of_one.values()) or 1.0 for of_one in margins]
    shared = set.intersection(*(set(of_one) for of_one in margins)) if margins else set()
    return {
        item: -pstdev(of_one[item] / scale for of_one, scale in zip(margins, scales, strict=True)) for item in shared
    }
