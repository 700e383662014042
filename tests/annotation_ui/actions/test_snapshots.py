"""A snapshot as it is downloaded: its rows by kind of project, the command that trains on them, and by whom."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from typing import Any

import pytest
from annotating import NOW
from kinds import PLAIN, fill_kind, rank

from annotation_ui.actions.snapshots import SnapshotInfo, file_name, snapshot_info
from annotation_ui.actions.transfer import labelled_lines, take_snapshot
from annotation_ui.labelling import session as annotating
from annotation_ui.store.accounts import Forbidden
from annotation_ui.store.database import Database
from annotation_ui.store.forms import Form
from annotation_ui.store.membership import set_members_only
from annotation_ui.store.projects import ProjectError, find_project
from annotation_ui.web import pages

TALK = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}, {"role": "user", "content": "3"}]


def judge(database: Database, **said: Any) -> None:
    task = annotating.next_task(database, "ann", "p", now=NOW)
    assert task is not None
    annotating.vote(database, "ann", "p", task.token, said, now=NOW)


def taken(database: Database, who: str = "rev") -> SnapshotInfo:
    take_snapshot(database, "root", "p", "s1", now=NOW)
    return snapshot_info(database, who, "p", "s1")


def page(database: Database, who: str, snapshot: str = "s1") -> Any:
    asked = {"action": "open snapshot", "project": "p", "fields": {"snapshot": snapshot}}
    return pages.act(database, who, asked, now=NOW)


def test_a_ranking_gives_pairs_and_the_command_that_trains_on_them(sqlite: Database) -> None:
    fill_kind(sqlite, "ranking", items=4, settings=replace(PLAIN, votes_per_item=1))
    for order in ("abc", "a=bc", "a=b=c"):
        rank(sqlite, "ann", order)
    judge(sqlite, label="skip", skip_reason="I cannot tell")
    info = taken(sqlite)
    assert (info.project, info.name, info.kind, info.author) == ("p", "s1", "ranking", "root")
    [part] = info.parts
    assert (part.rows, part.train, part.held_out) == ("labels", 3 + 2, 0)
    assert part.items == {"exported": 2, "no pair decided": 1, "skipped by all": 1}
    lines = [json.loads(line) for line in labelled_lines(sqlite, "rev", "p", "s1", "train")]
    assert len(lines) == part.train
    assert part.command is not None
    assert shlex.split(part.command) == [
        *("keel", "train", "rm", "--config", "helpful_cpu", 'data.train=["p-s1-train.jsonl"]', "data.eval=[]"),
        "output_dir=runs/p",
    ]
    html = page(sqlite, "rev")["html"]
    assert 'download="p-s1-train.jsonl"' in html
    assert 'download="p-s1-eval.jsonl"' not in html
    assert "Nothing to evaluate with" in html


def test_ratings_with_a_comparison_give_pairs_as_well(sqlite: Database) -> None:
    form = Form(attributes={"helpfulness": "h", "tone": "t"}, comparison=True)
    fill_kind(sqlite, "attributes", items=1, responses=2, form=form)
    ratings = [{"helpfulness": 3, "tone": 1}, {"helpfulness": 1, "tone": 1}]
    judge(sqlite, label="rated", ratings=ratings, ranks=[1, 2])
    found = {part.rows: part for part in taken(sqlite).parts}
    assert {rows: part.train for rows, part in found.items()} == {"labels": 2, "pairs": 1}
    assert 'attributes={"helpfulness": 1.0}' in shlex.split(found["labels"].command or "")
    assert 'data.train=["p-s1-pairs-train.jsonl"]' in shlex.split(found["pairs"].command or "")
    [pair] = [json.loads(line) for line in labelled_lines(sqlite, "rev", "p", "s1", "train", "pairs")]
    assert pair["margin"] == 1
    assert f'download="{file_name("p", "s1", "pairs", "train")}"' in page(sqlite, "rev")["html"]


def test_equal_ratings_train_no_head_and_no_command_is_shown(sqlite: Database) -> None:
    fill_kind(sqlite, "attributes", items=1, responses=2, form=Form(attributes={"helpfulness": "h"}))
    judge(sqlite, label="rated", ratings=[{"helpfulness": 3}, {"helpfulness": 3}])
    [part] = taken(sqlite).parts
    assert (part.train, part.command) == (2, None)


def test_turns_are_rows_of_their_own(sqlite: Database) -> None:
    fill_kind(sqlite, "safety", rows=[{"prompt": TALK, "response": "four"}], form=Form(turns=("good", "wrong")))
    judge(sqlite, label="safe", turns={"1": "good", "3": "wrong"})
    found = {part.rows: part for part in taken(sqlite).parts}
    assert {rows: part.train for rows, part in found.items()} == {"labels": 1, "turns": 2}
    assert "safety_cpu" in (found["turns"].command or "")
    assert [json.loads(line)["label"] for line in labelled_lines(sqlite, "rev", "p", "s1", "train", "turns")] == [
        True,
        False,
    ]


def test_a_snapshot_without_rows_says_what_became_of_its_items(sqlite: Database) -> None:
    fill_kind(sqlite, "rewrite", rows=[{"prompt": "question", "response": "poor"}])
    judge(sqlite, label="written", text="better")
    [part] = taken(sqlite).parts
    assert (part.train, part.command, part.items) == (0, None, {"not read by a second person yet": 1})
    html = page(sqlite, "rev")["html"]
    assert "Nothing to train on." in html
    assert "With names" not in html  # a reviewer may have to accept a text
    assert "With names" in page(sqlite, "root")["html"]


def test_who_may_open_a_snapshot(sqlite: Database) -> None:
    fill_kind(sqlite, "ranking", items=1)
    rank(sqlite, "ann", "abc")
    taken(sqlite)
    with pytest.raises(Forbidden):
        snapshot_info(sqlite, "ann", "p", "s1")
    with pytest.raises(ProjectError, match="has no snapshot 's2'; there are: s1"):
        snapshot_info(sqlite, "rev", "p", "s2")
    assert page(sqlite, "rev", "<script>")["html"] is None
    with sqlite.write() as session:
        set_members_only(session, find_project(session, "p"), True, by="root", now=NOW)
    with pytest.raises(ProjectError, match="there is none for you yet"):
        snapshot_info(sqlite, "rev", "p", "s1")
