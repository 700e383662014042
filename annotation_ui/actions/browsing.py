"""The items of a project for reviewers and admins: found, filtered, sorted, page by page, with their history.

A page ends with a cursor, the sort key of its last item: the next page costs the same wherever it is, and items that
are added meanwhile neither repeat nor hide one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session, aliased, selectinload

from annotation_ui.actions.item_filter import (
    Agreement,
    ItemFilter,
    agreements_of,
    behind,
    chosen,
    cursor_of,
    key,
    ordered,
    position,
)
from annotation_ui.actions.model_view import SCORED, scorers_of
from annotation_ui.actions.review import review_order
from annotation_ui.exchange.votes import row_of
from annotation_ui.labelling.session import opening
from annotation_ui.store.accounts import Role, require
from annotation_ui.store.database import Database
from annotation_ui.store.forms import Kind
from annotation_ui.store.membership import find_visible
from annotation_ui.store.projects import ProjectError
from annotation_ui.store.tables import Assignment, Guideline, Item, Judgement, Project, User
from annotation_ui.store.verdicts import LABELS, across

REVIEWERS: tuple[Role, ...] = ("reviewer", "admin")
PAGE, LARGEST_PAGE = 50, 500
COUNTED = 1000  # the number of matches is exact up to here
LISTED = 200  # values of a filter that are offered


class UnknownItem(ProjectError):
    """The project has no such item."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An item of a list: ``labels`` are the annotators' verdicts in force, ``decision`` a reviewer's."""

    item: int
    id: str
    source: str
    split: str
    length: int
    gold: str | None
    opening: str
    labels: tuple[str, ...]
    decision: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """``next`` is the cursor of the page after it; ``None`` at the end. ``count`` stops at ``COUNTED`` and is ``None``
    unless it was asked for.
    """

    items: list[Found]
    next: str | None
    count: int | None = None


def find_items(
    database: Database,
    who: str | None,
    project_name: str | None,
    wanted: ItemFilter,
    *,
    cursor: str | None = None,
    limit: int = PAGE,
    counted: bool = False,
) -> Page:
    """One page of the items that ``wanted`` describes.

    Raises:
        Forbidden: ``who`` is no reviewer.
        ProjectError, SearchError: there is no such project, or the filter, the limit or the cursor makes no sense.
    """
    if not 1 <= limit <= LARGEST_PAGE:
        raise ProjectError(f"a page has 1 to {LARGEST_PAGE} items, not {limit}")
    with database.read() as session:
        project = find_visible(session, require(session, who, *REVIEWERS), project_name)
        _require_not_by_writer(project, wanted)
        matches = chosen(session, project, wanted)
        page = matches.where(behind(wanted.sort, position(wanted.sort, cursor))) if cursor else matches
        found = session.scalars(ordered(page, wanted).limit(limit + 1)).all()
        last = found[limit - 1] if len(found) > limit else None
        count = len(found) if counted and cursor is None else None
        if counted and (cursor is not None or last is not None):  # more than this page: count them
            capped = matches.with_only_columns(Item.id).limit(COUNTED + 1).subquery()
            count = session.scalar(select(func.count()).select_from(capped))
        return Page(
            items=_listed(session, found[:limit]),
            next=cursor_of(wanted.sort, last) if last is not None else None,
            count=count,
        )


def next_item(
    database: Database, who: str | None, project_name: str | None, wanted: ItemFilter, item_id: int
) -> int | None:
    """The item that follows ``item_id`` in the list that ``wanted`` describes; ``None`` at its end."""
    with database.read() as session:
        project = find_visible(session, require(session, who, *REVIEWERS), project_name)
        _require_not_by_writer(project, wanted)
        item = _item(session, project, item_id)
        further = chosen(session, project, wanted).where(behind(wanted.sort, key(wanted.sort, item)))
        return session.scalar(ordered(further, wanted).with_only_columns(Item.id).limit(1))


def _require_not_by_writer(project: Project, wanted: ItemFilter) -> None:
    """Refuse a filter that would tell who wrote a text: its items are those of one writer."""
    if project.kind == "rewrite" and wanted.annotator:
        raise ProjectError(
            "in a project of rewrites nobody is told who wrote a text, so items have no filter by annotator"
        )


def item_history(database: Database, who: str | None, project_name: str | None, item_id: int) -> dict[str, Any]:
    """One item with its texts, models, and every judgement on it in the order in which they were given.

    In a project of rewrites without the writers' names, as in :func:`history_in_sides`.

    Raises:
        UnknownItem: the project has no such item.
    """
    with database.read() as session:
        project = find_visible(session, require(session, who, *REVIEWERS), project_name)
        item = _item(session, project, item_id)
        [listed] = _listed(session, [item])
        return {
            **_plain(listed),
            "prompt": item.prompt,
            "responses": [{"slot": r.slot, "messages": r.messages, "model": r.model} for r in item.responses],
            "history": _past(session, project, item),
        }


_ABOUT_THE_ITEM = ("item", "id", "source", "split", "prompt", "gold")


