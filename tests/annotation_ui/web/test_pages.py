"""The one door of the app: what it answers, and what it lets nobody do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from annotating import in_hands
from sqlalchemy import select

from annotation_ui.store.accounts import add_user
from annotation_ui.store.database import Database
from annotation_ui.store.projects import Settings
from annotation_ui.store.tables import Judgement, Score, Snapshot, User
from annotation_ui.web import pages, rendering

NOW = 1_700_000_000.0
Fill = Callable[..., Database]


def act(database: Database, who: str | None, action: str, now: float = NOW, **asked: Any) -> dict[str, Any]:
    return pages.act(database, who, {"action": action, "project": "p", **asked}, now=now)


def token(reply: dict[str, Any]) -> str:
    found = re.search(r'data-token="([^"]+)"', reply["html"])
    assert found is not None
    return found[1]


def judge(database: Database, who: str, **said: Any) -> dict[str, Any]:
    reply = act(database, who, "annotate")
    return act(database, who, "vote", token=token(reply), ms=1000, said=said or {"label": "left", "strength": 3})


def test_a_vote_brings_the_next_item(sqlite: Database, fill: Fill) -> None:
    fill(sqlite)
    first = act(sqlite, "ann", "annotate")
    second = act(sqlite, "ann", "vote", token=token(first), ms=5, said={"label": "tie"})
    assert second["note"] == "Saved"
    assert token(first) != token(second)
    assert "<b>1</b> by you" in second["html"]
    again = act(sqlite, "ann", "vote", token=token(first), ms=5, said={"label": "tie"})
    assert token(again) == token(second)


def test_the_script_knows_the_address_of_every_page() -> None:
    script = (Path(pages.__file__).parent / "assets" / "app.js").read_text(encoding="utf-8")
    [listed] = re.findall(r"const PAGES = (\[.+\]);", script)
    of_roles = {name for of_role in pages.PAGES.values() for name, _ in of_role}
    assert set(json.loads(listed)) == of_roles | {"account"}


def test_what_comes_next_is_rendered_while_one_reads(sqlite: Database, fill: Fill) -> None:
    fill(sqlite)
    first = act(sqlite, "ann", "annotate")
    assert act(sqlite, "ann", "prepare") == {"html": None, "note": None, "error": None}
    before = rendering.markdown.cache_info()
    second = act(sqlite, "ann", "vote", token=token(first), ms=5, said={"label": "tie"})
    assert "question" in second["html"]
    assert rendering.markdown.cache_info().misses == before.misses
    assert act(sqlite, "ann", "annotate")["html"] == second["html"]


def test_no_count_on_the_page_tells_a_gold_item_or_a_repeat(sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=40, gold=20, settings=Settings(gold_rate=0.3, repeat_rate=0.2))
    shown = set()
    for _ in range(30):
        html = judge(sqlite, "ann")["html"]
        shown.update(re.findall(r"<span>(.*) of 40 votes</span>", html) + re.findall(r"<span>(.*) left for you", html))
        shown.update(re.findall(r'aria-valuenow="(\d+)"', html))
        assert all(int(number) <= 40 for text in shown for number in re.findall(r"\d+", text)), shown
    assert len(shown) > 5
    assert all(re.fullmatch(r"0|fewer than 10|about \d+0|\d+0", text) for text in shown), shown


def test_errors_say_what_was_not_done(sqlite: Database, fill: Fill) -> None:
    fill(sqlite)
    lost = act(sqlite, "ann", "vote", token="of nobody", ms=5, said={"label": "tie"})
    assert "not recorded" in lost["error"]
    assert token(lost)  # and what there is to judge now
    wrong = act(sqlite, "ann", "vote", token=token(lost), ms=5, said={"label": "maybe"})
    assert wrong["html"] is None
    assert "no verdict" in wrong["error"]


@pytest.mark.parametrize(
    "asked",
    [
        None,
        [],
        "annotate",
        {},
        {"action": ["vote"]},
        {"action": "__class__"},
        {"action": "vote"},
        {"action": "vote", "said": {}, "token": 5, "ms": 5},
        {"action": "vote", "said": [], "token": "x", "ms": 5},
        {"action": "vote", "said": {}, "token": "x", "ms": "5"},
        {"action": "undo", "judgement": "1"},
        {"action": "undo", "judgement": True},
        {"action": "open edit", "judgement": 10**30},
        {"action": "difference", "left": 1, "right": "x"},
        {"action": "annotate", "project": "no such"},
        {"action": "annotate", "project": {"a": 1}},
    ],
)
def test_anything_at_all_may_be_asked(sqlite: Database, fill: Fill, asked: object) -> None:
    fill(sqlite)
    reply = pages.act(sqlite, "ann", asked, now=NOW)
    assert set(reply) == {"html", "note", "error"}
    with sqlite.read() as session:
        assert session.scalars(select(Judgement)).all() == []


def test_no_account_no_answer(sqlite: Database, fill: Fill) -> None:
    fill(sqlite)
    for action in pages.ACTIONS:
        asked = {
            "judgement": 1,
            "item": 1,
            "token": "x",
            "ms": 1,
            "said": {},
            "name": "x",
            "left": "",
            "right": "",
            "snapshot": "x",
        }
        for who in (None, "nobody"):
            reply = act(sqlite, who, action, **asked)
            assert (reply["html"], reply["error"]) == (None, "log in first"), action


@pytest.mark.parametrize("action", ["review", "case", "decide", "dashboard", "snapshot", "train"])
def test_what_reviewers_do_is_not_for_annotators(sqlite: Database, fill: Fill, action: str) -> None:
    fill(sqlite)
    reply = act(sqlite, "ann", action, item=1, said={"label": "tie"}, name="x", snapshot="x")
    assert reply["html"] is None
    assert "role" in reply["error"]
    with sqlite.read() as session:
        assert session.scalars(select(Snapshot)).all() == []
    assert "Dashboard" not in act(sqlite, "ann", "annotate")["html"]


def test_nothing_of_the_model_or_of_others_is_in_the_page(sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=1, settings=Settings(votes_per_item=2, gold_rate=0, repeat_rate=0))
    with sqlite.write() as session:
        session.add(Score(item_id=1, scorer="secret-rm", score_a=5.25, score_b=1.0, created=NOW))
    judge(sqlite, "bob", label="tie", rationale="bob thinks so")
    html = act(sqlite, "ann", "annotate")["html"]
    assert not any(secret in html for secret in ("model-x", "secret-rm", "4.25", "bob"))
    assert judge(sqlite, "ann")["note"] == "Saved"


def test_scores_after_the_vote_where_the_project_shows_them(sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=2, settings=Settings(gold_rate=0, repeat_rate=0, show_scores=True))
    with sqlite.write() as session:
        session.add(Score(item_id=1, scorer="secret-rm", score_a=5.25, score_b=1.0, created=NOW))
    reply = judge(sqlite, "ann")
    assert "secret-rm prefers" in reply["note"]
    assert 'data-act="undo" data-judgement="" disabled' in reply["html"]
    assert 'data-act="edit"' not in act(sqlite, "ann", "history")["html"]
    assert "final" in act(sqlite, "ann", "undo", judgement=1)["error"]
    assert "secret-rm" not in act(sqlite, "ann", "annotate")["html"]


def test_a_reviewer_decides_what_annotators_disagree_about(sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=1, settings=Settings(votes_per_item=2, gold_rate=0, repeat_rate=0))
    with sqlite.write() as session:
        add_user(session, "rev", "reviewer", None, now=NOW)
    judge(sqlite, "ann", label="tie")
    assert "No two annotators disagree" in act(sqlite, "rev", "review")["html"]
    judge(sqlite, "bob", label="both_bad", rationale="<b>neither</b>")
    assert 'data-item="1"' in act(sqlite, "rev", "review")["html"]
    case = act(sqlite, "rev", "case", item=1)["html"]
    assert "&lt;b&gt;neither&lt;/b&gt;" in case
    assert "model-x" in case
    assert case.index("k-opinions") < case.index("bob")  # folded, until the reviewer has a view
    left_is_a = case.index("first 0") < case.index("second 0")
    assert ("model-x (A) and model-y (B)" in case) == left_is_a
    said = {"label": "left", "strength": 1}
    assert act(sqlite, "rev", "decide", item=1, seen=None, said=said)["note"] == "Decided"
    assert act(sqlite, "rev", "decide", item=1, seen=None, said=said)["note"] == "Decided"  # sent twice, once counted
    stale = act(sqlite, "rev", "decide", item=1, seen=None, said={"label": "tie"})
    assert "another reviewer" in stale["error"]
    assert "No two annotators disagree" in stale["html"]  # the list, and no item to annotate
    with sqlite.read() as session:
        [decision] = session.scalars(select(Judgement).where(Judgement.adjudication))
        shown = "a" if left_is_a else "b"
        assert (decision.label, decision.strength, decision.left) == (shown, 1, shown)


def test_a_reviewer_sees_every_verdict_by_the_sides_of_the_own_screen(sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=30, settings=Settings(votes_per_item=2, gold_rate=0, repeat_rate=0))
    with sqlite.write() as session:
        add_user(session, "rev", "reviewer", None, now=NOW)
        users = {user.name: user.id for user in session.scalars(select(User))}
        for item in range(1, 31):
            for who, label in (("ann", "a"), ("bob", "tie")):
                session.add(
                    Judgement(
                        item_id=item,
                        user_id=users[who],
                        revision=0,
                        adjudication=False,
                        label=label,
                        strength=3 if label == "a" else None,
                        harms=[],
                        rationale="",
                        skip_reason="",
                        key=f"{item}-{who}",
                        created=NOW,
                    )
                )
            session.add(Score(item_id=item, scorer="rm", score_a=1.0, score_b=0.0, created=NOW))
    sides = set()
    listed = re.findall(r'k-is-(left|right)".*?data-item="(\d+)"', act(sqlite, "rev", "review")["html"], re.DOTALL)
    for side, item in listed:
        case = act(sqlite, "rev", "case", item=int(item))["html"]
        first = case.index(f"first {int(item) - 1}<") < case.index(f"second {int(item) - 1}<")
        side_of_a = "left" if first else "right"
        assert side == side_of_a
        assert f"k-is-{side_of_a}" in case
        assert f"prefers {'A' if first else 'B'}" in case
        sides.add(side_of_a)
    assert len(listed) == 30
    assert sides == {"left", "right"}


def test_a_confident_model_against_the_people_is_a_case(sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=4)
    with sqlite.write() as session:
        add_user(session, "rev", "reviewer", None, now=NOW)
        for item in range(1, 5):
            session.add(Score(item_id=item, scorer="rm", score_a=9.0 if item == 1 else 0.1, score_b=0.0, created=NOW))
    for _ in range(4):
        reply = act(sqlite, "ann", "annotate")
        left_is_a = reply["html"].index("first ") < reply["html"].index("second ")
        said = {"label": "right" if left_is_a else "left", "strength": 1}
        act(sqlite, "ann", "vote", token=token(reply), ms=1, said=said)
    html = act(sqlite, "rev", "review")["html"]
    assert re.findall(r'data-item="(\d+)"', html) == ["1"]
    assert "confident of the opposite: rm" in html


@pytest.mark.parametrize("kind", ["preference", "safety"])
def test_the_dashboard_and_its_snapshots(sqlite: Database, fill: Fill, kind: str) -> None:
    fill(sqlite, kind=kind, people=("root",), role="admin")
    assert "undefined" in act(sqlite, "root", "dashboard")["html"]
    assert "nothing has been judged" in act(sqlite, "root", "snapshot", name="")["error"]
    judge(sqlite, "root", **({"label": "safe"} if kind == "safety" else {"label": "right", "strength": 3}))
    reply = act(sqlite, "root", "snapshot", name="first")
    assert reply["note"] == "Snapshot first is taken"
    assert "p@first" in reply["html"]
    assert ("Position bias" in reply["html"]) == (kind == "preference")
    assert "1 of 3 votes · 1 of 3 items complete, 1 not begun · 1 on annotators' screens" in reply["html"]
    for word in ("Odd", "Same again", "Reliable", "in force", "Hasty"):
        assert word not in reply["html"]


def test_why_there_is_nothing_to_do(sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=1)
    reply = act(sqlite, "ann", "annotate")
    waiting = act(sqlite, "bob", "annotate", now=NOW + 60)["html"]
    assert "on other people" in waiting
    assert "14 min" in waiting
    act(sqlite, "ann", "vote", token=token(reply), ms=1, said={"label": "tie"})
    assert "Every item has all the votes it needs" in act(sqlite, "bob", "annotate")["html"]
    assert "You have seen everything" in act(sqlite, "ann", "annotate")["html"]


def test_an_empty_database_says_how_to_begin(sqlite: Database) -> None:
    with sqlite.write() as session:
        add_user(session, "ann", "annotator", None, now=NOW)
        add_user(session, "root", "admin", None, now=NOW)
    for action in ("start", "annotate"):
        assert "An admin has to make a project" in pages.act(sqlite, "ann", {"action": action}, now=NOW)["html"]
        html = pages.act(sqlite, "root", {"action": action}, now=NOW)["html"]
        assert re.search(r'data-open="project">Make a project<', html)


def test_the_first_page_of_a_reviewer_takes_no_item_from_the_annotators(sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=1)
    with sqlite.write() as session:
        add_user(session, "rev", "reviewer", None, now=NOW)
        add_user(session, "root", "admin", None, now=NOW)
    for who, shown in (("rev", "Disagreements to decide"), ("root", "Progress"), ("ann", "question 0")):
        html = pages.act(sqlite, who, {"action": "start", "project": None}, now=NOW)["html"]
        assert shown in html, who
        assert in_hands(sqlite) == (who == "ann")
    alone = pages.act(sqlite, "root", {"action": "start", "project": None}, now=NOW, can_log_out=False)
    assert "All taken for the moment" in alone["html"]
    assert "data-poll" in alone["html"]  # the one user of a server without accounts
    assert "data-poll" not in pages.act(sqlite, "rev", {"action": "annotate", "project": None}, now=NOW)["html"]
