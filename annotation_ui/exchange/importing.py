"""Import of files, hub data sets and votes made elsewhere as items to judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, cast

from sqlalchemy.orm import Session

from annotation_ui.exchange.known_answers import explanation_of, known_answer
from annotation_ui.exchange.rl_samples import is_samples, read_samples
from annotation_ui.exchange.several import several
from annotation_ui.labelling.assignment import newest_guideline
from annotation_ui.store.database import Database
from annotation_ui.store.forms import Definition, Form, Kind, default_definition
from annotation_ui.store.projects import (
    Added,
    Candidate,
    ProjectError,
    Settings,
    Vote,
    add_items,
    create_project,
    find_project,
)
from annotation_ui.store.verdicts import LABELS, STRENGTHS, Verdict
from reward_models.data.conversations import quoted
from reward_models.data.files import BadRow
from reward_models.data.formats import rename, to_record
from reward_models.data.records import Comparison, Conversation, RecordError, SafetyLabel
from reward_models.data.sources import BadRowsError, read_rows_of

ITEM_CHARACTERS = 200_000
PROGRESS_EVERY = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProject:
    """The project to make, if there is none by the name; made in the transaction of the import.

    ``guideline`` stands in the place of the text of ``definition``, which is that of the kind if there is none.
    """

    kind: Kind
    settings: Settings
    guideline: str | None = None
    definition: Definition | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """The counts of an import, and the rows left out."""

    added: Added
    bad: list[BadRow] = field(default_factory=list)


def import_items(
    database: Database,
    project_name: str,
    specs: Sequence[str],
    *,
    new: NewProject | None = None,
    gold: bool = False,
    columns: Mapping[str, str] | None = None,
    max_bad: int = 0,
    limit: int | None = None,
    author: str,
    now: float,
    on_progress: Callable[[int], None] = lambda rows: None,
    remember: Callable[[Session, Imported], None] = lambda session, done: None,
) -> Imported:
    """Add every row of ``specs`` to a project, in one transaction: all of it is there afterwards, or nothing.

    The rows may be in any layout of ``reward_models.data.formats``, with or without a label, or carry ``annotations``:
    a list of ``{"annotator", "label"}``, which become votes by accounts that cannot log in. The ``samples.jsonl`` of an
    RL run comes with what its reward terms disagree about most first (``annotation_ui.exchange.rl_samples``).

    Args:
        new: make the project first, in the same transaction; it must not exist.
        gold: take each row's label as the known answer; the row must have one. Without it labels are left behind.
        columns, max_bad, limit: as in :func:`reward_models.data.sources.load`.
        on_progress: called with the number of rows read so far.
        remember: called at the end of the transaction, to write more in it.

    Raises:
        SourceError: a source cannot be read.
        BadRowsError: more rows are bad than ``max_bad`` allows.
        ProjectError: there is no such project, or ``new`` cannot be made.
            After any of them the database is as before, without the new project.
    """
    if new is None:
        with database.read() as session:
            project = find_project(session, project_name)
            kind = cast(Kind, project.kind)
            form = Form.from_dict(newest_guideline(session, project).form)
    else:
        kind, form = new.kind, (new.definition or default_definition(new.kind)).form
    if gold and kind == "rewrite":
        raise ProjectError("a rewrite project takes no known answers; import without --gold")
    candidates, bad = _read(specs, kind, form, gold=gold, columns=columns, limit=limit, on_progress=on_progress)
    if len(bad) > max_bad:
        raise BadRowsError(bad, max_bad)
    with database.write() as session:
        if new is not None:
            _create(session, project_name, new, author=author, now=now)
        added = add_items(session, find_project(session, project_name), candidates, author=author, now=now)
        done = Imported(added, bad)
        remember(session, done)
    return done


def _create(session: Session, name: str, new: NewProject, *, author: str, now: float) -> None:
    definition = new.definition or default_definition(new.kind)
    create_project(
        session,
        name,
        new.kind,
        new.settings,
        guideline=new.guideline or definition.guideline,
        harms=definition.harms,
        form=definition.form,
        author=author,
        now=now,
    )


def _read(
    specs: Sequence[str],
    kind: Kind,
    form: Form,
    *,
    gold: bool,
    columns: Mapping[str, str] | None,
    limit: int | None,
    on_progress: Callable[[int], None],
) -> tuple[list[Candidate], list[BadRow]]:
    def convert(row: dict[str, Any], line: int, source: str) -> Candidate:
        named = rename(row, columns) if columns else row
        return to_candidate(named, kind, form=form, gold=gold, id=f"{source}:{line}", source=source)

    candidates: list[Candidate] = []
    bad: list[BadRow] = []
    for spec in specs:
        stream = _samples(Path(spec), kind, convert) if is_samples(spec) else read_rows_of(spec, convert)
        for item in islice(stream, limit):
            if isinstance(item, BadRow):
                bad.append(item)
            else:
                candidates.append(item)
            if (len(candidates) + len(bad)) % PROGRESS_EVERY == 0:
                on_progress(len(candidates) + len(bad))
    return candidates, bad


def _samples(path: Path, kind: Kind, convert: Callable[[dict[str, Any], int, str], Candidate]) -> Iterator[Any]:
    """The samples of an RL run, most disputed first; as :func:`reward_models.data.sources.read_rows_of` otherwise."""
    for item in read_samples(path, kind):
        if isinstance(item, BadRow):
            yield item
            continue
        line, row = item
        try:
            yield convert(row, line, f"{path.parent.name}/samples")
        except RecordError as error:
            yield BadRow(str(path), line, str(error), row)


def to_candidate(
    row: Mapping[str, Any], kind: Kind, *, form: Form | None = None, gold: bool = False, id: str, source: str
) -> Candidate:
    """The item in ``row``. ``form``: of the project, which known answers must fit; by default that of the kind.

    Raises:
        RecordError: there is none, it is too long, its two responses are the same, or ``gold`` and it has no label.
    """
    if kind in ("ranking", "attributes", "rewrite"):
        return _several(row, kind, form, gold=gold, id=id, source=source)
    votes = row.get("annotations")
    labelled = dict(row)
    unlabelled = not any(row.get(key) is not None for key in ("label", "is_safe", "overall_preference", "chosen"))
    if unlabelled and any(key.startswith(("response", "completion")) for key in row):
        # What the record needs to be well formed, and is not read again.
        labelled["label"] = "tie" if kind == "preference" else "safe"
    record = to_record(labelled, "comparison" if kind == "preference" else "safety", id=id, source=source)
    responses: tuple[Conversation, ...]
    models: tuple[str | None, ...]
    if isinstance(record, Comparison):
        responses = (record.response_a, record.response_b)
        models = (_name(row, "model_a"), _name(row, "model_b"))
        if responses[0] == responses[1]:
            raise RecordError("the two responses are identical; there is nothing to compare")
    else:
        record = cast(SafetyLabel, record)
        responses, models = (record.response,), (_name(row, "model"),)
    if gold and unlabelled:
        raise RecordError("the row has no label to be the known answer; add one, or import without --gold")
    _check_texts((record.prompt, *responses))
    return Candidate(
        prompt=record.prompt,
        responses=responses,
        models=models,
        gold=record.label if gold else None,
        answer=(explanation_of(row) or None) if gold else None,
        votes=_votes(votes, kind, record.source),
        id=record.id,
        source=record.source,
    )


def _several(row: Mapping[str, Any], kind: Kind, form: Form | None, *, gold: bool, id: str, source: str) -> Candidate:
    prompt, found = several(row, kind)
    _check_texts((prompt, *(response for response, _ in found)))
    label, answer = None, None
    if gold:
        label, answer = known_answer(row, kind, form or default_definition(kind).form, len(found))
        answer |= explanation_of(row)
    return Candidate(
        gold=label,
        answer=answer,
        prompt=prompt,
        responses=tuple(response for response, _ in found),
        models=tuple(model for _, model in found),
        id=str(row["id"]) if isinstance(row.get("id"), str | int) else id,
        source=row["source"] if isinstance(row.get("source"), str) and row["source"] else source,
    )


def _check_texts(conversations: Sequence[Conversation]) -> None:
    length = sum(len(m.content) for messages in conversations for m in messages)
    if length > ITEM_CHARACTERS:
        raise RecordError(f"{length:,} characters are more than anybody reads; {ITEM_CHARACTERS:,} allowed")
    if any("\0" in m.content for messages in conversations for m in messages):
        raise RecordError("the text holds a NUL character, which databases do not store")


def _name(row: Mapping[str, Any], key: str) -> str | None:
    value = row.get(key)
    return value[:200] if isinstance(value, str) else None


def _votes(votes: object, kind: Kind, source: str) -> tuple[Vote, ...]:
    if votes is None:
        return ()
    if not isinstance(votes, list) or not all(isinstance(vote, dict) for vote in votes):
        raise RecordError("key 'annotations' is not a list of {'annotator': …, 'label': …}")
    found = []
    for vote in votes:
        name = vote.get("annotator")
        if not isinstance(name, str) or not name.strip():
            raise RecordError(f"an annotation's 'annotator' is {quoted(name)}, not a name")
        found.append(Vote(annotator=f"{source}/{name.strip()}"[:100], verdict=_verdict(vote, kind)))
    if len({vote.annotator for vote in found}) != len(found):
        raise RecordError("an annotator has two annotations on one row; keep the one that counts")
    return tuple(found)


def _verdict(vote: Mapping[str, Any], kind: Kind) -> Verdict:
    """``a``, ``b much better``, ``tie``, ``unsafe``, …"""
    said = vote.get("label")
    label, _, degree = said.partition(" ") if isinstance(said, str) else ("", "", "")
    strength = {text: number for number, text in STRENGTHS.items()}.get(degree)
    if label not in LABELS[kind] or label == "skip" or (degree and (strength is None or label not in ("a", "b"))):
        known = ", ".join(label for label in LABELS[kind] if label != "skip")
        raise RecordError(f"an annotation's 'label' is {quoted(said)}; known: {known}; a or b may be 'much better' …")
    return Verdict(label=label, strength=strength)
