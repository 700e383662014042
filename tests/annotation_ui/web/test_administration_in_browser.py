"""Administration and review in Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from administered import judge
from browsing import NEEDS_CHROMIUM
from sqlalchemy import select

from annotation_ui.store.database import Database
from annotation_ui.store.tables import Item, User


@pytest.mark.browser
class TestInChromium:
    pytestmark = NEEDS_CHROMIUM

    def test_browse_decide_go_on_and_return(self, site: Any, filled: Database) -> None:
        judge(filled, "ann", label="tie", rationale="<b>bold</b>")
        judge(filled, "bob", label="both_bad")
        page = site("rev").page()
        page.click("nav >> text=Items")
        page.wait_for_selector("h1:text-is('Items')")
        page.fill("[name=q]", "question")
        page.click("button:text-is('Show')")
        page.wait_for_selector("text=4 items")
        page.click("td button:text-is('Open') >> nth=0")
        page.wait_for_selector("[data-act=next-case]")
        first = page.inner_text(".k-prompt")
        page.keyboard.press(".")
        page.wait_for_function("before => document.querySelector('.k-prompt').innerText !== before", arg=first)
        page.keyboard.press("Escape")
        page.wait_for_selector("h1:text-is('Items')")
        assert page.input_value("[name=q]") == "question"
        page.select_option("[name=agreement]", "disagree")
        page.click("button:text-is('Show')")
        page.wait_for_selector("text=1 item")

    def test_an_admin_makes_a_project_imports_and_adds_a_user(
        self, site: Any, filled: Database, tmp_path: Path
    ) -> None:
        page = site("root").page()
        page.click("nav >> text=Project")
        page.fill("section:has-text('New project') [name=name]", "second")
        page.click("text=Create")
        page.wait_for_selector("h1:has-text('second')")
        rows = tmp_path / "rows.jsonl"
        rows.write_text('{"prompt": "q", "response_a": "one", "response_b": "two"}\n')
        page.set_input_files("[name=file]", str(rows))
        page.click("button:text-is('Import')")
        page.wait_for_selector("text=1 items added")
        page.click("nav >> text=Users")
        page.wait_for_selector("h1:has-text('Users')")
        page.fill("section [name=name]", "eve")
        page.fill("section [name=password]", "twelve letters")
        page.click("button:text-is('Add')")
        page.wait_for_selector("b:text-is('eve')")
        page.select_option("[aria-label='Role of eve']", "reviewer")
        page.wait_for_selector("text=User eve is changed")
        with filled.read() as session:
            assert session.scalar(select(User.role).where(User.name == "eve")) == "reviewer"
            assert session.scalars(select(Item.source).order_by(Item.id.desc())).first() is not None

    def test_a_reviewer_saves_a_view_and_opens_it_again(self, site: Any, filled: Database) -> None:
        judge(filled, "ann", label="tie")
        page = site("rev").page()
        page.click("nav >> text=Items")
        page.wait_for_selector("text=4 items")
        page.select_option("[name=agreement]", "one vote")
        page.click("button:text-is('Show')")
        page.wait_for_selector("text=1 item")
        page.click("text=Save this view")
        page.fill("[name=view_name]", "single votes")
        page.click("button:text-is('Save')")
        page.wait_for_selector("[aria-current=true] >> text=single votes")
        page.click("button:text-is('Clear')")
        page.wait_for_selector("text=4 items")
        page.click(".k-view >> text=single votes")
        page.wait_for_selector("text=1 item")
        assert page.input_value("[name=agreement]") == "one vote"

    def test_an_admin_adds_a_webhook_and_tries_it(self, site: Any, filled: Database) -> None:
        page = site("root").page()
        page.click("nav >> text=Webhooks")
        page.wait_for_selector("h1:text-is('Webhooks')")
        page.fill("[name=url]", "https://example.org/hook")
        page.check("text=judged >> nth=0")
        page.click("button:text-is('Add')")
        page.wait_for_selector(".k-secret")
        page.click("summary:text-is('Change')")
        page.click("text=Send a test")
        page.wait_for_selector("td:text-is('webhook tested')")
