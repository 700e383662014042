"""Every action of the pages by role, from the table of actions itself: none can be added without its role."""

from __future__ import annotations

from typing import Any

import pytest
from annotating import NOW
from kinds import fill_kind
from sqlalchemy import func, select

from annotation_ui.store.accounts import ROLES
from annotation_ui.store.database import Database
from annotation_ui.store.tables import Event, Job, Judgement, Snapshot
from annotation_ui.web import pages

RANK = {"annotator": 0, "reviewer": 1, "admin": 2}
PEOPLE = {"annotator": "ann", "reviewer": "rev", "admin": "root"}
# The lowest role that may use an action.
NEEDS = {
    "annotator": (
        *("annotate", "vote", "undo", "history", "open edit", "edit", "prepare", "difference", "draft", "preview"),
        *("start", "account", "change password", "sign out everywhere", "make token", "revoke token"),
    ),
    "reviewer": (
        *("review", "case", "decide", "reading", "decide text", "dashboard", "let go on", "open snapshot"),
        *("items", "next case", "save view", "remove view"),
    ),
    "admin": (
        *("users", "change user", "project", "settings", "guideline", "define", "member", "release", "archive"),
        *("create project", "webhooks", "add webhook", "change webhook", "snapshot", "train"),
    ),
}
LOWEST = {action: role for role, actions in NEEDS.items() for action in actions}


def ask(database: Database, who: str | None, action: str) -> dict[str, Any]:
    """An action with something in every field that any action reads."""
    fields = {"name": "ann", "what": "disable", "role": "annotator", "kind": "safety", "guideline": "1", "webhook": "1"}
    fields |= {"definition": "kind: preference", "url": "https://example.org", "event judged": "yes", "view": "1"}
    fields |= {"view_name": "v", "votes_per_item": "3", "days": "1", "scope_read": "yes", "token": "1"}
    asked = {"judgement": 1, "item": 1, "token": "x", "ms": 1, "said": {"label": "tie"}, "name": "x", "left": "a"}
    asked |= {"right": "b", "snapshot": "x", "text": "x", "fields": fields, "action": action, "project": "p"}
    return pages.act(database, who, asked, now=NOW)


def record(database: Database) -> list[int]:
    with database.read() as session:
        return [session.scalar(select(func.count(table.id))) or 0 for table in (Event, Judgement, Snapshot, Job)]


def test_the_role_of_every_action_is_known() -> None:
    assert LOWEST.keys() == pages.ACTIONS.keys()
    assert set(NEEDS) == set(ROLES)
    for role, shown in pages.PAGES.items():
        assert all(RANK[LOWEST[name]] <= RANK[role] for name, _ in shown), role  # nobody is shown a page to be refused


@pytest.mark.parametrize("action", pages.ACTIONS)
def test_every_action_by_role(sqlite: Database, action: str) -> None:
    """A lower role is refused and changes nothing; any other may be told that the request makes no sense, not that."""
    rows = [{"prompt": "q", "response_a": "one", "response_b": "two"}]
    fill_kind(sqlite, "preference", rows=rows, people=("ann",))
    before = record(sqlite)
    for role, who in PEOPLE.items():
        if RANK[role] < RANK[LOWEST[action]]:
            reply = ask(sqlite, who, action)
            assert reply["html"] is None
            assert "this is for the role" in reply["error"], reply["error"]
            assert record(sqlite) == before
    assert ask(sqlite, None, action)["error"] == "log in first"
    for role, who in PEOPLE.items():
        if RANK[role] >= RANK[LOWEST[action]]:
            assert "this is for the role" not in (ask(sqlite, who, action)["error"] or ""), role
