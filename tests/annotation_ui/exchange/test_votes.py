"""Every judgement can be taken out again, with all that was stored of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from annotation_ui.actions.transfer import vote_lines
from annotation_ui.exchange import votes
from annotation_ui.exchange.exporting import take_snapshot
from annotation_ui.exchange.vote_files import vote_format, write_votes
from annotation_ui.exchange.votes import INTERNAL, NAMES, mappings, votes_of
from annotation_ui.labelling import session as annotating
from annotation_ui.store.accounts import add_user
from annotation_ui.store.database import Database
from annotation_ui.store.privacy import forget, pseudonym_key
from annotation_ui.store.projects import ProjectError, Settings, find_project
from annotation_ui.store.tables import Judgement
from keel.cli import app

NOW = 1_700_000_000.0
Fill = Callable[..., Database]


@pytest.fixture
def judged(database: Database, fill: Fill) -> Database:
    """A vote that was edited, one that was undone, a skip, and a vote of another person after a snapshot."""
    fill(database, items=3, settings=Settings(votes_per_item=2, gold_rate=0, repeat_rate=0))
    with database.write() as session:
        add_user(session, "root", "admin", None, now=NOW)
    for said in (
        {"label": "left", "strength": 3, "rationale": "shorter"},
        {"label": "tie"},
        {"label": "skip", "skip_reason": "I cannot tell"},
    ):
        task = annotating.next_task(database, "ann", "p", now=NOW)
        assert task is not None
        annotating.vote(database, "ann", "p", task.token, said, dwell_ms=1500, now=NOW)
    _, tie, first = annotating.history(database, "ann", "p")
    annotating.edit(database, "ann", "p", first.judgement, {"label": "both_bad", "rationale": "neither"}, now=NOW + 1)
    annotating.undo(database, "ann", "p", tie.judgement, now=NOW + 2)
    take_snapshot(database, "root", "p", "s1", now=NOW + 3)
    task = annotating.next_task(database, "bob", "p", now=NOW + 4)
    assert task is not None
    annotating.vote(database, "bob", "p", task.token, {"label": "right", "strength": 1}, dwell_ms=900, now=NOW + 4)
    return database


def test_one_row_for_every_judgement(judged: Database) -> None:
    with judged.read() as session:
        rows = list(votes_of(session, find_project(session, "p")))
    assert [(row["choice"], row["in_force"], row["supersedes"]) for row in rows] == [
        (rows[0]["shown_left"], False, None),
        ("tie", False, None),
        ("skip", True, None),
        ("both_bad", True, 1),
        ("withdrawn", False, 2),
        (rows[5]["choice"], True, None),
    ]
    assert [row["annotator"] for row in rows] == ["ann"] * 5 + ["bob"]
    assert (rows[0]["side"], rows[0]["strength"], rows[0]["rationale"]) == ("left", 3, "shorter")
    assert (rows[5]["side"], rows[5]["milliseconds"], rows[5]["given_at"]) == ("right", 900, NOW + 4)
    assert rows[2]["skip_reason"] == "I cannot tell"
    chosen = rows[5][f"response_{rows[5]['choice']}"][0]["content"]
    assert chosen.startswith("second" if rows[5]["shown_left"] == "a" else "first")


def test_the_judgements_of_a_snapshot(judged: Database) -> None:
    with judged.read() as session:
        assert [row["choice"] for row in votes_of(session, find_project(session, "p"), snapshot_id=1)] == [
            "skip",
            "both_bad",
        ]


def test_pseudonyms_tell_people_apart_and_not_who_they_are(judged: Database) -> None:
    """The same ones in every export, also after a name was removed; another database has others."""
    with judged.write() as session:
        key = pseudonym_key(session)
        assert pseudonym_key(session) == key
    with judged.read() as session:
        project = find_project(session, "p")
        first, second = ([r["annotator"] for r in votes_of(session, project, pseudonyms=key)] for _ in range(2))
        other = [r["annotator"] for r in votes_of(session, project, pseudonyms=b"another key")]
    assert first[0] == first[4] != first[5]
    assert first == second
    assert not {"ann", "bob", *other} & set(first)
    with judged.write() as session:
        forget(session, "ann", by="root", now=NOW)
    with judged.read() as session:
        assert [r["annotator"] for r in votes_of(session, find_project(session, "p"), pseudonyms=key)] == first


def test_every_column_of_a_judgement_comes_out(judged: Database) -> None:
    exported = {NAMES.get(c.name, c.name) for c in Judgement.__table__.columns if c.name not in INTERNAL}
    with judged.read() as session:
        row = next(votes_of(session, find_project(session, "p")))
    assert exported - {NAMES.get(name, name) for name in mappings()} <= set(row)


def test_judgements_given_while_an_export_runs_are_not_in_it(judged: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor do they change a row of it: what they supersede was in force when it began."""
    monkeypatch.setattr(votes, "CHUNK", 2)
    with judged.read() as session:
        rows = votes_of(session, find_project(session, "p"))
        seen = [next(rows)]
        before = annotating.history(judged, "bob", "p")[0].judgement
        annotating.edit(judged, "bob", "p", before, {"label": "tie"}, now=NOW + 9)
        seen += rows
    assert [row["judgement"] for row in seen] == [1, 2, 3, 4, 5, 6]
    assert seen[5]["in_force"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", ["votes.parquet", "votes", "votes.jsonl"])
def test_the_files_hold_the_same_rows(judged: Database, tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    for _ in range(2):  # what was written before is replaced
        assert write_votes(judged, "p", out, vote_format(out)) == 6
    with judged.read() as session:
        expected = list(votes_of(session, find_project(session, "p")))
    if name == "votes.jsonl":
        assert [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] == expected
        return
    if name == "votes":
        from datasets import load_from_disk

        rows = list(load_from_disk(str(out)))
    else:
        rows = parquet.read_table(out).to_pylist()
    assert [{key: row[key] for key in expected[0]} for row in rows] == expected
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_unknown_ending_and_a_foreign_directory_are_refused(judged: Database, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="votes-format"):
        vote_format(tmp_path / "votes.xlsx")
    assert vote_format(tmp_path / "votes.xlsx", "parquet") == "parquet"
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("kept")
    with pytest.raises(ProjectError, match="holds no data set"):
        write_votes(judged, "p", tmp_path / "precious", "datasets")
    assert (tmp_path / "precious" / "file").read_text() == "kept"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_command(judged: Database, tmp_path: Path) -> None:
    out = tmp_path / "votes.jsonl"
    db = judged.public_name
    done = CliRunner().invoke(app, ["annotate", "export", "--votes", str(out), "--pseudonyms", "--db", db])
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 6
    assert rows[0]["annotator"].startswith("annotator-")
    assert CliRunner().invoke(app, ["annotate", "export", "--db", db]).exit_code == 2
    words = ["annotate", "export", "--votes", str(out), "--snapshot", "none", "--db", db]
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, "no snapshot" in done.output) == (2, True)


def test_a_client_that_reads_slowly_holds_no_connection(judged: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(votes, "CHUNK", 2)
    with judged.read() as session:
        expected = list(votes_of(session, find_project(session, "p")))
    lines = vote_lines(judged, "root", "p")
    first = next(lines)
    assert judged._reader.pool.checkedout() == 0  # type: ignore[attr-defined]
    before = annotating.history(judged, "bob", "p")[0].judgement
    annotating.edit(judged, "bob", "p", before, {"label": "tie"}, now=NOW + 9)
    assert [json.loads(line) for line in (first, *lines)] == expected
