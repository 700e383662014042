"""Verdicts on single turns of a conversation: asked, checked, shown again, exported as records, and in agreement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from annotating import NOW
from kinds import PLAIN, fill_kind
from sqlalchemy import select
from typer.testing import CliRunner, Result

from annotation_ui.exchange.exporting import ExportRule, export, snapshot
from annotation_ui.labelling import session as annotating
from annotation_ui.quality.payloads import ORDER, TURNS, disagreement
from annotation_ui.quality.statistics import quality
from annotation_ui.store.database import Database
from annotation_ui.store.forms import DefinitionError, Form, read_definition
from annotation_ui.store.projects import ProjectError, find_project
from annotation_ui.store.tables import Snapshot
from annotation_ui.store.verdicts import VerdictError
from annotation_ui.web import pages
from keel.cli import app
from reward_models.data.sources import load

FORM = Form(turns=("good", "off topic", "wrong"))
PROMPT = [
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": "three"},
]


def judge(database: Database, who: str, turns: object, **said: Any) -> None:
    task = annotating.next_task(database, who, "p", now=NOW)
    assert task is not None
    annotating.vote(database, who, "p", task.token, {"label": "safe", "turns": turns} | said, now=NOW)


def filled(database: Database, items: int = 1, people: tuple[str, ...] = ("ann", "bob", "cyd")) -> None:
    rows = [{"id": str(n), "prompt": PROMPT, "response": f"four {n}"} for n in range(items)]
    from dataclasses import replace

    fill_kind(database, "safety", rows=rows, form=FORM, people=people, settings=replace(PLAIN, votes_per_item=3))


def test_turns_are_records_by_majority(database: Database, installed: Any) -> None:
    filled(database)
    judge(database, "ann", {"1": "good", "3": "wrong"})
    judge(database, "bob", {"1": "good", "3": "off topic"})
    judge(database, "cyd", {"1": "wrong", "3": "wrong"})
    with database.write() as session:
        project = find_project(session, "p")
        snapshot(session, project, "s1", author="root", now=NOW)
        rows = export(session, project, "s1", ExportRule(turns=True)).rows["train"]
        assert [row["completion"][0]["content"] for row in export(session, project, "s1").rows["train"]] == ["four 0"]
        with pytest.raises(ProjectError, match="by majority"):
            export(session, project, "s1", ExportRule(turns=True, aggregate="dawid_skene"))
    assert [(row["id"], row["prompt"], row["completion"][0]["content"]) for row in rows] == [
        ("0:1", PROMPT[:1], "two"),
        ("0:3", PROMPT, "four 0"),
    ]
    assert [(row["verdict"], row["label"], row["votes"], row["agreement"]) for row in rows] == [
        ("good", True, 3, pytest.approx(2 / 3)),
        ("wrong", False, 3, pytest.approx(2 / 3)),
    ]
    if database.sqlite:
        loaded = load([f"annotations://{database.public_name}#p@s1:turns"], "safety")
        assert [(record.label, record.response[0].content) for record in loaded.records] == [
            ("safe", "two"),
            ("unsafe", "four 0"),
        ]


def test_the_page_asks_for_every_turn_and_shows_what_was_said(sqlite: Database) -> None:
    filled(sqlite)
    html = pages.act(sqlite, "ann", {"action": "annotate", "project": "p"}, now=NOW)["html"]
    assert html.count('class="k-turn-verdict"') == 2
    assert 'name="turn/1" value="off topic"' in html
    assert 'name="turn/3"' in html
    judge(sqlite, "ann", {"1": "good", "3": "wrong"})
    [past] = annotating.history(sqlite, "ann", "p")
    asked = {"action": "open edit", "project": "p", "judgement": past.judgement}
    html = pages.act(sqlite, "ann", asked, now=NOW)["html"]
    assert 'name="turn/3" value="wrong" checked' in html
    case = pages.act(sqlite, "rev", {"action": "case", "project": "p", "item": 1}, now=NOW)["html"]
    assert "turn 4" in case
    asked = {
        "action": "decide",
        "project": "p",
        "item": 1,
        "said": {"label": "safe", "turns": {"1": "good", "3": "good"}},
    }
    assert pages.act(sqlite, "rev", asked, now=NOW)["note"] == "Decided"


def export_turns(database: Database, folder: Path) -> Result:
    words = ["annotate", "export", str(folder), "--project", "p", "--turns", "--db", database.public_name]
    return CliRunner().invoke(app, words)


def test_the_command_names_the_source_of_the_turns(sqlite: Database, tmp_path: Path) -> None:
    filled(sqlite)
    for who in ("ann", "bob"):
        judge(sqlite, who, {"1": "good", "3": "wrong"})
    done = export_turns(sqlite, tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert f"data.train=[annotations://{sqlite.public_name}#p@s1:turns]" in "".join(done.output.split("\n"))


def test_turns_of_a_project_that_asks_for_none_are_an_error(sqlite: Database, tmp_path: Path) -> None:
    fill_kind(sqlite, "safety", rows=[{"prompt": PROMPT, "response": "four"}])
    judge(sqlite, "ann", None)
    refused = export_turns(sqlite, tmp_path / "out")
    assert (refused.exit_code, "'p' asks for no verdicts on turns" in refused.output) == (2, True)
    assert not (tmp_path / "out").exists()
    with sqlite.read() as session:
        assert session.scalars(select(Snapshot)).all() == []


@pytest.mark.parametrize(
    ("turns", "says"),
    [
        (None, "not of the conversation"),
        (["good", "good"], "not of the conversation"),
        ({"1": "good"}, "turn 4 of the conversation has no verdict yet"),
        ({"0": "good", "1": "good", "3": "good"}, "not of the conversation"),
        ({"1": "good", "3": "<b>"}, "not one of the guideline's"),
        ({"1": "good", "3": ["good"]}, "not one of the guideline's"),
    ],
)
def test_turns_from_a_browser_are_checked(sqlite: Database, turns: object, says: str) -> None:
    filled(sqlite)
    with pytest.raises(VerdictError, match=says):
        judge(sqlite, "ann", turns)


def test_a_skip_needs_no_turns(sqlite: Database) -> None:
    filled(sqlite)
    judge(sqlite, "ann", None, label="skip", skip_reason="I cannot tell")
    assert [past.label for past in annotating.history(sqlite, "ann", "p")] == ["skip"]


def test_several_responses_leave_their_own_turns_to_the_verdict(sqlite: Database) -> None:
    fill_kind(sqlite, "ranking", rows=[{"prompt": PROMPT, "responses": ["x", "y"]}], form=FORM)
    judge(sqlite, "ann", {"1": "good"}, label="ranked", ranks=[1, 2])
    with sqlite.read() as session:
        found = quality(session, find_project(session, "p")).questions
    assert [each.name for each in found] == [ORDER, TURNS]


def test_disagreement_on_a_turn_goes_to_a_reviewer() -> None:
    assert disagreement([{"turns": {"1": "good"}}, {"turns": {"1": "good"}}]) is None
    assert disagreement([{"turns": {"1": "good"}}, {"turns": {"1": "wrong"}}]) is not None


def test_a_definition_with_turns() -> None:
    text = "kind: safety\nturns: [good, bad]\n"
    read = read_definition(text)
    assert read.form.turns == ("good", "bad")
    assert read_definition(read.to_yaml()) == read
    for wrong in ("turns: [good]", "turns: 7", "turns: [a, a]"):
        with pytest.raises(DefinitionError):
            read_definition(f"kind: safety\n{wrong}\n")
