"""A database written by an older version of Keel is migrated and says the same as before.

``tests/data/annotation_042.sql`` is the dump of a SQLite file made by commit 042b009 (schema 0002): a preference and a
safety project with votes, skips, an undo, an edit, an adjudication, gold items, repeats, imported votes, scores,
snapshots and a job. ``annotation_042.json`` holds what that commit's own functions said of it.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from migrating import copy_dump, upgrade, without_schema
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from annotation_ui.exchange.exporting import ExportRule, export
from annotation_ui.labelling import session as annotating
from annotation_ui.store.database import Database, open_database
from annotation_ui.store.projects import find_project
from annotation_ui.store.tables import Event, Judgement, Snapshot

DATA = Path(__file__).parents[2] / "data"
TOLD: dict[str, Any] = json.loads((DATA / "annotation_042.json").read_text(encoding="utf-8"))


@pytest.fixture
def old(database: Database, tmp_path: Path) -> Database:
    """The dump in a database that was then migrated, on each kind of server."""
    if not database.sqlite:
        with database._writer.begin() as connection:
            without_schema(connection)
        with database._writer.begin() as connection:
            upgrade(connection, "0002")
            copy_dump(connection, DATA / "annotation_042.sql")
        assert database.pending
        database.migrate()
        return database
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as source:
        source.executescript((DATA / "annotation_042.sql").read_text(encoding="utf-8"))
    source.close()
    return open_database(str(path))


def test_every_judgement_is_there_unchanged(old: Database) -> None:
    with old.read() as session:
        found = session.scalars(select(Judgement).order_by(Judgement.id)).all()
        columns = TOLD["judgements"][0]
        assert [{name: getattr(row, name) for name in columns} for row in found] == TOLD["judgements"]


def test_failed_log_ins_are_forgotten_and_nothing_else_is(old: Database) -> None:
    with old.read() as session:
        kinds = Counter(session.scalars(select(Event.kind)))
    assert "log-in failed" not in kinds
    assert kinds["judged"] == sum(j["key"][:4] not in ("undo", "edit", "adju", "impo") for j in TOLD["judgements"])
    with pytest.raises(DBAPIError, match="append-only"), old.write() as session:
        session.execute(text("DELETE FROM events"))
    if old.sqlite:
        old.close()
        assert b"hunter2" not in Path(str(old.url.database)).read_bytes()


def test_the_annotators_see_the_same_history(old: Database) -> None:
    for who, told in TOLD["history"].items():
        seen = annotating.history(old, who, "cooking")
        assert [[p.judgement, p.label, p.strength, p.created, p.opening] for p in seen] == told


@pytest.mark.parametrize("project", ["cooking", "care"])
@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("majority", ExportRule(min_votes=1)),  # the default of that version
        ("dawid_skene", ExportRule(min_votes=1, aggregate="dawid_skene", ties="keep", both_bad="tie")),
    ],
)
def test_a_snapshot_exports_the_same_rows(old: Database, project: str, name: str, rule: ExportRule) -> None:
    told = TOLD["exports"][f"{project} {name}"]
    with old.read() as session:
        made = export(session, find_project(session, project), "s1", rule)
        digests = {
            f"{snapshot.project_id}@{snapshot.name}": snapshot.digest for snapshot in session.scalars(select(Snapshot))
        }
    for row in (row for rows in made.rows.values() for row in rows if "harms" in row):
        # That version joined the names of harms with commas, which names hold themselves, and had no list of them.
        row["category"] = ", ".join(row.pop("harms")) or None
    assert made.rows == told["rows"]
    assert made.counts == told["counts"]
    assert digests == TOLD["digests"]
