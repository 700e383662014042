"""The pages in Chinese: the catalogue is complete, keeps the values, and lets nothing through that English does not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from annotating import NOW
from browsing import NEEDS_CHROMIUM
from kinds import fill_kind, row

import annotation_ui
from annotation_ui.actions.item_filter import AGREEMENTS, SORTS
from annotation_ui.store.accounts import ROLES
from annotation_ui.store.database import Database
from annotation_ui.store.forms import RESPONSES, Form, Kind
from annotation_ui.store.verdicts import SEVERITIES, SKIP_REASONS, STRENGTHS
from annotation_ui.store.webhooks import EVENTS, TEST
from annotation_ui.web import login, pages, wording
from annotation_ui.web.chinese import CHINESE, CHINESE_PATTERNS
from annotation_ui.web.item_pages import MODEL_WORDS
from annotation_ui.web.languages import language_of, translated

ROOT = Path(annotation_ui.__file__).parent
WEB = ROOT / "web"
STRING = r'"((?:[^"\\]|\\.)*)"'
TEMPLATES = {file.name: file.read_text(encoding="utf-8") for file in sorted((WEB / "templates").glob("*.html"))}
SCRIPTS = "".join(file.read_text(encoding="utf-8") for file in sorted((WEB / "assets").glob("*.js")))
KINDS: tuple[Kind, ...] = ("preference", "safety", "ranking", "attributes", "rewrite")
# Keys, letters of responses, programs and names; texts of the people who made the project.
KEPT = {
    "Enter",
    "Esc",
    "Ctrl",
    "Markdown",
    "JSON",
    "Lines",
    "REST",
    "YAML",
    "keel",
    "English",
    "Krippendorff",
    "Webhook",
}


def texts() -> Iterator[str]:
    """Every text that the pages show of their own."""
    for template in TEMPLATES.values():
        yield from re.findall(rf"_\({STRING}", template)
    yield from (*wording.NAMES.values(), *wording.LABELS.values(), *wording.ORDERS.values(), *wording.SCRIPT_WORDS)
    yield from (*map(str, wording.DEGREES.values()), *STRENGTHS.values(), *SEVERITIES.values(), *SKIP_REASONS)
    yield from (words for _, _, words, _, _ in wording.SCALE)
    yield from (meaning for _, meaning in wording.KEYS)
    yield from (title for of_role in pages.PAGES.values() for _, title in of_role)
    yield from (*AGREEMENTS, *SORTS, *ROLES, *RESPONSES, "user", "assistant", "system", "waiting", "running")
    yield from (login.ENDED, login.WRONG, login.TOO_MANY, login.BUSY, *login.PROBLEMS.values(), "single sign-on")
    yield from (*EVENTS, TEST, *MODEL_WORDS.values(), "sent", "given up")


def test_every_text_of_the_pages_is_in_the_catalogue() -> None:
    found = set(texts())
    assert len(found) > 250
    assert sorted(found - CHINESE.keys() - {"A", "B"}) == []


def test_every_text_of_the_catalogue_is_one_of_the_app() -> None:
    source = "".join(file.read_text(encoding="utf-8") for file in ROOT.rglob("*.py") if file.name != "chinese.py")
    source = re.sub(r'"\s*\n\s*f?"', "", source + "".join(TEMPLATES.values()) + SCRIPTS)  # strings over several lines
    assert [text for text in CHINESE if text not in source] == []


def test_a_translation_keeps_the_values_and_holds_no_markup() -> None:
    for text, said in CHINESE.items():
        values = re.compile(r"%\(\w+\)s|%s")
        assert sorted(values.findall(text)) == sorted(values.findall(said)), text
        assert not set('<>"&') & set(said), text
    for pattern, said in CHINESE_PATTERNS:
        places = {int(place) for place in re.findall(r"\{(\d)\}", said)}
        assert places == set(range(re.compile(pattern).groups)), pattern


def test_the_scripts_say_nothing_that_is_not_handed_to_them() -> None:
    assert set(re.findall(rf"\bword\({STRING}", SCRIPTS)) == set(wording.SCRIPT_WORDS)


def test_a_browser_is_answered_in_its_language() -> None:
    assert [language_of(tag) for tag in ("zh", "zh-CN,zh;q=0.9,en;q=0.8", "ZH-tw")] == ["zh"] * 3
    assert [language_of(tag) for tag in ("en-US", "de", "", None, 7, ["zh"], "en,zh;q=0.5")] == ["en"] * 7
    assert translated("helpfulness of response B is not rated yet", "zh") == "回答 B 的“helpfulness”还没有评分"
    assert translated("words of nobody", "zh") == "words of nobody"


def act(database: Database, who: str, action: str, **asked: Any) -> Any:
    return pages.act(database, who, {"action": action, "project": "p", "language": "zh-CN", **asked}, now=NOW)


def english(html: str) -> list[str]:
    """Words of English outside of what people or models wrote."""
    own = re.sub(r"<(option|code|q|kbd|textarea)\b.*?</\1>", " ", html, flags=re.DOTALL)
    for tag, name in (("div", "k-text"), ("div", "k-harms"), ("p", "k-instructions")):
        own = re.sub(rf'<{tag} class="{name}.*?</{tag}>', " ", own, flags=re.DOTALL)
    shown = re.findall(r'(?:aria-label|placeholder|title|data-confirm)="([^"]*)"', own)
    shown.append(re.sub(r"<[^>]*>", " ", own))
    return [word for text in shown for word in re.findall(r"[A-Za-z]{3,}", text) if word not in KEPT]


@pytest.mark.parametrize("kind", KINDS)
def test_the_screens_of_annotators_are_in_chinese(sqlite: Database, kind: Kind) -> None:
    rated = {"attributes": {"kk": "vv"}, "comparison": True} if kind == "attributes" else {}
    form = Form(spans=() if kind == "rewrite" else ("ss",), **rated)
    rows = [row(0, 2) | {"prompt": "q"}]
    if kind in ("safety", "rewrite"):
        rows = [{"id": "0", "prompt": "q", "response": "r"}]
    elif kind == "preference":
        rows = [{"id": "0", "prompt": "q", "chosen": "r", "rejected": "s"}]
    fill_kind(sqlite, kind, rows=rows, people=("aa",), form=form)
    html = act(sqlite, "aa", "annotate")["html"]
    assert 'lang="zh-CN"' in html
    assert "理由（可不填）" in html
    assert english(html) == []
    token = re.findall(r'data-token="([^"]+)"', html)[0]
    done = act(sqlite, "aa", "vote", token=token, ms=1, said={"label": "skip", "skip_reason": "I cannot tell"})
    assert done["note"] == "已保存"
    assert english(done["html"]) == []
    assert english(act(sqlite, "aa", "history")["html"]) == []


@pytest.mark.parametrize("page", ["review", "items", "dashboard", "project", "users", "account", "webhooks"])
def test_the_other_pages_are_in_chinese(sqlite: Database, page: str) -> None:
    fill_kind(sqlite, "ranking", items=1, people=("aa",))
    html = act(sqlite, "root", page)["html"]
    names = {"root", "rev", "made", "read", "import", "export", "admin", "question", "jsonl", "ndjson", "https"}
    assert [word for word in english(html) if word not in names] == []


ERRORS: list[tuple[str, str, dict[str, Any]]] = [
    ("items", "root", {"fields": {"q": "x" * 2000}}),
    ("items", "root", {"fields": {"q": "x y " * 100}}),
    ("items", "root", {"fields": {"q": "?"}}),
    ("items", "root", {"fields": {"agreement": "agree"}}),
    ("save view", "rev", {"fields": {"view_name": ""}}),
    ("remove view", "rev", {"fields": {"view": "7"}}),
    ("let go on", "rev", {"fields": {"name": "aa"}}),
    ("let go on", "rev", {"fields": {"name": "rev"}}),
    ("next case", "rev", {"item": 1, "fields": {}}),
    ("case", "rev", {"item": 99}),
    ("settings", "root", {"fields": {"lease_seconds": "1e9"}}),
    ("settings", "root", {"fields": {"lease_seconds": "1"}}),
    ("settings", "root", {"fields": {"training_items": "101"}}),
    ("settings", "root", {"fields": {"pause_below": "1"}}),
    ("settings", "root", {"fields": {"hourly_rate": "-1"}}),
    ("settings", "root", {}),
    ("change webhook", "root", {"fields": {"webhook": "7", "what": "test"}}),
    ("change webhook", "root", {"fields": {}}),
    ("add webhook", "root", {"fields": {"url": "ftp://x", "event judged": "yes"}}),
]


@pytest.mark.parametrize(("action", "who", "asked"), ERRORS)
def test_a_refusal_is_in_chinese(sqlite: Database, action: str, who: str, asked: dict[str, Any]) -> None:
    fill_kind(sqlite, "ranking", items=1, people=("aa",))
    error = act(sqlite, who, action, **asked)["error"]
    names = {"ranking", "rev", "http", "https", "Webhook"}
    assert error
    assert [word for word in re.findall(r"[A-Za-z]{3,}", error) if word not in names] == []


def test_a_hostile_name_stays_text_in_chinese(sqlite: Database) -> None:
    fill_kind(sqlite, "ranking", items=1, people=("<img src=x onerror=hit()>",))
    for page in ("users", "project"):
        html = act(sqlite, "root", page)["html"]
        assert "<img" not in html
        assert "&lt;img src=x onerror=hit()&gt;" in html


@pytest.mark.browser
@NEEDS_CHROMIUM[1]
def test_the_language_is_chosen_and_remembered(sqlite: Database, site: Any) -> None:
    fill_kind(sqlite, "attributes", items=1, people=("ann",))
    page = site("ann").page()
    page.get_by_role("button", name="中文").click()
    page.get_by_role("button", name="提交").wait_for()
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    page.reload()
    page.get_by_role("button", name="提交").click()
    page.get_by_text("还没有评分").wait_for()
    page.get_by_role("button", name="English").click()
    page.get_by_role("button", name="Send").wait_for()
