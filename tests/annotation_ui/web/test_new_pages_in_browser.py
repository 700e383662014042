"""Turns of a conversation, the training round, held-back annotators and the forecast in Chromium: keys, axe, looks."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from annotating import NOW
from browsing import NEEDS_CHROMIUM
from kinds import fill_kind, row
from sqlalchemy import select

from annotation_ui.exchange.importing import import_items
from annotation_ui.labelling import session as annotating
from annotation_ui.store.database import Database
from annotation_ui.store.forms import Form
from annotation_ui.store.projects import Settings
from annotation_ui.store.tables import Judgement

pytestmark = NEEDS_CHROMIUM
TALK = [
    {"role": "user", "content": "ما الفرق بين الخلية النباتية والحيوانية؟"},
    {"role": "assistant", "content": "للخلية النباتية جدار خلوي و**بلاستيدات خضراء**، وليس للحيوانية أيٌّ منهما."},
    {"role": "user", "content": "And the vacuole? 液泡呢？"},
]
LOOKS = [("light", 1280, "en"), ("dark", 390, "zh-CN"), ("light", 390, "en"), ("dark", 1280, "zh-CN")]


def looks(theme: str, width: int, language: str) -> dict[str, Any]:
    return {"color_scheme": theme, "viewport": {"width": width, "height": 844}, "locale": language}


def picture(page: Any, name: str) -> None:
    if folder := os.environ.get("KEEL_TEST_PICTURES"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def complaints(page: Any) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    page.wait_for_timeout(250)
    found = Axe().run(page).response["violations"]
    return [f"{rule['id']}: {node['target']}" for rule in found for node in rule["nodes"]]


def fits(page: Any) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@pytest.mark.parametrize(("theme", "width", "language"), LOOKS)
def test_turns_are_judged_by_keyboard(site: Any, sqlite: Database, theme: str, width: int, language: str) -> None:
    rows = [{"id": str(n), "prompt": TALK, "response": f"它储存水分和养分。 {n}"} for n in range(2)]
    fill_kind(sqlite, "safety", rows=rows, form=Form(turns=("good", "wrong")), people=("ann",))
    page = site("ann").page(**looks(theme, width, language))
    page.wait_for_timeout(400)
    page.keyboard.press("1")
    page.wait_for_selector(".k-note.k-error.k-on")  # a turn has no verdict yet
    page.keyboard.press("v")
    page.keyboard.press("Space")
    page.keyboard.press("v")
    page.keyboard.press("ArrowRight")  # from the first label to the second
    picture(page, f"turns-{theme}-{width}-{language}")
    assert complaints(page) == []
    assert fits(page)
    page.evaluate("document.activeElement.blur()")
    token = page.get_attribute(".k-main", "data-token")
    page.keyboard.press("1")
    page.wait_for_function("t => document.querySelector('.k-main').dataset.token !== t", arg=token)
    with sqlite.read() as session:
        [judgement] = session.scalars(select(Judgement))
    assert judgement.payload == {"turns": {"1": "good", "3": "wrong"}}


@pytest.mark.parametrize(("theme", "width", "language"), LOOKS)
def test_the_training_round(site: Any, sqlite: Database, tmp_path: Path, theme: str, width: int, language: str) -> None:
    settings = Settings(gold_rate=0, repeat_rate=0, training_items=2, pause_below=0.9)
    form = Form(attributes={"helpfulness": "How much it helps", "tone": "From rude to kind"})
    fill_kind(sqlite, "attributes", items=2, responses=2, settings=settings, form=form, people=("ann",))
    file = tmp_path / "gold.jsonl"
    known = [{"helpfulness": 4, "tone": 0}, {"helpfulness": 0, "tone": 4}]
    rows = [row(1000 + n, 2) | {"ratings": known, "explanation": "The first one answers."} for n in range(2)]
    file.write_text("".join(json.dumps(each) + "\n" for each in rows))
    import_items(sqlite, "p", [str(file)], gold=True, author="root", now=NOW)
    page = site("ann").page(**looks(theme, width, language))
    assert page.locator(".k-banner").count() == 1
    for n in range(2):
        page.wait_for_selector(".k-verdict")
        page.wait_for_timeout(400)
        for key in "2222":
            page.keyboard.press(key)
        page.keyboard.press("Enter")
        page.wait_for_selector(".k-feedback")
        assert "The first one answers." in page.inner_text(".k-feedback")
        assert page.locator(".k-feedback td .k-off").count() == 4
        if n == 0:
            picture(page, f"feedback-{theme}-{width}-{language}")
            assert complaints(page) == []
            assert fits(page)
        page.keyboard.press("Enter")
    page.wait_for_selector(".k-empty")  # both answers are wrong: paused
    picture(page, f"paused-{theme}-{width}-{language}")
    assert complaints(page) == []


@pytest.mark.parametrize(("theme", "width", "language"), LOOKS)
def test_a_reviewer_sees_the_forecast_and_lets_somebody_go_on(
    site: Any, sqlite: Database, tmp_path: Path, theme: str, width: int, language: str
) -> None:
    now = time.time()  # the page looks back from the present
    settings = Settings(gold_rate=0, repeat_rate=0, training_items=1, pause_below=0.9, hourly_rate=15)
    form = Form(spans=("error", "unsafe"), turns=("good", "wrong"))
    rows = [row(n, 2) | {"prompt": TALK} for n in range(30)]
    fill_kind(sqlite, "ranking", rows=rows, settings=settings, people=("ann", "bob"), form=form)
    file = tmp_path / "gold.jsonl"
    file.write_text(json.dumps(row(1000, 2) | {"ranks": [1, 2]}) + "\n")
    for n in range(22):
        task = annotating.next_task(sqlite, "bob", "p", now=now)
        assert task is not None
        text = task.shown[0][0]["content"]
        spans = [[{"start": 0, "end": len(text), "text": text, "label": "error", "note": ""}], []]
        said = {"label": "ranked", "ranks": [1, 2], "turns": {"1": "good"}, "spans": spans if n % 2 else []}
        annotating.vote(sqlite, "bob", "p", task.token, said, dwell_ms=20_000 + 900 * n, now=now - 86400 * (n % 8))
    import_items(sqlite, "p", [str(file)], gold=True, author="root", now=now)
    task = annotating.next_task(sqlite, "ann", "p", now=now)
    assert task is not None
    wrong = [2, 1] if task.shown[0][0]["content"].startswith("a") else [1, 2]
    said = {"label": "ranked", "ranks": wrong, "turns": {}}
    annotating.vote(sqlite, "ann", "p", task.token, said, dwell_ms=9000, now=now)
    page = site("rev").page(ready=".k-app", **looks(theme, width, language))
    page.click("[data-open=dashboard]")
    page.wait_for_selector(".k-forecast")
    picture(page, f"forecast-{theme}-{width}-{language}")
    assert complaints(page) == []
    assert fits(page)
    page.locator("[data-do='let go on']").scroll_into_view_if_needed()
    picture(page, f"held-back-{theme}-{width}-{language}")
    page.click("[data-do='let go on']")
    page.wait_for_selector(".k-note.k-on")
    assert page.locator("[data-do='let go on']").count() == 0


@pytest.mark.parametrize(("theme", "width", "language"), LOOKS[1:3])
def test_settings_of_the_training_round(site: Any, sqlite: Database, theme: str, width: int, language: str) -> None:
    fill_kind(sqlite, "ranking", items=1, people=("ann",))
    page = site("root").page(ready=".k-app", **looks(theme, width, language))
    page.click("[data-open=project]")
    page.wait_for_selector("[name=pause_below]")
    page.fill("[name=pause_below]", "0.7")
    page.fill("[name=training_items]", "4")
    page.fill("[name=hourly_rate]", "12.5")
    picture(page, f"settings-{theme}-{width}-{language}")
    assert complaints(page) == []
    page.locator("form[data-form=settings] button").click()
    page.wait_for_selector(".k-note.k-on")
    assert page.input_value("[name=hourly_rate]") == "12.5"
    assert page.input_value("[name=training_items]") == "4"
