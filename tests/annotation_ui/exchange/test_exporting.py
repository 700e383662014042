"""Snapshots and exports: what is frozen, what is counted, and that the trainers read it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from annotation_ui.exchange.exporting import Export, ExportRule, export, take_snapshot, to_csv, write_export
from annotation_ui.labelling import session as annotating
from annotation_ui.labelling.judgements import adjudicate
from annotation_ui.store.accounts import Forbidden, add_user
from annotation_ui.store.database import Database
from annotation_ui.store.projects import ProjectError, Settings, find_project
from annotation_ui.store.tables import Item, Judgement, User
from annotation_ui.store.verdicts import Verdict
from reward_models.data.records import Comparison, SafetyLabel
from reward_models.data.sources import SourceError, load

NOW = 1_700_000_000.0
Fill = Callable[..., Database]
SETTINGS = Settings(votes_per_item=3, gold_rate=0, repeat_rate=0, eval_fraction=0)


def say(database: Database, item: int, *labels: tuple[str, int | None] | str) -> None:
    """Votes on item ``item`` by ann, bob and cyd, in canonical labels."""
    with database.write() as session:
        row = session.scalars(select(Item).where(Item.source_id == str(item))).one()
        people = session.scalars(select(User).where(User.name.in_(("ann", "bob", "cyd"))).order_by(User.name))
        for user, said in zip(people, labels, strict=False):
            label, strength = (said, None) if isinstance(said, str) else said
            session.add(
                Judgement(
                    item_id=row.id,
                    user_id=user.id,
                    revision=0,
                    adjudication=False,
                    label=label,
                    strength=strength,
                    harms=["self-harm"] if label == "unsafe" else [],
                    rationale="",
                    skip_reason="why not" if label == "skip" else "",
                    key=f"{row.id}-{user.id}",
                    created=NOW,
                )
            )


def exported(database: Database, rule: ExportRule | None = None, name: str = "s1") -> Export:
    with database.write() as session:
        if session.scalar(select(User).where(User.name == "root")) is None:
            add_user(session, "root", "admin", None, now=NOW)
    if rule is None or name == "s1":
        try:
            take_snapshot(database, "root", "p", name, now=NOW)
        except ProjectError:
            assert rule is not None
    with database.read() as session:
        return export(session, find_project(session, "p"), name, rule or ExportRule(min_votes=1))


def texts(rows: list[dict[str, Any]], key: str) -> list[str]:
    return [row[key][0]["content"] for row in rows]


def test_one_row_an_item_and_everything_counted(database: Database, fill: Fill) -> None:
    fill(database, items=8, settings=SETTINGS)
    say(database, 0, ("a", 3), ("a", 1), ("b", 3))
    say(database, 1, ("b", 2), ("b", 2), "skip")
    say(database, 2, "tie", "tie", ("a", 1))
    say(database, 3, "both_bad", "both_bad", "both_bad")
    say(database, 4, ("a", 1), ("b", 1))
    say(database, 5, "skip", "skip")
    say(database, 6, "a")
    result = exported(database)
    assert result.counts == {
        "exported": 3,
        "tie": 1,
        "both bad": 1,
        "votes split evenly": 1,
        "skipped by all": 1,
    }
    rows = result.rows["train"]
    assert texts(rows, "chosen") == ["first 0", "second 1", "first 6"]
    assert texts(rows, "rejected") == ["second 0", "first 1", "second 6"]
    assert [row.get("margin") for row in rows] == [2.0, 2.0, None]  # the mean strength of the votes that won
    assert [(row["votes"], row["agreement"]) for row in rows] == [(3, 2 / 3), (2, 1.0), (1, 1.0)]
    kept = exported(database, ExportRule(ties="keep", both_bad="tie", min_votes=2, min_agreement=0.7))
    assert kept.counts == {
        "exported": 2,
        "too little agreement": 2,
        "too few votes": 1,
        "votes split evenly": 1,
        "skipped by all": 1,
    }
    assert [row["margin"] for row in kept.rows["train"]] == [2.0, 0.0]


def test_a_reviewers_decision_outweighs_the_votes(database: Database, fill: Fill) -> None:
    fill(database, items=2, settings=SETTINGS)
    say(database, 0, ("a", 3), ("a", 3), ("a", 3))
    say(database, 1, ("a", 3), ("a", 3), ("a", 3))
    with database.write() as session:
        reviewer = add_user(session, "rev", "reviewer", None, now=NOW)
        project = find_project(session, "p")
        first, second = session.scalars(select(Item).order_by(Item.id))
        adjudicate(session, reviewer, project, first, Verdict(label="b", strength=1), seen=None, now=NOW)
        aside = Verdict(label="skip", skip_reason="I cannot tell")
        adjudicate(session, reviewer, project, second, aside, seen=None, now=NOW)
    result = exported(database)
    assert result.counts == {"exported": 1, "set aside by a reviewer": 1}
    [row] = result.rows["train"]
    assert (row["chosen"][0]["content"], row["margin"], row["agreement"]) == ("second 0", 1.0, 0.0)


def test_a_snapshot_never_changes(database: Database, fill: Fill) -> None:
    fill(database, items=2, settings=SETTINGS)
    say(database, 0, ("a", 3))
    before = exported(database)
    say(database, 1, ("b", 3))
    with database.read() as session:
        assert export(session, find_project(session, "p"), "s1", ExportRule(min_votes=1)).rows == before.rows
    assert len(exported(database, name="s2").rows["train"]) == 2
    with pytest.raises(ProjectError, match="already"):
        take_snapshot(database, "root", "p", "s1", now=NOW)
    with pytest.raises(ProjectError, match="there are: s1, s2"), database.read() as session:
        export(session, find_project(session, "p"), "s3")
    with pytest.raises(Forbidden):
        take_snapshot(database, "ann", "p", "s4", now=NOW)
    with pytest.raises(DBAPIError, match="append-only"), database.write() as session:
        session.connection().exec_driver_sql("DELETE FROM snapshot_judgements")


def test_dawid_skene_breaks_an_even_split_by_reliability(sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=31, settings=SETTINGS)
    for item in range(30):
        right = "a" if item % 2 else "b"
        wrong = "b" if item % 2 else "a"
        say(sqlite, item, right, right if item % 5 else wrong, wrong if item % 3 == 0 else right)
    say(sqlite, 30, "b", "skip", "a")
    assert exported(sqlite).counts["votes split evenly"] == 1
    rows = exported(sqlite, ExportRule(aggregate="dawid_skene")).rows["train"]
    assert texts(rows, "chosen")[-1] == "second 30"


def test_repeats_and_gold_items_are_not_exported(sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=40, gold=5, settings=Settings(gold_rate=0.2, repeat_rate=0.2, eval_fraction=0.5))
    while (task := annotating.next_task(sqlite, "ann", "p", now=NOW)) is not None:
        annotating.vote(sqlite, "ann", "p", task.token, {"label": "left", "strength": 1}, now=NOW)
    result = exported(sqlite)
    assert result.counts == {"exported": 40, "gold": 5}
    assert {row["votes"] for rows in result.rows.values() for row in rows} == {1}
    prompts = [{row["prompt"][0]["content"] for row in rows} for rows in result.rows.values()]
    assert min(map(len, prompts)) > 5
    assert not set.intersection(*prompts)


def test_the_trainers_read_every_file(sqlite: Database, fill: Fill, tmp_path: Path) -> None:
    fill(sqlite, items=4, settings=SETTINGS)
    say(sqlite, 0, ("a", 3))
    say(sqlite, 1, ("b", 1))
    say(sqlite, 2, "tie")
    result = exported(sqlite, ExportRule(ties="keep", min_votes=1))
    for file_format in ("jsonl", "parquet"):
        train = write_export(result, tmp_path / file_format, file_format)[0]  # type: ignore[arg-type]
        records = load(str(train), "comparison").records
        better = [getattr(r, f"response_{r.label}")[0].content for r in records if r.label != "tie"]
        assert better == ["first 0", "second 1"]
        assert [r.strength for r in records] == [3.0, 1.0, None]
    assert json.loads((tmp_path / "jsonl" / "report.json").read_text())["rows"] == {"train": 3, "eval": 0}


def test_safety_rows(database: Database, fill: Fill) -> None:
    fill(database, items=2, kind="safety", settings=SETTINGS)
    say(database, 0, "safe", "safe", "unsafe")
    say(database, 1, "unsafe")
    rows = exported(database).rows["train"]
    assert [(row["label"], row["category"], row["harms"]) for row in rows] == [
        (True, None, []),
        (False, "self-harm", ["self-harm"]),
    ]


@pytest.mark.parametrize(("wanted", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_more_than_half_of_the_votes_decide(sqlite: Database, fill: Fill, wanted: int, needed: int) -> None:
    fill(sqlite, items=3, settings=Settings(votes_per_item=wanted, gold_rate=0, repeat_rate=0, eval_fraction=0))
    for votes in (1, 2, 3):
        say(sqlite, votes - 1, *["a"] * votes)
    exported(sqlite)
    with sqlite.read() as session:
        counts = export(session, find_project(session, "p"), "s1").counts
    assert counts.get("too few votes", 0) == sum(votes < needed for votes in (1, 2, 3))


def test_names_of_harms_that_hold_commas_stay_apart(sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=1, kind="safety", settings=SETTINGS)
    harms = ["drug abuse, weapons, banned substance", "self-harm"]
    task = annotating.next_task(sqlite, "ann", "p", now=NOW)
    assert task is not None
    annotating.vote(sqlite, "ann", "p", task.token, {"label": "unsafe", "harms": harms}, now=NOW)
    [row] = exported(sqlite).rows["train"]
    assert row["harms"] == harms
    assert row["category"] == "drug abuse, weapons, banned substance; self-harm"


@pytest.mark.usefixtures("installed")
def test_training_straight_from_a_snapshot(sqlite: Database, fill: Fill) -> None:
    """The way ``data.train=[annotations://…]`` goes: an entry point of an installed distribution."""
    fill(sqlite, items=2, settings=SETTINGS)
    say(sqlite, 0, ("a", 3), ("a", 3))
    say(sqlite, 1, ("a", 3))  # one vote of three decides nothing
    exported(sqlite)
    spec = f"annotations://{sqlite.url.database}#p@s1"
    [record] = load(spec, "comparison").records
    assert isinstance(record, Comparison)
    assert record.source == "made up"
    assert load(f"{spec}:train", "comparison").records == [record]
    with pytest.raises(SourceError, match=r"no rows in annotations://.*:eval"):
        load(f"{spec}:eval", "comparison")
    for wrong in (spec + "9", spec + ":test", spec.replace("#p", "#q"), spec.split("#")[0]):
        with pytest.raises(SourceError, match="annotations://"):
            load(wrong, "comparison")
    with pytest.raises(SourceError, match="no installed package reads nonsense://"):
        load("nonsense://x", "comparison")


def test_safety_snapshots_are_safety_labels(sqlite: Database, fill: Fill, tmp_path: Path) -> None:
    fill(sqlite, items=1, kind="safety", settings=SETTINGS)
    say(sqlite, 0, "unsafe")
    train = write_export(exported(sqlite), tmp_path, "jsonl")[0]
    [record] = load(str(train), "safety").records
    assert isinstance(record, SafetyLabel)
    assert (record.label, record.category) == ("unsafe", "self-harm")


@pytest.mark.parametrize("start", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1"])
def test_no_cell_of_a_csv_is_a_formula(start: str) -> None:
    text = to_csv([{"prompt": [{"role": "user", "content": start}], "id": start, "margin": -1.5}])
    [row] = csv.DictReader(io.StringIO(text, newline=""))
    assert row["id"] == "'" + start
    assert row["prompt"].startswith("[")
    assert row["margin"] == "-1.5"  # a number, not text


def test_a_parquet_file_has_the_columns_of_all_rows(tmp_path: Path) -> None:
    """Marked passages are a column of some rows only."""
    from pyarrow import parquet

    spans = [{"start": 0, "end": 1, "text": "x", "label": "error", "note": ""}]
    rows = [{"id": "0", "label": True}, {"id": "1", "label": False, "spans": spans}]
    write_export(Export({"train": rows, "eval": []}, {}, "p@s1"), tmp_path, "parquet")
    assert parquet.read_table(tmp_path / "train.parquet").to_pylist() == [{**rows[0], "spans": None}, rows[1]]
