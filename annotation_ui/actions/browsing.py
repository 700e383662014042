"""The items of a project for reviewers and admins: found, filtered, sorted, page by page, with their history.

A page ends with a cursor, the sort key of its last item: the next page costs the same wherever it is, and items that
are added meanwhile neither repeat nor hide one.
"""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Select, and_, exists, func, not_, select, tuple_
from sqlalchemy.orm import Session, aliased, selectinload

from annotation_ui.exchange.votes import row_of
from annotation_ui.labelling.session import opening
from annotation_ui.store.accounts import Role, require
from annotation_ui.store.database import Database
from annotation_ui.store.membership import find_visible
from annotation_ui.store.projects import ProjectError
from annotation_ui.store.search import matching
from annotation_ui.store.tables import Assignment, Guideline, Item, Judgement, Project, User

REVIEWERS: tuple[Role, ...] = ("reviewer", "admin")
Agreement = Literal["agree", "disagree", "one vote", "no vote"]
Sort = Literal["oldest", "newest", "shortest", "longest"]
AGREEMENTS: tuple[Agreement, ...] = get_args(Agreement)
SORTS: tuple[Sort, ...] = get_args(Sort)
PAGE, LARGEST_PAGE = 50, 500
COUNTED = 1000  # the number of matches is exact up to here


class UnknownItem(ProjectError):
    """The project has no such item."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFilter:
    """The items that are asked for; every condition that is given has to hold.

    Args:
        q: words that all occur in the texts; one that ends in ``*`` stands for its beginnings.
        label, annotator, guideline: an annotator's verdict in force has this label, is of this account, was given under
            this version. Together they are of one verdict.
        agreement: of the labels in force, skips left out.
        decided: whether a reviewer decided.
        source: where the item came from, in full.
        shortest, longest: characters of all its texts.
    """

    q: str = ""
    label: str = ""
    annotator: str = ""
    guideline: int | None = None
    agreement: Agreement | Literal[""] = ""
    decided: bool | None = None
    source: str = ""
    shortest: int | None = None
    longest: int | None = None
    sort: Sort = "oldest"


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
        chosen = _chosen(session, project, wanted)
        page = chosen.where(_behind(wanted.sort, _position(wanted.sort, cursor))) if cursor else chosen
        found = session.scalars(_ordered(page, wanted.sort).limit(limit + 1)).all()
        count = None
        if counted:
            capped = chosen.with_only_columns(Item.id).limit(COUNTED + 1).subquery()
            count = session.scalar(select(func.count()).select_from(capped))
        last = found[limit - 1] if len(found) > limit else None
        return Page(
            items=_listed(session, found[:limit]),
            next=_cursor(wanted.sort, last) if last is not None else None,
            count=count,
        )


def next_item(
    database: Database, who: str | None, project_name: str | None, wanted: ItemFilter, item_id: int
) -> int | None:
    """The item that follows ``item_id`` in the list that ``wanted`` describes; ``None`` at its end."""
    with database.read() as session:
        project = find_visible(session, require(session, who, *REVIEWERS), project_name)
        item = _item(session, project, item_id)
        behind = _behind(wanted.sort, _key(wanted.sort, item))
        return session.scalar(
            _ordered(_chosen(session, project, wanted).where(behind), wanted.sort).with_only_columns(Item.id).limit(1)
        )


def item_history(database: Database, who: str | None, project_name: str | None, item_id: int) -> dict[str, Any]:
    """One item with its texts, models, and every judgement on it in the order in which they were given.

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
            "history": history_of(session, item),
        }


_ABOUT_THE_ITEM = ("item", "id", "source", "split", "prompt", "gold")


