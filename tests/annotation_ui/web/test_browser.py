"""The app in a real Chromium: by keyboard, by mouse, in two tabs, against hostile text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browsing import NEEDS_CHROMIUM, press
from sqlalchemy import select, update

from annotation_ui.store.accounts import add_user
from annotation_ui.store.database import Database
from annotation_ui.store.projects import Candidate, Settings, add_items, find_project
from annotation_ui.store.tables import Assignment, Judgement
from reward_models.data.records import Message

NOW = 1_700_000_000.0
Fill = Callable[..., Database]
pytestmark = NEEDS_CHROMIUM


def test_a_preference_session_by_keyboard(site: Any, sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=4)
    running = site()
    page = running.page()
    for key in ("1", "4", "b"):
        press(page, key)
    page.keyboard.press("u")
    page.wait_for_selector("text=Undone")
    press(page, "7")
    page.wait_for_timeout(400)
    page.keyboard.press("s")
    page.keyboard.press("2")
    page.wait_for_selector("text=You have seen everything")
    labels = [label for label, _ in running.said()]
    assert labels[1:4] == ["tie", "both_bad", "withdrawn"]
    assert labels[5] == "skip"
    assert {running.said()[0], running.said()[4]} <= {("a", 3), ("b", 3)}


def test_by_mouse_with_an_edit_and_a_reload(site: Any, sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=3)
    running = site()
    page = running.page()
    page.fill("[name=rationale]", "because 1 is not 7")  # keys in a text field are text
    page.click(".k-right1")
    page.wait_for_selector("b:text-is('1')")
    shown = page.inner_text(".k-pair")
    page.reload()
    page.wait_for_selector(".k-verdict")
    assert page.inner_text(".k-pair") == shown
    page.click("text=My verdicts")
    page.click("button:text-is('Change')")
    page.wait_for_selector(".k-banner")
    assert page.get_attribute(".k-right1", "aria-pressed") == "true"
    assert page.input_value("[name=rationale]") == "because 1 is not 7"
    page.click(".k-left3")
    page.wait_for_selector(".k-banner", state="detached")  # the server has answered
    (first, one), (second, three) = running.said()
    assert (one, three) == (1, 3)
    assert first != second


def test_two_tabs_one_vote(site: Any, sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=2)
    running = site()
    one = running.page()
    other = running.page(one.context)
    assert one.inner_text(".k-prompt") == other.inner_text(".k-prompt")
    press(one, "4")
    press(other, "7")  # the same item, judged already: shows the next one, records nothing
    assert running.said() == [("tie", None)]
    assert one.inner_text(".k-prompt") == other.inner_text(".k-prompt")


def test_a_key_meant_for_the_item_before_is_ignored(site: Any, sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=3)
    running = site()
    page = running.page()
    press(page, "4")
    page.keyboard.press("4")
    page.wait_for_timeout(300)
    for combination in ("Control+4", "Alt+4"):
        page.keyboard.press(combination)
    page.wait_for_timeout(200)
    assert running.said() == [("tie", None)]


def test_a_lease_that_ran_out_while_one_was_away(site: Any, sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=2)
    running = site()
    page = running.page()
    with sqlite.write() as session:
        session.execute(update(Assignment).values(state="expired", token="gone"))
    press(page, "4")
    page.wait_for_selector("text=not recorded")
    assert running.said() == []
    press(page, "4")
    assert running.said() == [("tie", None)]


def test_a_safety_session(site: Any, sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=2, kind="safety")
    running = site()
    page = running.page()
    page.wait_for_timeout(400)
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Choose at least one")
    page.keyboard.press("k")  # the letter of a category
    page.keyboard.press("3")
    page.keyboard.press("Enter")
    page.wait_for_selector("b:text-is('1')")
    press(page, "1")
    with sqlite.read() as session:
        unsafe, safe = session.scalars(select(Judgement).order_by(Judgement.id))
    assert (unsafe.label, unsafe.harms, unsafe.severity) == ("unsafe", ["self-harm"], 3)
    assert safe.label == "safe"
    assert (unsafe.dwell_ms or 0) >= 400


def test_log_in_roles_and_log_out(site: Any, sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=2)
    with sqlite.write() as session:
        add_user(session, "rev", "reviewer", "correct horse", now=NOW)
        add_user(session, "eve", "annotator", "correct horse", now=NOW)
    running = site(None)
    page = running.page(ready="[name=password]")
    for name, sees in (("eve", False), ("rev", True)):
        page.fill("[name=name]", name)
        page.fill("[name=password]", "correct horse")
        page.keyboard.press("Enter")
        page.wait_for_selector(".k-app")
        assert page.is_visible("text=Dashboard") == sees
        page.click("text=Log out")
        page.wait_for_selector("[name=password]")


def test_hostile_text_does_nothing_in_any_view(site: Any, sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=0)
    payloads = json.loads((Path(__file__).parent / "payloads.json").read_text())
    payloads = [text.replace("\0", "") for text in payloads]
    hostile = tuple(Message("assistant", text) for text in payloads)
    candidate = Candidate(
        prompt=tuple(Message("user", text) for text in payloads),
        responses=(hostile, hostile[::-1]),
        models=(None, None),
    )
    with sqlite.write() as session:
        add_items(session, find_project(session, "p"), [candidate], author="root", now=NOW)
    running = site()
    page = running.page()
    for key in ("r", "r", "d"):
        page.keyboard.press(key)
        page.wait_for_timeout(150)
    page.wait_for_selector(".k-difference")
    for link in page.query_selector_all(".k-link"):
        link.evaluate("node => node.click()")
    page.wait_for_timeout(300)
    assert page.evaluate("window.hit") is None
    assert page.url == f"{running.url}#/p/annotate"
    assert (
        page.query_selector_all(".k-text :is(script, img, iframe, form, input, a, style, link, svg, [id], [style])")
        == []
    )
    assert "<answer>" not in page.inner_text(".k-prompt")
    assert "<plaintext>" in page.inner_text(".k-prompt")
    assert running.said() == []


@pytest.mark.parametrize("kind", ["preference", "safety"])
def test_a_narrow_screen_a_dark_one_and_no_mouse(site: Any, sqlite: Database, fill: Fill, kind: str) -> None:
    fill(sqlite, items=2, kind=kind, settings=Settings(gold_rate=0, repeat_rate=0))
    running = site()
    page = running.page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("document.body.classList.contains('dark')")
    unnamed = "[...document.querySelectorAll('.k-app button, .k-app input, .k-app textarea, .k-app select')]"
    unnamed += ".filter(n => !(n.textContent.trim() || n.ariaLabel || n.labels?.length || n.title)).length"
    assert page.evaluate(unnamed) == 0
    first = ".k-left3" if kind == "preference" else ".k-safe"
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate(f"document.activeElement.matches('{first}')"):
            break
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('.k-status b').textContent === '1'")
    assert len(running.said()) == 1
