"""Accessibility: axe on every page (WCAG 2.2 A and AA), and the names and announcements for screen readers."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browsing import NEEDS_CHROMIUM, press

from annotation_ui.store.accounts import add_user
from annotation_ui.store.database import Database
from annotation_ui.store.projects import Candidate, add_items, find_project
from annotation_ui.store.tables import Judgement
from annotation_ui.web import pages
from annotation_ui.web.wording import environment
from reward_models.data.records import Message

NOW = 1_700_000_000.0
Fill = Callable[..., Database]
pytestmark = NEEDS_CHROMIUM
RICH = """A list, `code` and a table:

1. one
2. two

```python
def answer(question: str) -> str:  # a line of code that is too long for its box and has to be scrolled sideways
    return "42"
```

| case | value |
|------|-------|
| one  | $x^2$ |
"""


FOCUSED = """(() => {
  const node = document.activeElement;
  const name = node.ariaLabelledByElements?.[0]?.textContent ?? node.getAttribute("aria-label");
  return name ?? node.dataset.label ?? node.dataset.act ?? (node.name || node.tagName);
})()"""


@pytest.fixture
def disputed(sqlite: Database, fill: Fill) -> Database:
    """Items with formatted text, of which people said different things; a reviewer's and an admin's account."""
    fill(sqlite, items=0)
    with sqlite.write() as session:
        add_user(session, "rev", "reviewer", None, now=NOW)
        add_user(session, "root", "admin", None, now=NOW)
        made = [
            Candidate(
                prompt=(Message("user", f"Question {n}: how?"),),
                responses=((Message("assistant", f"{RICH}{n}"),), (Message("assistant", "<think>Hm.</think>No."),)),
                models=("x", "y"),
            )
            for n in range(3)
        ]
        add_items(session, find_project(session, "p"), made, author="root", now=NOW)
        for n, label in enumerate(("a", "b")):
            session.add(judgement(item=1, user=n + 1, label=label))
    pages.act(sqlite, "root", {"action": "snapshot", "project": "p", "name": "s1"}, now=NOW)
    for action, fields in (
        ("save view", {"agreement": "disagree", "view_name": "open cases", "view_shared": "yes"}),
        ("add webhook", {"url": "https://example.org/hook", "event judged": "yes", "event imported": "yes"}),
        ("change webhook", {"webhook": "1", "what": "test"}),
    ):
        pages.act(sqlite, "root", {"action": action, "project": "p", "fields": fields}, now=NOW)
    return sqlite


def judgement(*, item: int, user: int, label: str) -> Judgement:
    return Judgement(
        item_id=item,
        user_id=user,
        revision=0,
        adjudication=False,
        label=label,
        strength=2,
        harms=[],
        rationale="because",
        skip_reason="",
        dwell_ms=9000,
        key=f"{item}-{user}",
        created=NOW,
    )


def complaints(page: Any) -> list[str]:
    """The violations that axe finds on the page as it is, by rule and element."""
    from axe_playwright_python.sync_playwright import Axe

    page.wait_for_timeout(250)  # for colours to have faded in, and what waits for the first frame
    found = Axe().run(page).response["violations"]
    return [f"{rule['id']}: {node['target']}" for rule in found for node in rule["nodes"]]


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing(site: Any, disputed: Database, theme: str, width: int) -> None:
    page = site("root").page(color_scheme=theme, viewport={"width": width, "height": 844})
    found = {"annotate": complaints(page)}
    page.keyboard.press("d")
    page.wait_for_selector(".k-difference")
    found["difference"] = complaints(page)
    page.keyboard.press("s")
    found["skip"] = complaints(page)
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    found["help"] = complaints(page)
    page.keyboard.press("Escape")
    ready = {"review": ".k-cards", "dashboard": ".k-times", "items": ".k-view", "project": "[data-upload]"}
    ready |= {"users": ".k-menu", "account": ".k-box", "webhooks": ".k-menu"}
    for name in [*(name for name, _ in pages.PAGES["admin"] if name != "annotate"), "account"]:
        page.click(f"[data-open={name}]")
        page.wait_for_selector(f"[data-page={name}] {ready.get(name, 'h1')}")
        found[name] = complaints(page)
        if name == "webhooks":
            page.click("text=Deliveries")
            page.wait_for_selector("td:text-is('webhook tested')")
            found["deliveries"] = complaints(page)
        if name == "review":
            page.click("[data-act=case]")
            page.wait_for_selector(".k-opinions")
            found["case"] = complaints(page)
    assert {name: what for name, what in found.items() if what} == {}


TEMPLATES = Path(pages.__file__).parent / "templates"
# The pages that no button of the bar leads to, and the tests that run axe on them.
ELSEWHERE = {
    "account": "test_axe_finds_nothing",
    "case": "test_axe_finds_nothing",
    "login": "test_axe_finds_nothing_on_safety_and_log_in",
    "feedback": "test_the_training_round",
    "reading": "test_a_second_person_sends_back_and_accepts",
    "snapshot": "test_a_snapshot_is_downloaded_in_the_browser",
    **dict.fromkeys(("logged_out", "nothing", "outage", "token"), "test_axe_finds_nothing_on_pages_without_a_project"),
}


def test_axe_is_run_on_every_page() -> None:
    """By the templates themselves: a page that is added has to be looked at, here or in the test that is named."""
    whole = {file.stem for file in TEMPLATES.glob("*.html") if re.search("extends|<!doctype", file.read_text("utf-8"))}
    shown = {name for name, _ in pages.PAGES["admin"]}  # test_axe_finds_nothing goes through all of them
    assert whole - {"base"} == shown | ELSEWHERE.keys()
    tests = "".join(file.read_text("utf-8") for file in Path(__file__).parent.glob("test_*.py"))
    for name, test in ELSEWHERE.items():
        body = tests.split(f"def {test}(")[1].split("\ndef ")[0]
        assert "complaints(page)" in body, (name, test)


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing_on_pages_without_a_project(site: Any, sqlite: Database, theme: str, width: int) -> None:
    with sqlite.write() as session:
        add_user(session, "root", "admin", None, now=NOW)
    running = site("root")
    page = running.page(ready=".k-empty", color_scheme=theme, viewport={"width": width, "height": 844})
    found = {"nothing": complaints(page)}
    page = running.browser.new_context(color_scheme=theme, viewport={"width": width, "height": 844}).new_page()
    page.goto(running.url)  # without the token
    page.wait_for_selector("text=token")
    found["token"] = complaints(page)
    reason = "The database does not answer."
    page.set_content(environment("en").get_template("outage.html").render(reason=reason))
    page.wait_for_selector(f"text={reason}")
    found["outage"] = complaints(page)
    page.set_content(environment("en").get_template("logged_out.html").render(address="#"))
    page.wait_for_selector("text=You are logged out here")
    found["logged_out"] = complaints(page)
    assert {name: what for name, what in found.items() if what} == {}


def test_axe_finds_nothing_on_safety_and_log_in(site: Any, sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=1, kind="safety")
    with sqlite.write() as session:
        add_user(session, "eve", "annotator", "correct horse", now=NOW)
    page = site(None).page(ready="[name=password]", color_scheme="dark")
    found = {"log in": complaints(page)}
    page.fill("[name=name]", "eve")
    page.fill("[name=password]", "correct horse")
    page.keyboard.press("Enter")
    page.wait_for_selector(".k-verdict")
    page.wait_for_timeout(400)
    page.keyboard.press("2")
    page.keyboard.press("a")
    found["harms"] = complaints(page)
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    page.wait_for_selector(".k-empty")
    found["empty"] = complaints(page)
    assert {name: what for name, what in found.items() if what} == {}


def controls(page: Any) -> list[tuple[str, str]]:
    """``(role, name)`` of everything that can have the focus, as Chromium tells a screen reader."""
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    focusable = (
        node
        for node in tree
        if not node["ignored"]
        and any(p["name"] == "focusable" and p["value"]["value"] for p in node.get("properties", ()))
    )
    return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in focusable]


def test_every_control_has_a_role_and_a_name(site: Any, disputed: Database) -> None:
    page = site("root").page()
    names = [name for role, name in controls(page) if role == "button"]
    for words in ("Annotate", "Raw R", "1 A much better", "4 Tie", "7 B much better", "Both bad B"):
        assert words in names
    page.keyboard.press("s")
    said = controls(page)
    roles = {"button", "textbox", "region", "generic", "DisclosureTriangle", "RootWebArea"}
    assert {role for role, _ in said} <= roles
    unnamed = [role for role, name in said if not name and role not in ("generic", "RootWebArea")]
    assert unnamed == []
    names = [name for role, name in said if role == "button"]
    for words in ("A much better", "Tie", "B much better", "1 I cannot tell"):  # the panel owns the digits now
        assert words in names
    assert ("region", "Conversation") in said
    assert ("region", "A") in said
    assert ("textbox", "Why? (optional)") in said


def test_the_focus_goes_from_what_is_read_to_what_is_said(site: Any, disputed: Database) -> None:
    page = site("root").page()
    order = [page.evaluate(FOCUSED)]
    while order[-1] != "rationale" and len(order) < 40:
        page.keyboard.press("Tab")
        order.append(page.evaluate(FOCUSED))
    read = [step for step in order if step not in ("PRE", "SUMMARY")]
    assert read[:6] == ["Conversation", "raw", "difference", "guideline", "A", "B"]
    assert read[6:] == [*["left"] * 3, "tie", *["right"] * 3, "both_bad", "skip", "rationale"]


def test_the_next_item_is_announced_and_has_the_focus(site: Any, disputed: Database) -> None:
    page = site("root").page()
    region = page.query_selector("[role=status]")
    for left in (2, 1):
        press(page, "4")
        page.wait_for_function("n => document.querySelector('.k-note').textContent.includes(n)", arg=f"{left} left")
        assert page.inner_text("[role=status]").startswith("Saved")
        assert page.evaluate("document.activeElement.matches('.k-prompt')")
    assert region.is_visible()  # the same node all the time: what is put in with its text is not read out
    press(page, "4")
    page.wait_for_selector(".k-empty")
    assert page.evaluate("document.activeElement.matches('.k-empty')")