def history_of(session: Session, item: Item) -> list[dict[str, Any]]:
    """Every judgement on an item as in the export of votes, without the item's own columns."""
    later = aliased(Judgement)
    rows = session.execute(
        select(Judgement, Assignment, later.id)
        .outerjoin(Assignment, Assignment.id == Judgement.assignment_id)
        .outerjoin(later, later.supersedes == Judgement.id)
        .where(Judgement.item_id == item.id)
        .options(selectinload(Judgement.user), selectinload(Judgement.guideline))
        .order_by(Judgement.id)
    )
    found = []
    for judgement, under, superseded in rows:
        row = row_of(judgement, under, judgement.user.name, superseded is None and judgement.label != "withdrawn")
        kept = {name: value for name, value in row.items() if name not in _ABOUT_THE_ITEM}
        found.append({name: value for name, value in kept.items() if not name.startswith("response")})
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the filters can be set to: the labels, annotators, sources and guideline versions of a project."""

    labels: list[str]
    annotators: list[str]
    sources: list[str]
    guidelines: list[int]


def choices(database: Database, who: str | None, project_name: str | None) -> Choices:
    """The values that occur, at most 200 of each."""
    with database.read() as session:
        project = find_visible(session, require(session, who, *REVIEWERS), project_name)
        of_project = (Item.project_id == project.id,)
        given = select(Judgement.label).join(Item, Item.id == Judgement.item_id).where(*of_project).distinct()
        people = select(User.name).where(
            exists().where(Judgement.user_id == User.id, Judgement.item_id == Item.id, *of_project)
        )
        versions = select(Guideline.version).where(Guideline.project_id == project.id).order_by(Guideline.version)
        return Choices(
            labels=sorted(label for label in session.scalars(given) if label != "withdrawn"),
            annotators=list(session.scalars(people.order_by(User.name).limit(200))),
            sources=_sources(session, project),
            guidelines=list(session.scalars(versions)),
        )


def _sources(session: Session, project: Project, most: int = 200) -> list[str]:
    """The sources in order, each found by a step in the index rather than by reading all items."""
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


def _chosen(session: Session, project: Project, wanted: ItemFilter) -> Select[Item]:
    if wanted.sort not in SORTS or wanted.agreement not in ("", *AGREEMENTS):
        raise ProjectError(
            f"sort is one of {', '.join(SORTS)}; agreement one of {', '.join(AGREEMENTS)}; "
            f"not {wanted.sort!r} and {wanted.agreement!r}"
        )
    conditions: list[ColumnElement[bool]] = [Item.project_id == project.id]
    if wanted.q.strip():
        conditions.append(matching(session, wanted.q))
    if wanted.label or wanted.annotator or wanted.guideline is not None:
        conditions.append(_given(lambda vote: [*_of(session, project, wanted, vote), vote.adjudication.is_(False)]))
    if wanted.agreement:
        conditions.append(_agreement(wanted.agreement))
    if wanted.decided is not None:
        decided = _given(lambda vote: [vote.adjudication.is_(True)])
        conditions.append(decided if wanted.decided else not_(decided))
    if wanted.source:
        conditions.append(Item.source == wanted.source)
    if wanted.shortest is not None:
        conditions.append(Item.length >= wanted.shortest)
    if wanted.longest is not None:
        conditions.append(Item.length <= wanted.longest)
    return select(Item).where(*conditions)


def _of(session: Session, project: Project, wanted: ItemFilter, vote: Any) -> list[ColumnElement[bool]]:
    conditions = [vote.label == wanted.label] if wanted.label else []
    if wanted.annotator:
        user = session.scalar(select(User.id).where(User.name == wanted.annotator))
        conditions.append(vote.user_id == (user if user is not None else -1))
    if wanted.guideline is not None:
        version = and_(Guideline.project_id == project.id, Guideline.version == wanted.guideline)
        guideline = session.scalar(select(Guideline.id).where(version))
        conditions.append(vote.guideline_id == (guideline if guideline is not None else -1))
    return conditions


def _given(conditions: Callable[[Any], Sequence[ColumnElement[bool]]]) -> ColumnElement[bool]:
    """That the item has a judgement in force for which ``conditions`` hold."""
    vote, later = aliased(Judgement), aliased(Judgement)
    in_force = (vote.label != "withdrawn", ~exists().where(later.supersedes == vote.id))
    return exists().where(vote.item_id == Item.id, *in_force, *conditions(vote))


def _agreement(agreement: Agreement) -> ColumnElement[bool]:
    def counts(vote: Any) -> list[ColumnElement[bool]]:
        return [vote.adjudication.is_(False), vote.label != "skip"]

    voted = _given(counts)
    another = _given(lambda vote: [*counts(vote), _given_beside(vote, counts, vote.id)])
    split = _given(lambda vote: [*counts(vote), _given_beside(vote, counts, vote.id, differs=True)])
    if agreement == "no vote":
        return not_(voted)
    if agreement == "one vote":
        return and_(voted, not_(another))
    return split if agreement == "disagree" else and_(another, not_(split))


def _given_beside(
    vote: Any, counts: Callable[[Any], list[ColumnElement[bool]]], own: Any, *, differs: bool = False
) -> ColumnElement[bool]:
    """That another person's judgement in force stands beside ``vote``; with ``differs``, one of another label."""
    beside, later = aliased(Judgement), aliased(Judgement)
    conditions = [beside.item_id == vote.item_id, beside.id != own, beside.user_id != vote.user_id, *counts(beside)]
    conditions += [beside.label != "withdrawn", ~exists().where(later.supersedes == beside.id)]
    return exists().where(*conditions, *([beside.label != vote.label] if differs else []))


def _key(sort: Sort, item: Item) -> tuple[int, int] | tuple[int]:
    return (item.length, item.id) if sort in ("shortest", "longest") else (item.id,)


def _ordered(chosen: Select[Any], sort: Sort) -> Select[Any]:
    if sort == "oldest":
        return chosen.order_by(Item.id)
    if sort == "newest":
        return chosen.order_by(Item.id.desc())
    return chosen.order_by(*((Item.length, Item.id) if sort == "shortest" else (Item.length.desc(), Item.id.desc())))


def _behind(sort: Sort, key: tuple[int, ...]) -> ColumnElement[bool]:
    if sort in ("oldest", "newest"):
        return Item.id > key[0] if sort == "oldest" else Item.id < key[0]
    position = tuple_(Item.length, Item.id)
    return position > tuple_(*key) if sort == "shortest" else position < tuple_(*key)


def _cursor(sort: Sort, item: Item) -> str:
    return base64.urlsafe_b64encode(json.dumps([sort, *_key(sort, item)]).encode()).decode().rstrip("=")


def _position(sort: Sort, cursor: str) -> tuple[int, ...]:
    try:
        named, *key = json.loads(base64.urlsafe_b64decode(cursor[:200] + "=" * (-len(cursor[:200]) % 4)))
        fits = named == sort and len(key) == (2 if sort in ("shortest", "longest") else 1)
        if fits and all(type(part) is int and 0 <= part < 2**31 for part in key):
            return tuple(key)
    except (ValueError, TypeError):
        pass
    raise ProjectError("this cursor is not one of the list that is asked for; begin without a cursor")


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
