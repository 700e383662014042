"""The kinds with ratings, ranks and texts in Chromium: by keyboard, with drafts, and with axe."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from annotating import NOW
from browsing import NEEDS_CHROMIUM
from kinds import ATTRIBUTES, fill_kind
from sqlalchemy import select

from annotation_ui.labelling import session as annotating
from annotation_ui.store.database import Database
from annotation_ui.store.forms import Form
from annotation_ui.store.tables import Judgement

pytestmark = NEEDS_CHROMIUM
BASIL = "My basil on the window sill dies every winter. What am I doing wrong?"
TEXTS = (
    "Two things kill basil in winter: **cold** and **wet feet**.\n\n1. Move the pot away from the glass at night; "
    "below 10 °C its leaves turn black.\n2. Water only when the top of the soil is dry, and pour off what stands in "
    "the saucer.\n\nA lamp for four hours a day helps more than fertiliser.",
    "Basil needs sun. Put it where there is sun, and water it every day so that it does not dry out.",
    "It is an annual herb in most homes: sow it anew in spring. What you can do now is to cut a few shoots, let them "
    "root in a glass of water and keep them in a warm, bright kitchen.",
    "Winter light is weak.\n\n| month | hours of light |\n|---|---|\n| June | 16 |\n| December | 8 |\n\nSo either give "
    "it light, or let it go.",
)
LONG = TEXTS[0]
ATTACK = "<img src=x onerror=window.hit=1>"


def picture(page: Any, name: str) -> None:
    if folder := os.environ.get("KEEL_TEST_PICTURES"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def stored(database: Database) -> list[Judgement]:
    with database.read() as session:
        return list(session.scalars(select(Judgement).order_by(Judgement.id)))


def complaints(page: Any) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    page.wait_for_timeout(250)
    found = Axe().run(page).response["violations"]
    return [f"{rule['id']}: {node['target']}" for rule in found for node in rule["nodes"]]


def looks(theme: str, width: int) -> dict[str, Any]:
    return {"color_scheme": theme, "viewport": {"width": width, "height": 844}}


VIEWS = [("light", 1280), ("dark", 390)]


def rows(responses: int) -> list[dict[str, Any]]:
    return [
        {
            "prompt": f"{BASIL} (Question {n})",
            "responses": [TEXTS[m % 4] + m // 4 * " Truly." for m in range(responses)],
        }
        for n in range(3)
    ]


@pytest.mark.parametrize(("theme", "width"), VIEWS)
def test_ratings_by_digits(site: Any, sqlite: Database, theme: str, width: int) -> None:
    fill_kind(sqlite, "attributes", rows=rows(2))
    page = site("ann").page(**looks(theme, width))
    picture(page, f"attributes-{theme}-{width}")
    page.wait_for_timeout(400)
    page.keyboard.press("Enter")
    page.wait_for_selector(".k-note.k-error.k-on")
    for key in "4321043210":
        page.keyboard.press(key)
    page.keyboard.press("ArrowLeft")  # from the last answer to the one before
    page.keyboard.press("2")
    page.reload()
    page.wait_for_selector(".k-verdict")
    assert page.locator(".k-rate input:checked").count() == 10  # the draft of this tab
    assert complaints(page) == []
    picture(page, f"attributes-{theme}-{width}-filled")
    page.wait_for_timeout(400)
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Question 1")
    [judgement] = stored(sqlite)
    assert judgement.payload is not None
    left = judgement.payload["ratings"][judgement.left]
    [right] = [given for slot, given in judgement.payload["ratings"].items() if slot != judgement.left]
    assert [left[name] for name in ATTRIBUTES] == [4, 3, 2, 1, 0]  # all of A first
    assert [right[name] for name in ATTRIBUTES] == [4, 3, 2, 2, 0]


@pytest.mark.parametrize(("theme", "width"), VIEWS)
@pytest.mark.parametrize("responses", [3, 8])
def test_ranks_by_digits(site: Any, sqlite: Database, theme: str, width: int, responses: int) -> None:
    fill_kind(sqlite, "ranking", rows=rows(responses))
    page = site("ann").page(**looks(theme, width))
    page.wait_for_timeout(400)
    for place in range(responses):
        page.keyboard.press(str(1 + place // 2))  # A = B > C = D > …
    assert page.inner_text(".k-order").startswith("A = B > C")
    picture(page, f"ranking-{responses}-{theme}-{width}")
    assert complaints(page) == []
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Question 1")
    [judgement] = stored(sqlite)
    assert judgement.payload is not None
    ranks = [judgement.payload["ranks"][slot] for slot in str(judgement.left)]
    assert ranks == [1 + place // 2 for place in range(responses)]


@pytest.mark.parametrize(("kind", "responses"), [("ranking", 8), ("attributes", 2)])
def test_the_panel_of_a_phone_leaves_the_responses_in_view(
    site: Any, sqlite: Database, kind: Any, responses: int
) -> None:
    names = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    form = Form(attributes={name: f"The {name} of the response, from low to high." for name in names})
    fill_kind(sqlite, kind, rows=rows(responses), form=form if kind == "attributes" else None)
    page = site("ann").page(**looks("light", 390))
    picture(page, f"phone-{kind}")
    response, panel = (page.locator(where).first.bounding_box() for where in (".k-response", ".k-dock"))
    assert panel["y"] - response["y"] > 120
    assert panel["y"] + panel["height"] <= 844
    page.locator(".k-verdict [data-key=enter]").scroll_into_view_if_needed()  # within the panel
    button = page.locator(".k-verdict [data-key=enter]").bounding_box()
    assert panel["y"] <= button["y"] <= 844 - button["height"]
    assert page.locator(".k-response").first.bounding_box() == response
    page.set_viewport_size({"width": 844, "height": 390})  # the phone lies on its side
    panel = page.locator(".k-dock").bounding_box()
    assert panel["y"] > 200
    assert panel["y"] + panel["height"] == 390


@pytest.mark.parametrize(("theme", "width"), VIEWS)
@pytest.mark.parametrize("ties", [True, False])
def test_ranks_by_drag(site: Any, sqlite: Database, theme: str, width: int, ties: bool) -> None:
    fill_kind(sqlite, "ranking", rows=rows(3), form=Form(ties=ties))
    page = site("ann").page(**looks(theme, width))

    def drag(letter: str, place: int) -> None:
        chip, there = page.locator(f".k-chip:text-is('{letter}')"), page.locator(f".k-board [data-place='{place}']")
        box, end = chip.bounding_box(), there.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(end["x"] + end["width"] - 6, end["y"] + end["height"] / 2, steps=4)
        page.mouse.up()

    drag("C", 1)
    drag("A", 2)
    page.wait_for_timeout(400)  # a key sooner than that after an item appeared is no answer
    page.keyboard.press("3")  # B, the only one without a place
    assert page.inner_text(".k-order") == "C > A > B"
    drag("B", 1)  # with C, or else in its place
    assert page.inner_text(".k-order") == ("B = C > A" if ties else "B > A > C")
    picture(page, f"ranking-drag-{theme}-{width}-{'ties' if ties else 'once'}")
    assert complaints(page) == []
    page.reload()
    page.wait_for_selector(".k-chip")
    assert page.locator(".k-board [data-place='1'] .k-chip").count() == (2 if ties else 1)  # the draft of this tab
    page.wait_for_timeout(400)
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Question 1")
    [judgement] = stored(sqlite)
    assert judgement.payload is not None
    ranks = [judgement.payload["ranks"][slot] for slot in str(judgement.left)]
    assert ranks == ([2, 1, 1] if ties else [2, 1, 3])


@pytest.mark.parametrize("width", [1280, 390])
def test_ranks_by_touch(site: Any, sqlite: Database, width: int) -> None:
    fill_kind(sqlite, "ranking", rows=rows(3))
    page = site("ann").page(**looks("light", width), has_touch=True, is_mobile=width < 860)
    fingers = page.context.new_cdp_session(page)
    page.evaluate("addEventListener('pointercancel', () => (window.cancelled = true))")

    def touch(what: str, *points: tuple[int, float, float]) -> None:
        at = [{"id": finger, "x": x, "y": y} for finger, x, y in points]
        fingers.send("Input.dispatchTouchEvent", {"type": what, "touchPoints": at})

    def middle(selector: str) -> tuple[float, float]:
        box = page.locator(selector).bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def drag(letter: str, place: int, *, other: bool = False) -> None:
        (x, y), end = middle(f".k-chip:text-is('{letter}')"), middle(f".k-board [data-place='{place}']")
        touch("touchStart", (0, x, y))
        for step in (0.3, 0.6, 1.0):
            touch("touchMove", (0, x + step * (end[0] - x), y + step * (end[1] - y)))
        assert page.locator(".k-dragged").count() == 1
        if other:  # a second finger comes and goes
            second = middle(".k-prompt")
            touch("touchStart", (0, *end), (1, *second))
            touch("touchEnd", (1, *second))
            assert page.locator(".k-dragged").count() == 1
        touch("touchEnd")

    page.locator(".k-board").scroll_into_view_if_needed()
    drag("C", 1)
    drag("A", 2, other=True)
    drag("B", 3)
    assert page.inner_text(".k-order") == "C > A > B"
    drag("B", 1)
    assert page.inner_text(".k-order") == "B = C > A"
    assert not page.evaluate("window.cancelled")  # the browser took no touch for a scroll
    picture(page, f"ranking-touch-{width}")
    page.wait_for_timeout(400)
    page.click(".k-verdict [data-key=enter]")  # a tap is a long press on a busy machine
    page.wait_for_selector("text=Question 1")
    [judgement] = stored(sqlite)
    assert judgement.payload is not None
    assert [judgement.payload["ranks"][slot] for slot in str(judgement.left)] == [2, 1, 1]


@pytest.mark.parametrize(("theme", "width"), VIEWS)
def test_a_text_is_written_previewed_compared_and_accepted(site: Any, sqlite: Database, theme: str, width: int) -> None:
    fill_kind(sqlite, "rewrite", rows=[{"prompt": f"{BASIL} (Question {n})", "response": TEXTS[1]} for n in range(2)])
    running = site("ann")
    page = running.page(**looks(theme, width))
    assert page.input_value("[name=text]") == TEXTS[1]
    page.keyboard.press("e")
    page.fill("[name=text]", f"Basil needs sun and warmth: **above 10 °C**. {ATTACK}")
    page.wait_for_selector("text=Draft saved")
    picture(page, f"rewrite-{theme}-{width}")
    page.reload()
    page.wait_for_selector(".k-verdict")
    assert page.input_value("[name=text]").startswith("Basil needs sun and warmth")
    page.keyboard.press("p")
    page.wait_for_selector(".k-preview strong")
    assert complaints(page) == []
    page.keyboard.press("d")
    page.wait_for_selector(".k-writing .k-difference ins")
    picture(page, f"rewrite-difference-{theme}-{width}")
    assert complaints(page) == []
    page.keyboard.press("e")
    page.keyboard.type("1234 ")  # digits are text here
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("text=Question 1")
    [judgement] = stored(sqlite)
    assert judgement.payload is not None
    assert "1234" in judgement.payload["text"]
    assert page.evaluate("window.hit") is None


def test_a_second_person_sends_back_and_accepts(site: Any, sqlite: Database) -> None:
    fill_kind(sqlite, "rewrite", rows=[{"prompt": "Question: how?", "response": f"old {LONG}"}])
    task = annotating.next_task(sqlite, "ann", "p", now=NOW)
    assert task is not None
    annotating.vote(sqlite, "ann", "p", task.token, {"label": "written", "text": f"new {LONG}"}, now=NOW)
    page = site("rev").page(ready=".k-app")
    page.click("[data-open=review]")
    page.click("[data-act=reading]")
    page.wait_for_selector(".k-verdict")
    page.keyboard.press("d")
    page.wait_for_selector(".k-difference ins")
    assert complaints(page) == []
    picture(page, "reading")
    page.wait_for_timeout(400)
    page.keyboard.press("2")
    page.wait_for_selector("text=Write a note")
    page.fill("[name=rationale]", "say why")
    page.click("[data-label=returned]")
    page.wait_for_selector("text=Nothing waits for you")
    assert [j.label for j in stored(sqlite)] == ["written", "returned"]
    task = annotating.next_task(sqlite, "ann", "p", now=NOW)
    assert task is not None
    assert task.note == "say why"


@pytest.mark.parametrize(("theme", "width"), VIEWS)
def test_the_dashboard_and_a_case(site: Any, sqlite: Database, theme: str, width: int) -> None:
    from kinds import rank

    from annotation_ui.store.projects import Settings

    fill_kind(
        sqlite,
        "ranking",
        rows=[{"prompt": f"Question {n}", "responses": ["a", "b", "c"]} for n in range(12)],
        settings=Settings(votes_per_item=2, gold_rate=0, repeat_rate=0),
    )
    for who, orders in (("ann", ("abc", "acb", "bac")), ("bob", ("abc", "cab", "abc"))):
        for n in range(12):
            rank(sqlite, who, orders[n % 3])
    page = site("root").page(ready=".k-app", **looks(theme, width))
    page.click("[data-open=dashboard]")
    page.wait_for_selector("text=On the order of every two responses")
    picture(page, f"dashboard-ranking-{theme}-{width}")
    assert complaints(page) == []
    page.click("[data-open=review]")
    page.click("[data-act=case]")
    page.wait_for_selector(".k-opinions")
    page.click(".k-opinions summary")
    picture(page, f"case-ranking-{theme}-{width}")
    assert complaints(page) == []


def test_passages_are_marked_in_the_raw_text(site: Any, sqlite: Database) -> None:
    """Line breaks that a browser drops or changes move no passage, and labels and notes are text."""
    form = Form(attributes={"tone": "How it sounds"}, spans=(ATTACK, "unsafe"))
    rows = [{"prompt": f"Question {n}", "response": "\n\r\n😀 a **wrong** word <b>here</b>"} for n in range(2)]
    fill_kind(sqlite, "attributes", rows=rows, form=form)
    page = site("ann").page()
    page.keyboard.press("r")
    page.evaluate(
        """() => {
          const text = document.querySelector(".k-as-is pre").firstChild;
          const at = text.data.indexOf("**wrong**");
          getSelection().setBaseAndExtent(text, at, text, at + 9);
        }"""
    )
    page.click("[data-act=mark]")
    page.fill(".k-marks input", ATTACK)
    page.keyboard.press("Tab")
    page.reload()
    page.wait_for_selector(".k-marks q")
    assert page.input_value(".k-marks input") == ATTACK
    assert complaints(page) == []
    page.keyboard.press("r")
    picture(page, "spans")
    page.wait_for_timeout(400)
    page.keyboard.press("Escape")
    page.keyboard.press("3")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Question 1")
    [judgement] = stored(sqlite)
    assert judgement.payload is not None
    [span] = judgement.payload["spans"]["a"]
    assert span == {"start": 7, "end": 16, "text": "**wrong**", "label": ATTACK, "note": ATTACK}
    assert page.evaluate("window.hit") is None
