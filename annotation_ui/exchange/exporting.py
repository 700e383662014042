"""Snapshots, and their export: one label per item, in the formats that the trainers read."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation_ui.exchange.payload_rows import Aggregate, attribute_rows, decided_pairs, pair_rows
from annotation_ui.labelling.judgements import in_force
from annotation_ui.quality.agreement import dawid_skene, label_matrix
from annotation_ui.store.accounts import require
from annotation_ui.store.database import Database, open_database
from annotation_ui.store.projects import ProjectError, find_project
from annotation_ui.store.tables import Assignment, Event, Item, Judgement, Project, Snapshot, SnapshotJudgement

SCHEME = "annotations://"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRule:
    """The rule that turns votes into one label. A reviewer's decision always counts for more than the votes.

    Args:
        aggregate: the label of most votes, or the most probable one by Dawid & Skene's model of the annotators. For
            rankings: of every two responses, or ``plackett_luce``. Ratings are averaged.
        ties: ``drop`` ties, or ``keep`` them (``margin`` 0).
        both_bad: ``drop`` pairs of which neither is any good, or count them as a ``tie``.
        min_votes: items with fewer are left out; by default those without more than half of the votes that the
            project wants of each item, so that one vote of two or three decides nothing.
        min_agreement: items are left out whose label has a smaller share of the votes.
    """

    aggregate: Aggregate = "majority"
    ties: Literal["drop", "keep"] = "drop"
    both_bad: Literal["drop", "tie"] = "drop"
    min_votes: int | None = None
    min_agreement: float = 0.0


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
    (``prompt, completion, label``, true for safe). ``margin`` is the mean strength of the votes for the label. Ranking
    and attributes: several rows per item, see ``annotation_ui.exchange.payload_rows``. Gold items and silent repeats
    are not exported.

    Raises:
        ProjectError: there is no such snapshot, or the rule does not fit the kind of project.
    """
    rule = rule or ExportRule()
    _check_rule(project, rule)
    found = find_snapshot(session, project, snapshot_name)
    min_votes = project.votes_per_item // 2 + 1 if rule.min_votes is None else rule.min_votes
    votes, decisions = _votes(session, found)
    make = _labelled(project, votes, rule) if project.kind in ("preference", "safety") else _from_payloads(votes, rule)
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


Made = tuple[str, list[dict[str, Any]]]
# Outcome and rows of (item, votes, a reviewer's decision, votes that are missing).
Maker = Callable[[Item, list[Judgement], Judgement | None, int], Made]


def _check_rule(project: Project, rule: ExportRule) -> None:
    fitting = {
        "preference": ("majority", "dawid_skene"),
        "safety": ("majority", "dawid_skene"),
        "ranking": ("majority", "dawid_skene", "plackett_luce"),
    }.get(project.kind, ("majority",))
    if rule.aggregate not in fitting:
        raise ProjectError(f"aggregate {rule.aggregate} is not for {project.kind} projects: {', '.join(fitting)}")
    if rule.min_agreement and project.kind == "attributes":
        raise ProjectError("min_agreement is a share of equal votes; ratings are averaged and have none")


def _labelled(project: Project, votes: Mapping[int, list[Judgement]], rule: ExportRule) -> Maker:
    """Of projects whose verdicts are labels."""
    believed = _aggregate(project, votes, rule)

    def make(item: Item, voted: list[Judgement], decided: Judgement | None, missing: int) -> Made:
        label = decided.label if decided else believed.get(item.id)
        agreement = sum(vote.label == label for vote in voted) / len(voted) if voted else None
        outcome = _outcome(label, len(voted), missing, agreement, decided is not None, rule)
        if outcome != "exported":
            return outcome, []
        assert label is not None
        return outcome, [_row(item, label, [decided] if decided else voted, agreement, len(voted))]

    return make


def _from_payloads(votes: Mapping[int, list[Judgement]], rule: ExportRule) -> Maker:
    """Of projects whose verdicts are ranks or ratings."""
    voted = {item: [vote for vote in said if vote.label != "skip"] for item, said in votes.items()}
    ranked = {item: said for item, said in voted.items() if any(vote.label == "ranked" for vote in said)}
    pairs = decided_pairs(ranked, rule.aggregate)

    def make(item: Item, voted: list[Judgement], decided: Judgement | None, missing: int) -> Made:
        said = [decided] if decided else voted
        if not said or said[0].label == "skip":
            return "set aside by a reviewer" if decided else "skipped by all", []
        if missing:
            return "too few votes", []
        about = _about(item, said, None, len(voted))
        if said[0].label == "rated":
            return "exported", attribute_rows(item, said, {key: v for key, v in about.items() if key != "agreement"})
        of_item = decided_pairs({item.id: said}, "majority")[item.id] if decided else pairs[item.id]
        least = 0.0 if decided else rule.min_agreement
        made = pair_rows(item, of_item, about, ties=rule.ties == "keep", min_agreement=least)
        return ("exported", made) if made else ("no pair decided", [])

    return make


