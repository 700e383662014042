"""A model's score of an item beside the majority of its annotators, as a condition of an SQL statement."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import ColumnElement, and_, case, exists, func, select
from sqlalchemy.orm import Session, aliased

from annotation_ui.store.projects import ProjectError
from annotation_ui.store.tables import Assignment, Item, Judgement, Project, Score

ModelView = Literal["against", "with"]
SCORED = ("preference", "safety")  # the kinds of projects whose items models score


def model_view(project: Project, scorer: str, view: ModelView | Literal[""]) -> ColumnElement[bool]:
    """That ``scorer``, or any model without one, scored the item; with ``view`` for or against the majority.

    A model is for the response with the higher score, and for ``safe`` where a single one scores above 0. The majority
    is that of the annotators' votes in force, one for each person: reviewers' decisions, skips, ties and repeats do not
    count, and as many votes for either side are no majority.

    Raises:
        ProjectError: models do not score the items of such a project.
    """
    if project.kind not in SCORED:
        raise ProjectError(f"models score the items of {' and '.join(SCORED)} projects, not of {project.kind} projects")
    conditions = [Score.item_id == Item.id]
    if scorer:
        conditions.append(Score.scorer == scorer)
    if not view:
        return exists().where(*conditions)
    agreed = _margin() * _lead()
    conditions.append(agreed < 0 if view == "against" else agreed > 0)
    judged = aliased(Judgement)  # a condition of its own, so that votes are counted only for items that have any
    # A count for each item: for EXISTS the database may read the scores of all items first, to show one page of them.
    scores = select(func.count()).select_from(Score).where(*conditions).correlate(Item).scalar_subquery()
    return and_(exists().where(judged.item_id == Item.id), scores > 0)


def _margin() -> ColumnElement[float]:
    return Score.score_a - func.coalesce(Score.score_b, 0.0)


def _lead() -> ColumnElement[int]:
    """Votes for the first response, or for safe, less those for the other."""
    vote, later = aliased(Judgement), aliased(Judgement)
    value = case((vote.label.in_(("a", "safe")), 1), (vote.label.in_(("b", "unsafe")), -1), else_=0)
    return (
        select(func.coalesce(func.sum(value), 0))
        .outerjoin(Assignment, Assignment.id == vote.assignment_id)
        .where(vote.item_id == Item.id, vote.adjudication.is_(False), func.coalesce(Assignment.round, 0) == 0)
        .where(~exists().where(later.supersedes == vote.id))
        .correlate(Item)
        .scalar_subquery()
    )


def scorers_of(session: Session, project: Project, most: int) -> list[str]:
    """The first ``most`` models that scored items of a project, by name: a step in an index for each model."""
    found: list[str] = []
    last = ""
    while len(found) < most:
        name = session.scalar(select(func.min(Score.scorer)).where(Score.scorer > last))
        if name is None:
            break
        last = name
        one = select(Score.id).join(Item, Item.id == Score.item_id)
        if session.scalar(one.where(Score.scorer == name, Item.project_id == project.id).limit(1)) is not None:
            found.append(name)
    return found