def history_of(session: Session, item: Item) -> list[dict[str, Any]]:
    """Every judgement on an item as in the export of votes, without the item's own columns."""
    later = aliased(Judgement)
    rows = session.execute(
        select(Judgement, Assignment, later.id.is_not(None))
        .outerjoin(Assignment, Assignment.id == Judgement.assignment_id)
        .outerjoin(later, later.supersedes == Judgement.id)
        .where(Judgement.item_id == item.id)
        .options(selectinload(Judgement.user), selectinload(Judgement.guideline))
        .order_by(Judgement.id)
    )
    found = []
    for judgement, under, superseded in rows:
        row = row_of(judgement, under, judgement.user.name, not superseded and judgement.label != "withdrawn")
        kept = {name: value for name, value in row.items() if name not in _ABOUT_THE_ITEM}
        found.append({name: value for name, value in kept.items() if not name.startswith("response")})
    return found


def history_in_sides(
    database: Database, who: str | None, project_name: str | None, item_id: int
) -> list[dict[str, Any]]:
    """Every judgement on an item, with ``side`` that of the reviewer's screen.

    In a project of rewrites without the writers' names: the second person is not told who wrote a text.
    """
    with database.read() as session:
        reviewer = require(session, who, *REVIEWERS)
        project = find_visible(session, reviewer, project_name)
        item = _item(session, project, item_id)
        left = review_order(reviewer, item)
        past = _past(session, project, item)
    for row in past:
        row["side"] = across(row["choice"], left)
        row["decision"] = row["decision_of_a_reviewer"]
    return past


def _past(session: Session, project: Project, item: Item) -> list[dict[str, Any]]:
    """The history as reviewers may see it: where they accept texts, without the writers' names."""
    past = history_of(session, item)
    for row in past:
        if project.kind == "rewrite" and not row["decision_of_a_reviewer"]:
            row["annotator"] = "writer"
    return past


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """The values that the filters can be set to; ``cut`` are the filters with more than are listed."""

    labels: list[str]
    agreements: tuple[Agreement, ...]
    annotators: list[str]
    sources: list[str]
    guidelines: list[int]
    models: list[str]
    cut: frozenset[str]


def choices(database: Database, who: str | None, project_name: str | None) -> Choices:
    """The values that occur, at most :data:`LISTED` of each; no annotators in a project of rewrites."""
    with database.read() as session:
        project = find_visible(session, require(session, who, *REVIEWERS), project_name)
        of_project = (Item.project_id == project.id,)
        people = select(User.name).where(
            exists().where(Judgement.user_id == User.id, Judgement.item_id == Item.id, *of_project)
        )
        named = project.kind != "rewrite"
        one_more = LISTED + 1  # says that there are others
        found = {
            "annotator": list(session.scalars(people.order_by(User.name).limit(one_more))) if named else [],
            "source": _sources(session, project, one_more),
            "model": scorers_of(session, project, one_more) if project.kind in SCORED else [],
        }
        versions = select(Guideline.version).where(Guideline.project_id == project.id).order_by(Guideline.version)
        return Choices(
            labels=list(LABELS[cast(Kind, project.kind)]),
            agreements=agreements_of(project.kind),
            annotators=found["annotator"][:LISTED],
            sources=found["source"][:LISTED],
            guidelines=list(session.scalars(versions)),
            models=found["model"][:LISTED],
            cut=frozenset(name for name, values in found.items() if len(values) > LISTED),
        )


def _sources(session: Session, project: Project, most: int) -> list[str]:
    """The first ``most`` sources in order, each found by a step in the index rather than by reading all items."""
    found: list[str] = []
    last: str | None = None
    while len(found) < most:
        step = select(func.min(Item.source)).where(Item.project_id == project.id)
        last = session.scalar(step if last is None else step.where(Item.source > last))
        if last is None:
            break
        found.append(last)
    return found


def _item(session: Session, project: Project, item_id: int) -> Item:
    item = session.get(Item, item_id)
    if item is None or item.project_id != project.id:
        raise UnknownItem(f"there is no item {item_id} in {project.name!r}")
    return item


def _listed(session: Session, items: Sequence[Item]) -> list[Found]:
    later = aliased(Judgement)
    labels: dict[int, list[str]] = defaultdict(list)
    decisions: dict[int, str] = {}
    said = session.execute(
        select(Judgement.item_id, Judgement.label, Judgement.adjudication)
        .where(Judgement.item_id.in_([item.id for item in items]), Judgement.label != "withdrawn")
        .where(~exists().where(later.supersedes == Judgement.id))
        .order_by(Judgement.id)
    )
    for item_id, label, adjudication in said:
        if adjudication:
            decisions[item_id] = label
        else:
            labels[item_id].append(label)
    return [
        Found(
            item=item.id,
            id=item.source_id or str(item.id),
            source=item.source,
            split=item.split,
            length=item.length,
            gold=item.gold,
            opening=opening(item.prompt),
            labels=tuple(labels[item.id]),
            decision=decisions.get(item.id),
        )
        for item in items
    ]


def _plain(found: Found) -> dict[str, Any]:
    return {name: getattr(found, name) for name in Found.__slots__}
