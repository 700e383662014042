"""The votes of a project as its figures need them, read in few statements: there may be hundreds of thousands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from annotation_ui.labelling.judgements import in_force
from annotation_ui.quality.spans import Marking
from annotation_ui.store.tables import Assignment, Guideline, Item, Judgement, Project, Response, User
from annotation_ui.store.verdicts import across

READ_AT_ONCE = 2000  # items, whose texts are in memory together


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """A judgement in force with what is needed to weigh it.

    Args:
        lengths: characters of the responses, slot a first.
        payload: ranks or ratings, by slot. ``marking``: the marked passages, where they are asked for.
        gold, answer: the known answer of the item, if there is one.
        training: it was shown after the vote.
        side: the label as a side of the screen where positions are known (``left``, ``right``), else the label.
        round: 1 for a silent repeat.
    """

    item: int
    who: str
    label: str
    strength: int | None
    side: str
    gold: str | None
    round: int
    dwell_ms: int | None
    lengths: tuple[int, ...]
    characters: int
    day: int
    guideline: int | None
    shown: bool
    payload: Mapping[str, Any] = field(default_factory=dict)
    answer: Mapping[str, Any] | None = None
    training: bool = False
    marking: Marking | None = None


class _Facts(NamedTuple):
    """The parts of an item that its votes are weighed by; ``texts`` by slot, where passages are marked."""

    gold: str | None
    answer: Mapping[str, Any] | None
    lengths: tuple[int, ...]
    characters: int
    texts: Mapping[str, str] | None


class _Version(NamedTuple):
    """A version of the guideline, and the labels of passages in it."""

    number: int
    spans: tuple[str, ...]


def load_votes(session: Session, project: Project) -> list[Vote]:
    """The judgements in force of annotators, in the order in which they were given."""
    of_project = select(Guideline.id, Guideline.version, Guideline.form).where(Guideline.project_id == project.id)
    versions = {
        number: _Version(version, tuple((form or {}).get("spans", ())))
        for number, version, form in session.execute(of_project)
    }
    names: dict[int, str] = dict(session.execute(select(User.id, User.name)).all())  # type: ignore[arg-type]
    judged = (
        in_force(project)
        .outerjoin(Assignment, Assignment.id == Judgement.assignment_id)
        .with_only_columns(
            Judgement.item_id,
            Judgement.user_id,
            Judgement.label,
            Judgement.strength,
            Judgement.left,
            Judgement.dwell_ms,
            Judgement.created,
            Judgement.guideline_id,
            Judgement.payload,
            Assignment.round,
            Assignment.training,
        )
    )
    rows = session.execute(judged).all()
    marked = any(version.spans for version in versions.values())
    facts = dict(facts_of(session, project, sorted({row[0] for row in rows}), texts=marked))
    return [_vote(row, facts[row[0]], names, versions) for row in rows]


def facts_of(session: Session, project: Project, items: Sequence[int], *, texts: bool) -> Iterator[tuple[int, _Facts]]:
    """The facts of items of ``project``, by id. ``items`` are all with a judgement in force, in ascending order.

    Items are read by ranges of ids, :data:`READ_AT_ONCE` at a time; those of other projects between them are left out.
    """
    for start in range(0, len(items), READ_AT_ONCE):
        first, last = items[start], items[start : start + READ_AT_ONCE][-1]
        found = select(Item.id, Item.gold, Item.answer, Item.prompt).where(
            Item.project_id == project.id,
            Item.id.between(first, last),
            exists().where(Judgement.item_id == Item.id),
        )
        given = (
            select(Response.item_id, Response.slot, Response.messages)
            .where(
                Response.item_id.between(first, last),
                exists().where(Item.id == Response.item_id, Item.project_id == project.id),
                exists().where(Judgement.item_id == Response.item_id),
            )
            .order_by(Response.item_id, Response.slot)
        )
        responses: dict[int, dict[str, list[dict[str, str]]]] = {}
        for item, slot, messages in session.execute(given):
            responses.setdefault(item, {})[slot] = messages
        for item, gold, answer, prompt in session.execute(found):
            of_item = responses.get(item, {})
            lengths = tuple(sum(len(m["content"]) for m in messages) for messages in of_item.values())
            last_texts = {slot: messages[-1]["content"] for slot, messages in of_item.items()} if texts else None
            yield item, _Facts(gold, answer, lengths, sum(lengths) + len(prompt[-1]["content"]), last_texts)


def _vote(row: Any, facts: _Facts, names: Mapping[int, str], versions: Mapping[int, _Version]) -> Vote:
    item, user, label, strength, left, dwell_ms, created, guideline, payload, round, training = row
    version = versions.get(guideline)
    marking = None
    if version is not None and version.spans and facts.texts is not None:
        spans = (payload or {}).get("spans", {})
        marking = Marking(item=item, texts=facts.texts, spans=spans, labels=version.spans)
    return Vote(
        item=item,
        who=names[user],
        label=label,
        strength=strength,
        side=across(label, left) if left else label,
        gold=facts.gold,
        round=round or 0,
        dwell_ms=dwell_ms,
        lengths=facts.lengths,
        characters=facts.characters,
        day=int(created // 86400),
        guideline=version.number if version is not None else None,
        shown=left is not None,
        payload=payload or {},
        answer=facts.answer,
        training=bool(training),
        marking=marking,
    )
