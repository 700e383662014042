"""The pages over both databases: a day of an annotator, a reviewer and an admin, each page and action at least once."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from annotation_ui.exchange.scoring import add_scores, items_to_score
from annotation_ui.store.accounts import add_user
from annotation_ui.store.database import Database
from annotation_ui.store.projects import Settings, find_project
from annotation_ui.web import pages

NOW = 1_700_000_000.0
PASSWORD = "correct horse"
FILTERS: tuple[dict[str, str], ...] = (
    {"q": "question 1"},
    {"q": "quest*"},
    {"label": "a"},
    {"annotator": "ann", "guideline": "1"},
    *({"agreement": agreement} for agreement in ("agree", "disagree", "one vote", "no vote")),
    {"decided": "no", "source": "made up"},
    {"shortest": "1", "longest": "1000", "sort": "longest"},
    {"sort": "newest"},
    {"sort": "shortest"},
    {"model": "m", "model_view": "against"},
    {"model_view": "with"},
)


@pytest.fixture
def act(database: Database, fill: Callable[..., Database]) -> Callable[..., Any]:
    """Six items with two votes each wanted; an action of somebody, which must not fail."""
    fill(database, items=6, people=("ann", "bob"), settings=Settings(votes_per_item=2, gold_rate=0, repeat_rate=0))
    with database.write() as session:
        add_user(session, "rev", "reviewer", PASSWORD, now=NOW)
        add_user(session, "root", "admin", PASSWORD, now=NOW)
        add_user(session, "chief", "admin", PASSWORD, now=NOW)

    def run(who: str, action: str, fields: dict[str, str] | None = None, **asked: Any) -> Any:
        sent = {"action": action, "project": "p", **asked} | ({} if fields is None else {"fields": fields})
        reply = pages.act(database, who, sent, now=NOW)
        assert reply["error"] is None, (action, reply["error"])
        return reply

    return run


def vote(act: Callable[..., Any], who: str, label: str) -> None:
    html = act(who, "annotate")["html"]
    token = re.search(r'data-token="([^"]+)"', html)
    assert token is not None
    said = {"label": label, "strength": 1} if label in ("left", "right") else {"label": label}
    act(who, "vote", token=token[1], said=said, ms=2000)


def test_a_day_of_an_annotator(act: Callable[..., Any]) -> None:
    for label in ("left", "right", "tie", "both_bad"):
        vote(act, "ann", label)
    html = act("ann", "history")["html"]
    numbers = [int(number) for number in re.findall(r'data-judgement="(\d+)"', html)]
    act("ann", "open edit", judgement=numbers[0])
    act("ann", "edit", judgement=numbers[0], said={"label": "left", "strength": 3})
    newest = act("ann", "history")["html"]
    act("ann", "undo", judgement=int(re.findall(r'data-judgement="(\d+)"', newest)[0]))
    act("ann", "prepare")
    act("ann", "account")


def test_a_day_of_a_reviewer_and_an_admin(act: Callable[..., Any], database: Database) -> None:
    for who, labels in (("ann", ("left", "tie", "left")), ("bob", ("tie", "tie", "right"))):
        for label in labels:
            vote(act, who, label)
    with database.write() as session:
        project = find_project(session, "p")
        rows = list(items_to_score(session, project))
        scores = [{"response_a": {"raw": 1.0 + n}, "response_b": {"raw": 2.0}} for n in range(len(rows))]
        add_scores(session, project, "m", rows, scores, author="root", now=NOW)
    for fields in FILTERS:
        html = act("rev", "items", fields)["html"]
        assert "k-table" in html or "0 items" in html, fields
    act("rev", "save view", {"agreement": "disagree", "view_name": "open", "view_shared": "yes"})
    item = int(re.findall(r'data-item="(\d+)"', act("rev", "review")["html"])[0])
    act("rev", "case", item=item)
    act("rev", "decide", item=item, said={"label": "tie"}, seen=None)
    act("root", "dashboard")
    act("root", "snapshot", name="s1")
    act("root", "remove view", {"view": "1"})
    act("root", "project")
    settings = {"votes_per_item": "3", "gold_rate": "0", "repeat_rate": "0", "lease_seconds": "900"}
    act("root", "settings", settings)
    act("root", "guideline", {"guideline": "Be fair."})
    for what in ("add", "remove"):
        act("root", "member", {"name": "ann", "what": what})
    act("root", "release", {})
    act("root", "add webhook", {"url": "https://example.org", "event judged": "yes"})
    for what in ("test", "disable", "enable", "remove"):
        act("root", "change webhook", {"webhook": "1", "what": what})
    act("root", "change user", {"what": "role", "name": "ann", "role": "reviewer"})
    act("root", "change user", {"what": "forget", "name": "bob"})
    act("root", "make token", {"name": "t", "days": "3", "scope_read": "yes"})
    act("root", "revoke token", {"token": "1"})
    act("root", "create project", {"name": "q", "kind": "safety", "votes_per_item": "1"})
    for what in ("archive", "restore"):
        act("root", "archive", {"what": what})
    act("root", "users")
    act(
        "root",
        "change password",
        {"password": PASSWORD, "new_password": "another horse", "new_password_again": "another horse"},
    )
    act("chief", "sign out everywhere", {})
