"""A snapshot in Chromium: opened from the dashboard, downloaded, and come back to; and pages asked for in haste."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from annotating import NOW
from browsing import NEEDS_CHROMIUM
from kinds import fill_kind, rank

from annotation_ui.actions.transfer import labelled_lines, take_snapshot
from annotation_ui.store.database import Database

pytestmark = NEEDS_CHROMIUM


def complaints(page: Any) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    page.wait_for_timeout(250)
    found = Axe().run(page).response["violations"]
    return [f"{rule['id']}: {node['target']}" for rule in found for node in rule["nodes"]]


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_a_snapshot_is_downloaded_in_the_browser(
    site: Any, sqlite: Database, tmp_path: Path, theme: str, width: int
) -> None:
    fill_kind(sqlite, "ranking", items=2)
    rank(sqlite, "ann", "abc")
    rank(sqlite, "ann", "cab")
    take_snapshot(sqlite, "root", "p", "s1", now=NOW)
    page = site("rev").page(ready=".k-app", color_scheme=theme, viewport={"width": width, "height": 844})
    page.click("[data-open=dashboard]")
    page.click("[data-do='open snapshot']")
    page.wait_for_selector("h1:has-text('p@s1')")
    assert page.inner_text(".k-command").startswith("keel train rm --config helpful_cpu")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert complaints(page) == []
    with page.expect_download() as arriving:
        page.click("a[download='p-s1-train.jsonl']")
    arriving.value.save_as(tmp_path / "rows.jsonl")
    lines = list(labelled_lines(sqlite, "rev", "p", "s1", "train"))
    assert (tmp_path / "rows.jsonl").read_text() == "".join(lines)
    assert len(lines) == 6
    assert {json.loads(line)["margin"] for line in lines} == {1.0, 2.0}
    page.reload()
    page.wait_for_selector("h1:has-text('p@s1')")  # the page has an address
    page.keyboard.press("Escape")
    page.wait_for_selector("h2:text-is('Snapshots')")


def test_a_page_that_is_asked_for_before_the_answer_is_there_comes_next(site: Any, sqlite: Database) -> None:
    fill_kind(sqlite, "ranking", items=1)
    page = site("rev").page()
    names = "['items', 'history', 'account']"
    page.evaluate(f"for (const name of {names}) document.querySelector(`[data-open=${{name}}]`).click()")
    page.wait_for_selector(".k-app[data-page=account]")
    page.wait_for_function("!document.querySelector('[aria-busy=true]')")
    assert page.get_attribute(".k-app", "data-page") == "account"