def rows_of(spec: str) -> Iterator[dict[str, Any]]:
    """The rows of ``annotations://DATABASE#PROJECT@SNAPSHOT[:train|eval]``, for ``reward_models.data.sources``.

    Without a split they are those to train on; ``eval`` is the slice of the prompts kept for evaluation.
    """
    url, mark, rest = spec.removeprefix(SCHEME).rpartition("#")
    project_name, at, named = rest.rpartition("@")
    snapshot_name, _, split = named.partition(":")
    if not mark or not at or split not in ("", "train", "eval"):
        raise ProjectError(f"{spec!r} is not of the form annotations://DATABASE#PROJECT@SNAPSHOT[:train|eval]")
    database = open_database(url)
    try:
        with database.read() as session:
            yield from export(session, find_project(session, project_name), snapshot_name).rows[split or "train"]
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

            parquet.write_table(pyarrow.Table.from_pylist(rows), path)
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
    columns = list(dict.fromkeys(key for row in rows for key in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns)
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _cell(value) for key, value in row.items()})
    return stream.getvalue()


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


def _aggregate(project: Project, votes: Mapping[int, list[Judgement]], rule: ExportRule) -> dict[int, str]:
    """The label believed of each item; no entry where the votes are split evenly or all skips."""
    labels = ("a", "b", "tie", "both_bad") if project.kind == "preference" else ("safe", "unsafe")
    if rule.aggregate == "majority":
        believed = {}
        for item, said in votes.items():
            ranking = Counter(vote.label for vote in said if vote.label != "skip").most_common(2)
            if ranking and (len(ranking) == 1 or ranking[0][1] > ranking[1][1]):
                believed[item] = ranking[0][0]
        return believed
    triples: list[tuple[object, object, str]] = [
        (item, vote.user_id, vote.label) for item, said in votes.items() for vote in said
    ]
    votes_NA, items, _ = label_matrix(triples, labels)
    if not items:
        return {}
    best_N = dawid_skene(votes_NA, len(labels)).posterior_NC.argmax(axis=1)
    return {item: labels[best] for item, best in zip(items, best_N, strict=True)}


def _outcome(
    label: str | None, votes: int, missing: int, agreement: float | None, decided: bool, rule: ExportRule
) -> str:
    """The outcome of an item, in words for the report; ``missing`` votes would be needed to count it."""
    if label is None:
        return "skipped by all" if not votes else "votes split evenly"
    if label == "skip":
        return "set aside by a reviewer"
    if label == "tie" and rule.ties == "drop":
        return "tie"
    if label == "both_bad" and (rule.both_bad == "drop" or rule.ties == "drop"):
        return "both bad"
    if missing:
        return "too few votes"
    if not decided and agreement is not None and agreement < rule.min_agreement:
        return "too little agreement"
    return "exported"


def _row(item: Item, label: str, said: Sequence[Judgement], agreement: float | None, votes: int) -> dict[str, Any]:
    about = _about(item, said, agreement, votes)
    responses = {response.slot: response.messages for response in item.responses}
    for_label = [judgement for judgement in said if judgement.label == label]
    if label in ("safe", "unsafe"):
        harms = Counter(harm for judgement in for_label for harm in judgement.harms)
        common = sorted(harm for harm, count in harms.items() if 2 * count >= len(for_label))
        row = {"prompt": item.prompt, "completion": responses["a"], "label": label == "safe"}
        return row | {"category": "; ".join(common) or None, "harms": common} | about
    strengths = [judgement.strength for judgement in for_label if judgement.strength is not None]
    chosen, rejected = ("b", "a") if label == "b" else ("a", "b")
    margin = (sum(strengths) / len(strengths) if strengths else None) if label in ("a", "b") else 0.0
    row = {"prompt": item.prompt, "chosen": responses[chosen], "rejected": responses[rejected]}
    return row | ({} if margin is None else {"margin": margin}) | about


def _about(item: Item, said: Sequence[Judgement], agreement: float | None, votes: int) -> dict[str, Any]:
    """The columns that say where a row comes from."""
    versions = sorted({judgement.guideline.version for judgement in said if judgement.guideline})
    return {
        "id": item.source_id or str(item.id),
        "source": item.source,
        "votes": votes,
        "agreement": agreement,
        "guideline_version": versions[-1] if versions else None,
    }
