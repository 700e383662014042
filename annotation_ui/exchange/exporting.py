"""Snapshots, and their export: one label per item, in the formats that the trainers read."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation_ui.exchange.demonstrations import demonstrations
from annotation_ui.exchange.item_rows import ExportRule, check_rule, from_payloads, labelled, of_turns
from annotation_ui.labelling.judgements import in_force
from annotation_ui.store.accounts import require
from annotation_ui.store.database import Database, open_database
from annotation_ui.store.projects import ProjectError, find_project
from annotation_ui.store.tables import (
    Assignment,
    Event,
    Guideline,
    Item,
    Judgement,
    Project,
    Snapshot,
    SnapshotJudgement,
)

SCHEME = "annotations://"
# Parts of a snapshot beside its splits.
_PARTS = {
    f"{what}{end}": (what, split) for what in ("pairs", "turns") for end, split in (("", "train"), ("-eval", "eval"))
}


@dataclass(frozen=True, slots=True)
class Export:
    """``rows`` by split, and ``counts``: the items of the snapshot by outcome."""

    rows: dict[str, list[dict[str, Any]]]
    counts: dict[str, int]
    snapshot: str


def take_snapshot(database: Database, who: str, project_name: str | None, name: str | None, *, now: float) -> str:
    """Freeze the judgements now in force under ``name`` (default: a number); returns the name.

    Raises:
        Forbidden: ``who`` is no admin.
        ProjectError: the name is taken or unusable, or nothing has been judged.
    """
    with database.write() as session:
        require(session, who, "admin")
        project = find_project(session, project_name)
        return snapshot(session, project, name, author=who, now=now).name


def snapshot(session: Session, project: Project, name: str | None, *, author: str, now: float) -> Snapshot:
    taken = session.scalar(select(func.count(Snapshot.id)).where(Snapshot.project_id == project.id)) or 0
    name = name or f"s{taken + 1}"
    if len(name) > 100 or not all(char.isalnum() or char in "-_." for char in name):
        raise ProjectError(f"{name[:40]!r} is no snapshot name: letters, digits, '-', '_' and '.', at most 100")
    if session.scalar(select(Snapshot.id).where(Snapshot.project_id == project.id, Snapshot.name == name)):
        raise ProjectError(f"there is a snapshot {project.name}@{name} already, and snapshots never change")
    chosen = session.scalars(in_force(project, adjudication=None)).all()
    if not chosen:
        raise ProjectError(f"nothing has been judged in {project.name!r} yet")
    digest = hashlib.sha256()
    for judgement in chosen:
        said = [judgement.item.content_key, judgement.user.name, judgement.adjudication, judgement.label]
        said += [judgement.strength, judgement.harms, judgement.severity]
        said += [] if judgement.payload is None else [judgement.payload]
        digest.update(json.dumps(said, sort_keys=True).encode())
    made = Snapshot(project_id=project.id, name=name, author=author, digest=digest.hexdigest(), created=now)
    session.add(made)
    session.flush()
    session.add_all(SnapshotJudgement(snapshot_id=made.id, judgement_id=judgement.id) for judgement in chosen)
    detail = {"name": name, "judgements": len(chosen), "digest": made.digest}
    session.add(Event(at=now, actor=author, kind="snapshot taken", project=project.name, detail=detail))
    return made


def find_snapshot(session: Session, project: Project, name: str) -> Snapshot:
    """The snapshot ``name`` of a project.

    Raises:
        ProjectError: there is none by that name.
    """
    found = session.scalar(select(Snapshot).where(Snapshot.project_id == project.id, Snapshot.name == name))
    if found is None:
        names = session.scalars(select(Snapshot.name).where(Snapshot.project_id == project.id)).all()
        known = f"there are: {', '.join(names)}" if names else "take one first"
        raise ProjectError(f"{project.name!r} has no snapshot {name!r}; {known}")
    return found


def export(session: Session, project: Project, snapshot_name: str, rule: ExportRule | None = None) -> Export:
    """The rows of a snapshot, in the layouts that the trainers read.

    Preference: one row per item in TRL's format (``prompt, chosen, rejected, margin``); safety: unpaired preference
    (``prompt, completion, label``, true for safe); rewrite: accepted texts (``prompt, response``). ``margin`` is the
    mean strength of the votes for the label. Ranking and attributes: several rows per item, see
    ``annotation_ui.exchange.payload_rows``. Gold items and silent repeats are not exported.

    Raises:
        ProjectError: there is no such snapshot, or the rule does not fit the kind of project or what it asks for.
    """
    rule = rule or ExportRule()
    check_rule(project, rule)
    if rule.turns:
        _require_turns(session, project)
    found = find_snapshot(session, project, snapshot_name)
    if project.kind == "rewrite":
        return _accepted(session, project, found)
    min_votes = project.votes_per_item // 2 + 1 if rule.min_votes is None else rule.min_votes
    votes, decisions = _votes(session, found)
    if rule.turns:
        make = of_turns()
    else:
        labels = project.kind in ("preference", "safety")
        make = labelled(project, votes, rule) if labels else from_payloads(votes, rule)
    counts: Counter[str] = Counter()
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "eval": []}
    reference = {"snapshot": f"{project.name}@{found.name}", "snapshot_digest": found.digest}
    for item_id in dict.fromkeys([*votes, *decisions]):
        item = session.get_one(Item, item_id)
        decided = decisions.get(item_id)
        voted = [vote for vote in votes.get(item_id, []) if vote.label != "skip"]
        missing = 0 if decided else max(0, min_votes - len(voted))
        outcome, made = ("gold", []) if item.gold else make(item, voted, decided, missing)
        counts[outcome] += 1
        rows[item.split].extend(row | reference for row in made)
    return Export(rows, dict(counts), f"{project.name}@{found.name}")


def _require_turns(session: Session, project: Project) -> None:
    """Raise :class:`ProjectError` unless some version of the guideline asked for verdicts on turns."""
    forms = session.scalars(select(Guideline.form).where(Guideline.project_id == project.id))
    if not any((form or {}).get("turns") for form in forms):
        raise ProjectError(
            f"{project.name!r} asks for no verdicts on turns, so there are none to export; "
            "`turns: [good, …]` in its definition asks for them (`keel annotate project FILE.yaml`)"
        )


def _accepted(session: Session, project: Project, found: Snapshot) -> Export:
    """Of a project of rewrites."""
    counts: Counter[str] = Counter()
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "eval": []}
    reference = {"snapshot": f"{project.name}@{found.name}", "snapshot_digest": found.digest}
    for item, outcome, row in demonstrations(session, found):
        counts[outcome] += 1
        if row is not None:
            rows[item.split].append(row | reference)
    return Export(rows, dict(counts), f"{project.name}@{found.name}")


def rows_of(spec: str) -> Iterator[dict[str, Any]]:
    """The rows of ``annotations://DATABASE#PROJECT@SNAPSHOT[:train|eval]``, for ``reward_models.data.sources``.

    Without a split they are those to train on; ``eval`` is the slice of the prompts kept for evaluation. ``pairs`` and
    ``pairs-eval`` are the same of the comparisons beside ratings, ``turns`` and ``turns-eval`` of verdicts on turns.
    """
    url, mark, rest = spec.removeprefix(SCHEME).rpartition("#")
    project_name, at, named = rest.rpartition("@")
    snapshot_name, _, split = named.partition(":")
    what, split = _PARTS.get(split, ("", split))
    if not mark or not at or split not in ("", "train", "eval"):
        raise ProjectError(f"{spec!r} is not of the form annotations://DATABASE#PROJECT@SNAPSHOT[:train|eval]")
    database = open_database(url)
    try:
        with database.read() as session:
            rule = ExportRule(pairs=what == "pairs", turns=what == "turns")
            yield from export(session, find_project(session, project_name), snapshot_name, rule).rows[split or "train"]
    finally:
        database.close()


def write_export(exported: Export, directory: Path, file_format: Literal["jsonl", "csv", "parquet"]) -> list[Path]:
    """``train`` and ``eval`` files and ``report.json`` in ``directory``; returns their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for split, rows in exported.rows.items():
        path = directory / f"{split}.{file_format}"
        if file_format == "parquet":
            import pyarrow
            from pyarrow import parquet

            names = columns_of(rows)  # the table would have those of the first row alone
            parquet.write_table(pyarrow.Table.from_pylist([{n: row.get(n) for n in names} for row in rows]), path)
        else:
            text = to_csv(rows) if file_format == "csv" else "".join(_json(row) + "\n" for row in rows)
            path.write_text(text, encoding="utf-8", newline="")
        written.append(path)
    report = directory / "report.json"
    sizes = {split: len(found) for split, found in exported.rows.items()}
    content = {"snapshot": exported.snapshot, "rows": sizes, "items": exported.counts}
    report.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return [*written, report]


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV that no spreadsheet takes for formulas: a cell that begins like one has ``'`` put in front.

    Lists are JSON. JSON Lines is the format to read back from: it is not changed.
    """
    columns = columns_of(rows)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns)
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _cell(value) for key, value in row.items()})
    return stream.getvalue()


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns of all rows, in the order in which they first occur."""
    return list(dict.fromkeys(key for row in rows for key in row))


def _cell(value: Any) -> Any:
    if isinstance(value, list | dict):
        value = _json(value)
    if isinstance(value, str) and value.lstrip().startswith(("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")):
        return "'" + value
    return value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _votes(session: Session, found: Snapshot) -> tuple[dict[int, list[Judgement]], dict[int, Judgement]]:
    """Annotators' votes and reviewers' decisions by item; an annotator's repeat of an item is not a second vote."""
    members = (
        select(Judgement)
        .join(SnapshotJudgement, SnapshotJudgement.judgement_id == Judgement.id)
        .outerjoin(Assignment, Assignment.id == Judgement.assignment_id)
        .where(SnapshotJudgement.snapshot_id == found.id, func.coalesce(Assignment.round, 0) == 0)
        .order_by(Judgement.item_id, Judgement.id)
    )
    votes: dict[int, list[Judgement]] = defaultdict(list)
    decisions: dict[int, Judgement] = {}
    for judgement in session.scalars(members):
        if judgement.adjudication:
            decisions[judgement.item_id] = judgement
        else:
            votes[judgement.item_id].append(judgement)
    return votes, decisions
