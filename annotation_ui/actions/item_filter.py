"""The conditions by which items are found and the orders in which they are listed, as parts of SQL statements."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Select, and_, exists, not_, select, tuple_
from sqlalchemy.orm import Session, aliased

from annotation_ui.actions.model_view import ModelView, model_view
from annotation_ui.store.projects import ProjectError
from annotation_ui.store.search import matching
from annotation_ui.store.tables import Guideline, Item, Judgement, Project, User

Agreement = Literal["agree", "disagree", "one vote", "no vote"]
Sort = Literal["oldest", "newest", "shortest", "longest"]
AGREEMENTS: tuple[Agreement, ...] = get_args(Agreement)
MODEL_VIEWS: tuple[ModelView, ...] = get_args(ModelView)
SORTS: tuple[Sort, ...] = get_args(Sort)


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
        model: this scorer has a score of it.
        model_view: a score, of ``model`` where one is named, is for or against the majority of the annotators.
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
    model: str = ""
    model_view: ModelView | Literal[""] = ""
    sort: Sort = "oldest"


def given(wanted: ItemFilter) -> dict[str, Any]:
    """The conditions of ``wanted``, and its order, that differ from those of a filter that asks for nothing."""
    usual = asdict(ItemFilter())
    return {name: value for name, value in asdict(wanted).items() if value != usual[name]}


def agreements_of(kind: str) -> tuple[Agreement, ...]:
    """The values of ``agreement`` that mean something: ranks, ratings and texts all have one label."""
    return AGREEMENTS if kind in ("preference", "safety") else ("one vote", "no vote")


def chosen(session: Session, project: Project, wanted: ItemFilter) -> Select[Item]:
    for name, value, values in (
        ("sort", wanted.sort, SORTS),
        ("agreement", wanted.agreement, ("", *AGREEMENTS)),
        ("model_view", wanted.model_view, ("", *MODEL_VIEWS)),
    ):
        if value not in values:
            raise ProjectError(f"{name} is one of {', '.join(filter(None, values))}; not {value!r}")
    if wanted.agreement and wanted.agreement not in agreements_of(project.kind):
        raise ProjectError(
            f"labels agree or disagree, and the verdicts of a {project.kind} project are none; "
            "the page Review lists the items on which annotators disagree"
        )
    conditions: list[ColumnElement[bool]] = [Item.project_id == project.id]
    if wanted.q.strip():
        # The sum keeps the database from going through all items of the project instead of those with the words.
        conditions = [Item.project_id + 0 == project.id, matching(session, wanted.q)]
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
    if wanted.model or wanted.model_view:
        conditions.append(model_view(project, wanted.model, wanted.model_view))
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


def key(sort: Sort, item: Item) -> tuple[int, int] | tuple[int]:
    return (item.length, item.id) if sort in ("shortest", "longest") else (item.id,)


def ordered(matches: Select[Any], wanted: ItemFilter) -> Select[Any]:
    sort = wanted.sort
    if sort in ("oldest", "newest"):
        # The sum keeps PostgreSQL from reading all items in the order of the index: it sorts those with the words.
        place = Item.id + 0 if wanted.q.strip() else Item.id
        return matches.order_by(place if sort == "oldest" else place.desc())
    return matches.order_by(*((Item.length, Item.id) if sort == "shortest" else (Item.length.desc(), Item.id.desc())))


def behind(sort: Sort, at: tuple[int, ...]) -> ColumnElement[bool]:
    if sort in ("oldest", "newest"):
        return Item.id > at[0] if sort == "oldest" else Item.id < at[0]
    place = tuple_(Item.length, Item.id)
    return place > tuple_(*at) if sort == "shortest" else place < tuple_(*at)


def cursor_of(sort: Sort, item: Item) -> str:
    return base64.urlsafe_b64encode(json.dumps([sort, *key(sort, item)]).encode()).decode().rstrip("=")


def position(sort: Sort, cursor: str) -> tuple[int, ...]:
    try:
        named, *at = json.loads(base64.urlsafe_b64decode(cursor[:200] + "=" * (-len(cursor[:200]) % 4)))
        fits = named == sort and len(at) == (2 if sort in ("shortest", "longest") else 1)
        if fits and all(type(part) is int and 0 <= part < 2**31 for part in at):
            return tuple(at)
    except (ValueError, TypeError):
        pass
    raise ProjectError("this cursor is not one of the list that is asked for; begin without a cursor")
