"""The app in Chromium as people use it on their first day: mistakes, reloads, long and foreign texts, small windows."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browsing import NEEDS_CHROMIUM, press
from sqlalchemy import delete

from annotation_ui.store.accounts import add_user
from annotation_ui.store.database import Database
from annotation_ui.store.projects import Candidate, Settings, add_items, create_project, find_project
from annotation_ui.store.tables import Login
from reward_models.data.records import Message

NOW = 1_700_000_000.0
Fill = Callable[..., Database]
pytestmark = NEEDS_CHROMIUM
PLAIN = Settings(gold_rate=0, repeat_rate=0)
# Refused requests are named in the console by the browser itself; the tests that bring them about expect them.
REFUSED = "the server responded with a status of 401"


def picture(page: Any, name: str) -> None:
    """A screenshot for people to look at, where ``KEEL_TEST_PICTURES`` names a directory."""
    if folder := os.environ.get("KEEL_TEST_PICTURES"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def pair(prompt: str | tuple[Message, ...], one: str, other: str) -> Candidate:
    turns = (Message("user", prompt),) if isinstance(prompt, str) else prompt
    responses = ((Message("assistant", one),), (Message("assistant", other),))
    return Candidate(prompt=turns, responses=responses, models=(None, None))


def put(database: Database, *candidates: Candidate, project: str = "p") -> None:
    with database.write() as session:
        add_items(session, find_project(session, project), candidates, author="root", now=NOW)


@pytest.fixture
def two_projects(sqlite: Database, fill: Fill) -> Database:
    fill(sqlite, items=3)
    with sqlite.write() as session:
        create_project(session, "second", "preference", PLAIN, author="root", now=NOW)
        add_user(session, "eve", "reviewer", "correct horse", now=NOW)
    put(sqlite, *(pair(f"second question {n}", f"one {n}", f"two {n}") for n in range(3)), project="second")
    return sqlite


def log_in(page: Any, password: str = "correct horse") -> None:
    page.fill("[name=name]", "eve")
    page.fill("[name=password]", password)
    page.keyboard.press("Enter")


def test_a_wrong_password_is_told(site: Any, two_projects: Database) -> None:
    running = site(None)
    page = running.page(ready="[name=password]")
    log_in(page, "wrong password")
    page.wait_for_selector("[role=alert]")
    assert "do not go together" in page.inner_text("[role=alert]")
    picture(page, "wrong-password")
    log_in(page)
    page.wait_for_selector("h1:text-is('Disagreements to decide')")  # a reviewer's first page
    running.problems[:] = [problem for problem in running.problems if REFUSED not in problem]


def test_a_session_that_ended_elsewhere_leads_to_the_log_in_and_back(site: Any, two_projects: Database) -> None:
    running = site(None)
    page = running.page(ready="[name=password]")
    log_in(page)
    page.click("[data-open=annotate]")
    page.wait_for_selector(".k-verdict")
    page.select_option("#k-project", "second")
    page.wait_for_selector("text=second question")
    page.fill("[name=rationale]", "half a thought")
    with two_projects.write() as session:
        session.execute(delete(Login))
    page.click(".k-left2")
    page.wait_for_selector("text=Your session has ended")
    log_in(page)
    page.wait_for_selector(".k-verdict")
    assert page.url.endswith("#/second/annotate")
    assert page.input_value("[name=rationale]") == "half a thought"
    assert running.said() == []
    page.go_back()  # not to the log-in
    page.wait_for_selector(".k-app")
    running.problems[:] = [problem for problem in running.problems if REFUSED not in problem]


@pytest.mark.parametrize("leave", ["history", "reload", "project", "panel"])
def test_a_draft_survives(site: Any, two_projects: Database, leave: str) -> None:
    page = site("eve").page()
    page.fill("[name=rationale]", "half a thought")
    page.keyboard.press("Escape")
    if leave == "history":
        page.keyboard.press("h")
        page.wait_for_selector("h1")
        page.keyboard.press("Escape")
    elif leave == "reload":
        page.reload()
    elif leave == "project":
        page.select_option("#k-project", "second")
        page.wait_for_selector("text=second question")
        assert page.input_value("[name=rationale]") == ""
        page.select_option("#k-project", "p")
    else:
        page.keyboard.press("s")
        page.keyboard.press("Escape")
    page.wait_for_selector(".k-prompt >> text=/^question/")
    assert page.input_value("[name=rationale]") == "half a thought"
    press(page, "4")
    assert page.input_value("[name=rationale]") == ""


def test_a_draft_of_harms_survives_a_reload(site: Any, sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=1, kind="safety")
    page = site().page()
    page.wait_for_timeout(400)
    for key in ("2", "k", "3"):
        page.keyboard.press(key)
    page.reload()
    page.wait_for_selector(".k-verdict")
    page.keyboard.press("2")
    assert page.is_checked("[value=self-harm]")
    assert page.is_checked("[name=severity][value='3']")


def test_undo_shows_the_former_verdict_and_its_reason(site: Any, sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=2)
    page = site().page()
    page.fill("[name=rationale]", "because 1 is not 7")
    page.click(".k-right1")
    page.wait_for_selector("b:text-is('1')")
    page.keyboard.press("u")
    page.wait_for_selector("text=Undone")
    assert page.get_attribute(".k-right1", "aria-pressed") == "true"
    assert page.input_value("[name=rationale]") == "because 1 is not 7"
    picture(page, "undone")


def test_another_verdict_in_a_second_tab_is_refused_aloud(site: Any, sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=2)
    running = site()
    one = running.page()
    other = running.page(one.context)
    press(one, "4")
    press(other, "7")
    other.wait_for_selector(".k-error.k-on")
    assert "that one stays, and this one was not recorded" in other.inner_text(".k-note")
    picture(other, "contradiction")
    assert running.said() == [("tie", None)]


def test_every_page_has_an_address(site: Any, two_projects: Database) -> None:
    page = site("eve").page()
    page.select_option("#k-project", "second")
    page.wait_for_selector("text=second question")
    page.reload()
    page.wait_for_selector("text=second question")
    page.click("[data-open=dashboard]")
    page.wait_for_selector(".k-dash")
    assert page.url.endswith("#/second/dashboard")
    page.reload()
    page.wait_for_selector(".k-dash")
    page.go_back()
    page.wait_for_selector("text=second question")
    page.go_forward()
    page.wait_for_selector(".k-dash")
    page.evaluate("location.hash = '#/nowhere/case/99'")  # a link of long ago
    page.wait_for_selector(".k-error.k-on")
    second = page.context.new_page()
    second.goto(page.url.partition("#")[0])
    second.wait_for_selector(".k-app[data-project]")
    assert second.get_attribute(".k-app", "data-project") in ("second", "p")
    third = page.context.new_page()
    third.goto(page.url.partition("#")[0] + "#/second/review")
    third.wait_for_selector("text=Disagreements to decide")


def test_a_long_conversation_opens_at_its_last_turn(site: Any, sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=0)
    words = "A sentence that fills a line of the conversation and says nothing. " * 6
    turns = [Message("assistant" if n % 2 else "user", f"Turn {n}. {words}") for n in range(8)]
    put(sqlite, pair((*turns, Message("user", "The last question?")), "one", "two"))
    page = site().page()
    box, last = (
        page.query_selector(".k-prompt").bounding_box(),
        page.query_selector(".k-turn:last-child").bounding_box(),
    )
    assert box["y"] <= last["y"]
    assert last["y"] + last["height"] <= box["y"] + box["height"]
    assert page.is_visible("text=earlier turns: 9 in all")
    picture(page, "last-turn")
    page.evaluate("document.querySelector('.k-prompt').scrollTop = 0")
    page.wait_for_function("!document.querySelector('.k-prompt').classList.contains('k-has-earlier')")


def test_mathematics_is_drawn_not_spelled(site: Any, sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=0)
    one = (
        r"So \(\dfrac{a}{b}\,=\,2\) and \[\begin{aligned}x&=1\\y&=2\end{aligned}\] Hence $\boxed{42}$ and $\cancel{x}$."
    )
    put(sqlite, pair("Solve it.", one, r"\(\tfrac{1}{2}\quad x\)"))
    page = site().page()
    for side in page.query_selector_all(".k-rendered"):
        assert "\\" not in side.inner_text()
        assert side.query_selector("code") is None
    border = "getComputedStyle(document.querySelector('menclose[notation=box]')).borderTopWidth"
    assert page.evaluate(border) == "1px"
    first, second = (row.bounding_box()["y"] for row in page.query_selector_all("mtr"))
    assert second > first
    picture(page, "mathematics")


def test_right_to_left_text_begins_on_the_right(site: Any, sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=0)
    arabic = "مرحبا بالعالم\n\n- الأول\n- الثاني\n\n```python\nprint(1)\n```"
    put(sqlite, pair("ما هو الجواب؟", arabic, "שלום עולם\n\nAn English paragraph."))
    page = site().page(viewport={"width": 1600, "height": 800})
    directions = "nodes => nodes.map(node => getComputedStyle(node).direction)"
    paragraphs = page.eval_on_selector_all(".k-pair .k-rendered :is(p, ul)", directions)
    assert sorted(paragraphs) == ["ltr", "rtl", "rtl", "rtl"]
    assert page.eval_on_selector_all(".k-prompt p", directions)[-1:] == ["rtl"]
    gap = "text => text.closest('.k-prompt').getBoundingClientRect().right - text.getBoundingClientRect().right"
    assert page.eval_on_selector(".k-prompt .k-text", gap) < 40  # at the edge, however wide the window
    assert page.eval_on_selector_all(".k-rendered pre", directions) == ["ltr"]
    picture(page, "right-to-left")
    page.keyboard.press("r")
    assert page.eval_on_selector_all(".k-as-is pre", directions).count("rtl") == 2
    page.fill("[name=rationale]", "לא")
    assert page.eval_on_selector_all("[name=rationale]", directions) == ["rtl"]


@pytest.mark.parametrize("width", [640, 720])
def test_at_200_percent_the_panel_covers_nothing(site: Any, sqlite: Database, fill: Fill, width: int) -> None:
    fill(sqlite, items=2, kind="safety")
    page = site().page(viewport={"width": width, "height": 400})
    page.wait_for_timeout(400)
    page.keyboard.press("2")
    page.wait_for_selector("#k-harms:not([hidden])")
    response, panel = (page.query_selector(css).bounding_box() for css in (".k-response", "#k-harms"))
    assert response["y"] + response["height"] <= panel["y"]
    page.query_selector(".k-response").scroll_into_view_if_needed()
    assert page.evaluate("document.elementFromPoint(200, 100).closest('.k-dock')") is None
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    picture(page, f"zoom-{width}")
    page.keyboard.press("Escape")
    page.wait_for_selector("#k-harms", state="hidden")
    dock = page.query_selector(".k-dock").bounding_box()
    assert dock["y"] + dock["height"] <= 401  # in sight, without scrolling
    assert dock["height"] < 200


@pytest.mark.parametrize("kind", ["preference", "safety"])
def test_an_open_panel_owns_the_digits_that_are_shown(site: Any, sqlite: Database, fill: Fill, kind: str) -> None:
    fill(sqlite, items=2, kind=kind)
    page = site().page()
    shown = "getComputedStyle(document.querySelector('.k-scale kbd')).visibility"
    assert page.evaluate(shown) == "visible"
    page.keyboard.press("s")
    page.wait_for_selector("#k-skip:not([hidden])")
    assert page.evaluate(shown) == "hidden"
    picture(page, f"panel-{kind}")
    page.keyboard.press("Escape")
    assert page.evaluate(shown) == "visible"


def test_two_looping_outputs_are_compared_at_once(site: Any, sqlite: Database, fill: Fill) -> None:
    fill(sqlite, items=0)
    put(sqlite, pair("Loop.", "no no yes " * 900, "yes no " * 1_300), pair("Next.", "\\(" * 30_000, "fine"))
    running = site()
    page = running.page()
    page.keyboard.press("d")
    page.wait_for_selector(".k-difference", timeout=10_000)
    press(page, "4")
    assert page.inner_text(".k-prompt").endswith("Next.")
    assert running.said() == [("tie", None)]
