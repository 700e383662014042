"""The pages as a language that is written from right to left would have them; the words stay English here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from annotating import judge
from browsing import NEEDS_CHROMIUM
from kinds import fill_kind
from sqlalchemy import select

from annotation_ui.store.database import Database
from annotation_ui.store.forms import Form
from annotation_ui.store.tables import Judgement
from annotation_ui.web import languages, wording

pytestmark = NEEDS_CHROMIUM
ARABIC = "لماذا يموت الريحان عندي كل شتاء؟"
ANSWERS = (
    "الريحان نبات محب للدفء:\n\n1. أبعده عن النافذة ليلًا.\n2. اسقه عندما يجف سطح التربة فقط.",
    "Basil needs warmth and light:\n\n1. Move it away from the window at night.\n2. Water it when the soil is dry.",
)


@pytest.fixture(autouse=True)
def _mirrored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(languages.DIRECTIONS, "en", "rtl")
    wording.environment.cache_clear()
    yield
    wording.environment.cache_clear()


def rows() -> list[dict[str, Any]]:
    prompts = (ARABIC, "Why does my basil die every winter?", f"{ARABIC} (2)", "And my mint?")
    return [{"prompt": prompt, "response_a": ANSWERS[0], "response_b": ANSWERS[1]} for prompt in prompts]


def picture(page: Any, name: str) -> None:
    if folder := os.environ.get("KEEL_TEST_PICTURES"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def x(page: Any, selector: str) -> float:
    return float(page.locator(selector).first.bounding_box()["x"])


def fits(page: Any) -> bool:
    """Nothing sticks out of the window to either side."""
    return bool(page.evaluate("document.querySelector('.k-app').scrollWidth <= innerWidth"))


def complaints(page: Any) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    page.wait_for_timeout(250)
    return [rule["id"] for rule in Axe().run(page).response["violations"]]


@pytest.mark.parametrize("width", [1280, 390])
def test_a_is_on_the_left_and_the_rest_begins_at_the_right(site: Any, sqlite: Database, width: int) -> None:
    fill_kind(sqlite, "preference", rows=rows())
    page = site("ann").page(viewport={"width": width, "height": 844})
    assert page.evaluate("document.documentElement.dir") == "rtl"
    assert x(page, ".k-bar nav button:has-text('Annotate')") > x(page, ".k-bar nav button:has-text('My verdicts')")
    assert x(page, ".k-scale [data-key='1']") < x(page, ".k-scale [data-key='7']")
    if width > 860:
        assert x(page, "[aria-labelledby=k-a]") < x(page, "[aria-labelledby=k-b]")
    reason = page.locator("[name=rationale]")
    directions = [reason.evaluate("node => getComputedStyle(node).direction")]
    for text in ("why", ARABIC, ""):
        reason.fill(text)
        directions.append(reason.evaluate("node => getComputedStyle(node).direction"))
    assert directions == ["rtl", "ltr", "rtl", "rtl"]
    page.keyboard.press("Escape")
    assert fits(page)
    picture(page, f"rtl-annotate-{width}")
    assert complaints(page) == []
    page.wait_for_timeout(400)
    page.keyboard.press("1")
    page.wait_for_selector(".k-note.k-on")
    with sqlite.read() as session:
        [judgement] = session.scalars(select(Judgement)).all()
    assert (judgement.label, judgement.strength) == (judgement.left, 3)  # the response on the left, much better


@pytest.mark.parametrize("width", [1280, 390])
def test_lists_and_charts(site: Any, sqlite: Database, width: int) -> None:
    fill_kind(sqlite, "preference", rows=rows())
    for who in ("ann", "bob", "ann"):
        judge(sqlite, who)
    page = site("root").page(viewport={"width": width, "height": 844})
    page.click("[data-open=items]")
    page.wait_for_selector(".k-table")
    if width > 860:
        assert x(page, "th:text-is('Prompt')") > x(page, "th:text-is('Characters')") > x(page, "td:last-child button")
    assert fits(page)
    picture(page, f"rtl-items-{width}")
    assert complaints(page) == []
    page.click("[data-open=dashboard]")
    page.wait_for_selector(".k-times")
    places = "all => all.map((tick) => tick.getBoundingClientRect()).filter((box) => box.width).map((box) => box.x)"
    ticks = page.locator(".k-ticks span").evaluate_all(places)
    assert len(ticks) > 2
    assert ticks == sorted(ticks)  # an axis from left to right
    assert fits(page)
    picture(page, f"rtl-dashboard-{width}")
    page.click("[data-open=project]")
    page.wait_for_selector("[data-upload]")
    assert fits(page)
    picture(page, f"rtl-project-{width}")


@pytest.mark.parametrize("kind", ["ranking", "attributes"])
def test_answers_stand_in_the_order_of_the_responses(site: Any, sqlite: Database, kind: Any) -> None:
    form = Form(attributes={"helpful": "It answers the question."}) if kind == "attributes" else None
    fill_kind(sqlite, kind, responses=3, form=form)
    page = site("ann").page()
    boxes = "all => all.map((node) => node.getBoundingClientRect()).map((box) => [box.y, box.x])"
    for selector in (".k-pair > .k-response", ".k-answer .k-rate"):
        places = page.locator(selector).evaluate_all(boxes)
        assert len(places) == 3
        assert places == sorted(places)  # line by line, from left to right
    if kind == "attributes":
        assert x(page, ".k-asked") > x(page, ".k-answer .k-rate")
    picture(page, f"rtl-{kind}")

    def current() -> float:
        return x(page, ".k-rate.k-current")

    before = current()
    page.keyboard.press("ArrowRight")
    assert current() > before
    page.keyboard.press("ArrowLeft")
    assert current() == before
