"""The pages of administration: what they show to whom, what they change, and that nothing hostile gets through them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from administered import NOW, Fill, act, judge
from sqlalchemy import select, text

from annotation_ui.actions import browsing
from annotation_ui.labelling import session as annotating
from annotation_ui.store.accounts import add_user, credentials_hold, login_of, open_login
from annotation_ui.store.database import Database
from annotation_ui.store.projects import Settings
from annotation_ui.store.tables import Event, Guideline, Item, Project, User
from annotation_ui.web import administration_pages, form_fields
from annotation_ui.web.login_limits import PER_DEVICE, LoginLimits

WEBHOOKS = ("webhooks", "add webhook", "change webhook")
ADMIN = (
    *WEBHOOKS,
    "users",
    "change user",
    "project",
    "settings",
    "guideline",
    "member",
    "release",
    "archive",
    "create project",
)
PAYLOADS = json.loads((Path(__file__).parent / "payloads.json").read_text())


def test_only_admins_administer_and_only_reviewers_browse(filled: Database) -> None:
    for action in ADMIN:
        for who in ("ann", "rev"):
            reply = act(
                filled, who, action, {"name": "bob", "what": "disable", "kind": "safety", "votes_per_item": "1"}
            )
            assert (reply["html"], bool(reply["error"])) == (None, True), (action, who)
    for action in ("items", "next case", "save view", "remove view"):
        assert "role" in act(filled, "ann", action, {}, item=1)["error"]
    assert act(filled, "rev", "items")["html"]
    with filled.read() as session:
        assert session.scalar(select(User.active).where(User.name == "bob"))
        assert session.scalars(select(Project.name)).all() == ["p"]
    html = act(filled, "ann", "annotate")["html"]
    assert not any(f'data-open="{page}"' in html for page in ("items", "project", "users"))
    assert 'data-open="account"' in html


def test_users_are_added_changed_and_removed(filled: Database) -> None:
    added = {"what": "add", "name": "eve", "role": "annotator", "password": " twelve letters "}
    assert "eve may log in" in act(filled, "root", "change user", added)["note"]
    act(filled, "root", "change user", {"what": "role", "name": "eve", "role": "reviewer"})
    act(filled, "root", "change user", {"what": "password", "name": "eve", "password": "another password"})
    with filled.read() as session:
        assert credentials_hold(session, "eve", "another password")
    html = act(filled, "root", "change user", {"what": "disable", "name": "eve"})["html"]
    assert "disabled" in html
    act(filled, "root", "change user", {"what": "enable", "name": "eve"})
    assert "person-" in act(filled, "root", "change user", {"what": "forget", "name": "eve"})["note"]
    for fields in (
        {"what": "role", "name": "nobody", "role": "admin"},
        {"what": "role", "name": "ann", "role": "king"},
        {"what": "add", "name": "x", "role": "annotator", "password": "short"},
        {"what": "delete", "name": "ann"},
        {},
    ):
        assert act(filled, "root", "change user", fields)["error"]
    act(filled, "root", "change user", {"what": "disable", "name": "chief"})
    assert (
        "last admin"
        in act(filled, "root", "change user", {"what": "role", "name": "root", "role": "reviewer"})["error"]
    )
    with filled.read() as session:
        actors = session.scalars(select(Event.actor).where(Event.kind.in_(["user disabled", "role changed"]))).all()
    assert set(actors) == {"root"}


def test_the_item_browser_finds_pages_and_goes_on(filled: Database) -> None:
    judge(filled, "ann", label="tie")
    judge(filled, "bob", label="both_bad")
    html = act(filled, "rev", "items", {"agreement": "disagree"})["html"]
    [number] = re.findall(r'data-act="case" data-item="(\d+)"', html)
    assert "1\n" not in html
    assert "Tie" in html
    assert "Both bad" in html
    case = act(filled, "rev", "case", {"sort": "oldest"}, item=1)["html"]
    assert 'data-act="next-case"' in case
    assert 'data-item="2"' in act(filled, "rev", "next case", {"sort": "oldest"}, item=1)["html"]
    assert "last item" in act(filled, "rev", "next case", {"agreement": "disagree"}, item=int(number))["error"]
    assert "no word" in act(filled, "rev", "items", {"q": "-"})["error"]
    assert "whole number" in act(filled, "rev", "items", {"longest": "ten"})["error"]
    assert "sort is one of" in act(filled, "rev", "items", {"sort": "best"})["error"]


def test_a_case_shows_its_history_by_the_sides_of_the_reviewer(filled: Database) -> None:
    judge(filled, "ann", label="left", strength=3, rationale="first thought")
    past = annotating.history(filled, "ann", "p")[0].judgement
    annotating.edit(filled, "ann", "p", past, {"label": "tie", "rationale": "second thought"}, now=NOW)
    with filled.read() as session:
        number = session.scalar(select(Item.id).where(Item.taken > 0))
    html = act(filled, "rev", "case", item=number)["html"]
    assert "2 entries" in html
    assert html.index("first thought") < html.index("second thought", html.index("2 entries"))
    assert "replaced" in html
    said = {"label": "tie"}
    act(filled, "rev", "decide", item=number, seen=None, said=said)
    html = act(filled, "rev", "case", item=number)["html"]
    seen = int(re.findall(r'data-seen="(\d+)"', html)[0])
    act(filled, "rev", "decide", item=number, seen=seen, said={"label": "both_bad", "rationale": "looked again"})
    html = act(filled, "rev", "case", item=number)["html"]
    assert html.count("(decision)") == 2
    assert "looked again" in html


def test_an_item_of_rewrites_is_looked_at_and_names_no_writer(sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=1, kind="safety", settings=Settings(gold_rate=0, repeat_rate=0))
    with sqlite.write() as session:
        add_user(session, "rev", "reviewer", None, now=NOW)
        session.execute(text("UPDATE projects SET kind = 'rewrite'"))
    judge(sqlite, "ann", label="written", text="a better answer")
    html = act(sqlite, "rev", "case", item=1)["html"]
    assert '<b dir="auto">writer</b>' in html
    assert "<b>writer</b>" in html
    assert "ann" not in re.findall(r">([a-z]+)</b>", html)
    assert "a better answer" in html
    assert "k-dock" not in html
    assert 'data-act="write"' not in html  # there is nothing to write on this page
    assert 'data-act="write"' in act(sqlite, "ann", "open edit", judgement=1)["html"]
    assert "page Review" in act(sqlite, "rev", "decide", item=1, seen=None, said={"label": "written"})["error"]


def test_a_project_is_administered(filled: Database) -> None:
    settings = {"votes_per_item": "3", "gold_rate": "0.1", "repeat_rate": "0", "lease_seconds": "600"}
    settings["members_only"] = "yes"
    reply = act(filled, "root", "settings", settings)
    assert "Saved" in reply["note"]
    assert 'value="3"' in reply["html"]
    few = "the training round has 9 items, but the project has a known answer for 0 only"
    assert few in act(filled, "root", "settings", settings | {"training_items": "9"})["html"]
    chinese = act(filled, "root", "project", language="zh-CN")["html"]
    assert "培训阶段需要 9 条，但只有 0 条有已知答案" in chinese
    assert "检查条目的比例 0.1 不起作用" in chinese
    usual = act(filled, "root", "settings", settings | {"training_items": "0", "gold_rate": "0.05"})["html"]
    assert few not in usual
    assert "has no effect" not in usual  # the default share, where nobody asked for checks
    for wrong in ({"votes_per_item": "0"}, {"gold_rate": "much"}, {"gold_rate": "nan"}, {"lease_seconds": "1"}):
        assert act(filled, "root", "settings", settings | wrong)["error"], wrong
    assert "at most 2592000 seconds" in act(filled, "root", "settings", settings | {"lease_seconds": "1e7"})["error"]
    act(filled, "root", "member", {"what": "add", "name": "ann"})
    assert act(filled, "bob", "annotate")["error"]
    assert "version 2" in act(filled, "root", "guideline", {"guideline": "Be *fair*."})["html"]
    assert act(filled, "ann", "annotate")["html"]
    assert "1 items" in act(filled, "root", "release", {"name": "ann"})["note"]
    assert "Archived" in act(filled, "root", "archive", {"what": "archive"})["note"]
    assert "Open again" in act(filled, "root", "archive", {"what": "restore"})["note"]
    made = act(filled, "root", "create project", {"name": "care", "kind": "safety", "votes_per_item": "2"})
    quarter = {"name": "quarter", "kind": "ranking", "votes_per_item": "1", "eval_fraction": "0.25"}
    assert "cannot be changed: 0.25" in re.sub(r"\s+", " ", act(filled, "root", "create project", quarter)["html"])
    assert "below 1" in act(filled, "root", "create project", quarter | {"name": "q", "eval_fraction": "1"})["error"]
    assert 'data-project="care"' in made["html"]
    assert "kind is one of" in act(filled, "root", "create project", {"name": "x", "kind": "x"})["error"]
    with filled.read() as session:
        assert session.scalars(select(Guideline.text).where(Guideline.version == 2)).all() == ["Be *fair*."]


def test_webhooks_are_added_tried_disabled_and_removed(filled: Database) -> None:
    given = {"url": "https://example.org/<b>", "event judged": "yes", "event imported": "yes", "project": "p"}
    html = act(filled, "root", "add webhook", given)["html"]
    secret = re.search(r'class="k-secret" readonly value="([^"]+)"', html)
    assert secret is not None
    assert "https://example.org/&lt;b&gt;" in html
    assert secret[1] not in act(filled, "root", "webhooks")["html"]
    for what, shown in (("disable", "Enable"), ("enable", "Disable"), ("test", "webhook tested")):
        reply = act(filled, "root", "change webhook", {"webhook": "1", "what": what})
        assert shown in reply["html"], what
    assert "waiting" in act(filled, "root", "webhooks", {"webhook": "1"})["html"]
    assert "There is none yet" in act(filled, "root", "change webhook", {"webhook": "1", "what": "remove"})["html"]
    for fields in (
        {"webhook": "1", "what": "test"},
        {"webhook": "x", "what": "test"},
        {"what": "test"},
        {"webhook": "1"},
    ):
        assert act(filled, "root", "change webhook", fields)["error"], fields
    private = {"url": "http://127.0.0.1:9/", "event judged": "yes"}
    assert "127.0.0.1 is no public address" in act(filled, "root", "add webhook", private)["html"]
    assert "127.0.0.1 不是公网地址" in act(filled, "root", "webhooks", language="zh-CN")["html"]
    for fields in ({"url": "ftp://x", "event judged": "yes"}, {"url": "https://example.org"}):
        assert act(filled, "root", "add webhook", fields)["error"], fields


def test_views_are_saved_opened_and_removed(filled: Database) -> None:
    save = {"q": "question", "agreement": "no vote", "view_name": "<i>open</i>", "view_shared": "yes"}
    html = act(filled, "rev", "save view", save)["html"]
    assert "&lt;i&gt;open&lt;/i&gt;" in html
    [kept] = re.findall(r'<button type="button" data-do="items" data-fields=\'([^\']+)\' aria-current', html)
    assert json.loads(kept.replace("&#34;", '"').replace("&quot;", '"')) == {"q": "question", "agreement": "no vote"}
    html = act(filled, "root", "items", {})["html"]
    assert "&lt;i&gt;open&lt;/i&gt;" in html
    assert "shared by rev" in html
    assert "open" not in act(filled, "root", "remove view", {"view": "1"})["html"].partition("k-views")[2][:200]
    assert act(filled, "rev", "save view", {"q": "question", "view_name": ""})["error"]
    assert act(filled, "rev", "remove view", {"view": "1"})["error"]


def test_a_list_of_values_that_is_cut_says_so_and_keeps_the_value_in_force(
    filled: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "only</option>" not in act(filled, "rev", "items", {})["html"]
    monkeypatch.setattr(browsing, "LISTED", 1)
    judge(filled, "ann", label="tie")
    judge(filled, "bob", label="tie")
    html = act(filled, "rev", "items", {"annotator": "bob"})["html"]
    listed = html.partition('<select name="annotator">')[2].partition("</select>")[0]
    assert re.findall(r"<option ([^>]*)>([^<]*)", listed) == [
        ('value=""', "any"),
        ('value="ann"', "ann"),
        ('value="bob" selected', "bob"),
        ("disabled", "the first 200 only"),
    ]
    assert browsing.choices(filled, "rev", "p").cut == {"annotator"}


def test_the_own_password_and_every_log_in(filled: Database) -> None:
    with filled.write() as session:
        cookie = open_login(session, "root", now=NOW)
    fields = {"password": "wrong", "new_password": "a new password", "new_password_again": "a new password"}
    assert "old password" in act(filled, "root", "change password", fields)["error"]
    fields["password"] = "correct horse"
    assert "differ" in act(filled, "root", "change password", fields | {"new_password_again": "x"})["error"]
    assert "Log in" in act(filled, "root", "change password", fields)["note"]
    with filled.write() as session:
        assert login_of(session, cookie, now=NOW) is None
        cookies = [open_login(session, "root", now=NOW) for _ in range(2)]
    assert "2 log-ins" in act(filled, "root", "sign out everywhere", {})["note"]
    with filled.read() as session:
        assert [login_of(session, cookie, now=NOW) for cookie in cookies] == [None, None]


def test_the_old_password_cannot_be_guessed_at_an_open_browser(
    filled: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(administration_pages, "_guesses", LoginLimits())
    fields = {"password": "wrong", "new_password": "a new password", "new_password_again": "a new password"}
    for _ in range(PER_DEVICE):
        assert "old password" in act(filled, "root", "change password", fields)["error"]
    right = fields | {"password": "correct horse"}
    assert "Too many" in act(filled, "root", "change password", right)["error"]
    assert "Log in" in act(filled, "chief", "change password", right)["note"]


def test_a_token_is_shown_once_and_only_to_its_owner(filled: Database) -> None:
    fields = {"name": "laptop", "days": "30", "scope_read": "yes"}
    html = act(filled, "ann", "make token", fields)["html"]
    [secret] = re.findall(r'value="(keel_[^"]+)"', html)
    assert secret not in act(filled, "ann", "account")["html"]
    assert "30 days left" in act(filled, "ann", "account")["html"]
    assert "laptop" not in act(filled, "bob", "account")["html"]
    assert "no token" in act(filled, "bob", "revoke token", {"token": "1"})["error"]
    assert "revoked" in act(filled, "ann", "revoke token", {"token": "1"})["html"]
    assert "at least one" in act(filled, "ann", "make token", {"name": "x", "days": "1"})["error"]


def test_nothing_hostile_in_a_field_is_more_than_text(filled: Database) -> None:
    further = ["\0", "\ud800", "' OR 1=1 --", "{{7*7}}", '"><img src=x onerror=hit()>', "x" * 70_000, "’&#39;>"]
    for payload in [*PAYLOADS, *further]:
        for action in (*ADMIN, "items", "make token", "revoke token"):
            names = ("name", "what", "role", "password", "q", "label", "annotator", "source", "guideline", "kind")
            fields = dict.fromkeys((*names, "agreement", "cursor", "days", "token", "votes_per_item", "sort"), payload)
            reply = act(filled, "root", action, fields)
            assert set(reply) == {"html", "note", "error"}
            assert reply["error"] or reply["html"], (action, payload)
    for payload in PAYLOADS:
        act(filled, "root", "guideline", {"guideline": payload})
        act(filled, "root", "change user", {"what": "add", "name": payload[:100].strip(), "role": "annotator"})
        for page in ("items", "project", "users", "account"):
            html = act(filled, "root", page, {"q": payload} if page == "items" else None)["html"] or ""
            assert not re.search(r"<(script|img|iframe|svg|style|link)\b", html), (page, payload)
            assert "49" not in re.findall(r"\{\{|49\}\}", html)
    for asked in (None, [], "x", {"a": 1}, {"a": None}, {f"{n}": "" for n in range(99)}):
        assert act(filled, "root", "settings", asked)["error"]  # type: ignore[arg-type]
    assert form_fields.fields_of({"fields": {"a": " b\0 ", "password": " c "}}) == {
        "a": "b",
        "password": " c ",
    }
