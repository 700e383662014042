"""A snapshot as reviewers and admins download it: the rows that it gives, and the command that trains on them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation_ui.actions.jobs import JobError, attribute_weights
from annotation_ui.exchange.exporting import Export, export, find_snapshot
from annotation_ui.exchange.item_rows import ExportRule
from annotation_ui.store.accounts import Role, require
from annotation_ui.store.database import Database
from annotation_ui.store.forms import Kind
from annotation_ui.store.membership import find_visible
from annotation_ui.store.tables import Guideline, Project

REVIEWERS: tuple[Role, ...] = ("reviewer", "admin")
Rows = Literal["labels", "pairs", "turns"]  # of a snapshot: the usual ones, or others in their place
CONFIGS: Mapping[Kind, str] = {"safety": "safety_cpu", "rewrite": "sft_rewrites_cpu"}  # of other kinds: helpful_cpu


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Rows that a snapshot gives: how many of each split, and the number of items by what became of them.

    ``command`` trains on the downloaded files; ``None`` where there are no rows to train on.
    """

    rows: Rows
    train: int
    held_out: int
    items: dict[str, int]
    command: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotInfo:
    """A snapshot with all that can be exported of it; ``created`` in seconds since 1970."""

    project: str
    name: str
    kind: Kind
    author: str
    created: float
    digest: str
    parts: tuple[Part, ...]


def rule_of(rows: Rows) -> ExportRule:
    """The rule that exports ``rows``."""
    return ExportRule(pairs=rows == "pairs", turns=rows == "turns")


def file_name(project: str, snapshot: str, rows: Rows, split: str) -> str:
    """The name under which a browser saves the rows."""
    return f"{project}-{snapshot}-{'' if rows == 'labels' else f'{rows}-'}{split}.jsonl"


def snapshot_info(database: Database, who: str | None, project_name: str | None, name: str) -> SnapshotInfo:
    """A snapshot and what can be exported of it.

    Raises:
        Forbidden: ``who`` is an annotator. ProjectError: there is no such snapshot.
    """
    with database.read() as session:
        project = find_visible(session, require(session, who, *REVIEWERS), project_name)
        found = find_snapshot(session, project, name)
        parts = [
            _part(project, name, rows, export(session, project, name, rule_of(rows)))
            for rows in _rows(session, project)
        ]
        return SnapshotInfo(
            project=project.name,
            name=found.name,
            kind=cast(Kind, project.kind),
            author=found.author,
            created=found.created,
            digest=found.digest,
            parts=tuple(parts),
        )


def _rows(session: Session, project: Project) -> list[Rows]:
    """The kinds of rows that some version of the guideline asked for."""
    forms = [form or {} for form in session.scalars(select(Guideline.form).where(Guideline.project_id == project.id))]
    pairs: list[Rows] = ["pairs"] if project.kind == "attributes" and any(f.get("comparison") for f in forms) else []
    turns: list[Rows] = ["turns"] if any(form.get("turns") for form in forms) else []
    return ["labels", *pairs, *turns]


def _part(project: Project, name: str, rows: Rows, exported: Export) -> Part:
    train, held_out = exported.rows["train"], exported.rows["eval"]
    command = _command(project, name, rows, train, held_out) if train else None
    return Part(rows=rows, train=len(train), held_out=len(held_out), items=exported.counts, command=command)


def _command(
    project: Project, name: str, rows: Rows, train: list[dict[str, Any]], held_out: list[dict[str, Any]]
) -> str | None:
    """The command that trains on the downloaded files, with a preset that runs on a CPU."""
    others: dict[Rows, Kind] = {"turns": "safety", "pairs": "preference"}
    task = others.get(rows, cast(Kind, project.kind))
    program, config = "sft" if task == "rewrite" else "rm", CONFIGS.get(task, "helpful_cpu")
    words = ["keel", "train", program, "--config", config]
    words.append(f"data.train={json.dumps([file_name(project.name, name, rows, 'train')])}")
    if task != "rewrite":
        words.append(f"data.eval={json.dumps([file_name(project.name, name, rows, 'eval')] if held_out else [])}")
    if task == "attributes":
        try:
            words.append(f"attributes={json.dumps(attribute_weights(train))}")
        except JobError:  # attributes that no head learns, or equal ratings alone
            return None
    return shlex.join([*words, f"output_dir=runs/{project.name}"])
