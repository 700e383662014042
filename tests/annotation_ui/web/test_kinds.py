"""The pages of the kinds with ratings and ranks, without a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from annotating import NOW
from kinds import PLAIN, fill_kind, rank, rate

from annotation_ui.store.database import Database
from annotation_ui.store.forms import Form, default_definition
from annotation_ui.store.projects import Settings
from annotation_ui.web import pages

PAYLOADS: list[str] = json.loads((Path(__file__).parent / "payloads.json").read_text(encoding="utf-8"))


def act(database: Database, who: str, action: str, **asked: Any) -> dict[str, Any]:
    return pages.act(database, who, {"action": action, "project": "p", **asked}, now=NOW)


def tags(html: str) -> list[str]:
    return re.findall(r"<([a-z]+)", html)


def test_a_form_asks_every_attribute_of_every_response(sqlite: Database) -> None:
    fill_kind(sqlite, "attributes", items=1, responses=2)
    html = act(sqlite, "ann", "annotate")["html"]
    assert len(re.findall(r'role="radiogroup"', html)) == 10
    assert len(re.findall(r'type="radio"', html)) == 50
    assert default_definition("attributes").form.instructions in html
    assert 'data-label="rated"' in html
    assert "not rated yet" in act(sqlite, "ann", "vote", token=token(html), ms=5, said=rated([{}, {}]))["error"]


def token(html: str) -> str:
    found = re.search(r'data-token="([^"]+)"', html)
    assert found is not None
    return found[1]


def rated(ratings: list[dict[str, int]]) -> dict[str, Any]:
    return {"label": "rated", "ratings": ratings}


def test_a_ranking_is_edited_with_its_ranks_filled_in(sqlite: Database) -> None:
    fill_kind(sqlite, "ranking", items=1, responses=3)
    rank(sqlite, "ann", "abc")
    html = act(sqlite, "ann", "history")["html"]
    assert "Ranked" in html
    number = re.search(r'data-act="edit" data-judgement="(\d+)"', html)
    assert number is not None
    html = act(sqlite, "ann", "open edit", judgement=int(number[1]))["html"]
    assert len(re.findall(r"checked", html)) == 3


def test_a_reviewer_sees_the_rankings_and_decides(sqlite: Database) -> None:
    fill_kind(sqlite, "ranking", items=1, responses=3, settings=Settings(votes_per_item=2, gold_rate=0, repeat_rate=0))
    rank(sqlite, "ann", "abc")
    rank(sqlite, "bob", "cba")
    html = act(sqlite, "rev", "review")["html"]
    assert "disagree on the order" in html
    item = re.search(r'data-item="(\d+)"', html)
    assert item is not None
    html = act(sqlite, "rev", "case", item=int(item[1]))["html"]
    assert len(re.findall(r"<b>[ABC] &gt; [ABC] &gt; [ABC]</b>", html)) == 2
    reply = act(sqlite, "rev", "decide", item=int(item[1]), seen=None, said={"label": "ranked", "ranks": [1, 2, 3]})
    assert reply["note"] == "Decided"
    assert act(sqlite, "rev", "case", item=int(item[1]))["html"].count("checked") == 3


def test_the_dashboard_of_ratings_and_ranks(sqlite: Database) -> None:
    fill_kind(
        sqlite, "attributes", items=2, responses=1, settings=Settings(votes_per_item=2, gold_rate=0, repeat_rate=0)
    )
    for who in ("ann", "bob"):
        for n in range(2):
            rate(sqlite, who, {"a": [4, 3, n, n, 0]})
    html = act(sqlite, "root", "dashboard")["html"]
    assert "Ordinal α" in html
    assert all(name in html for name in ("helpfulness", "verbosity"))
    assert "Cohen" not in html
    assert "Position bias" not in html


@pytest.mark.parametrize("kind", ["attributes", "ranking"])
def test_no_payload_becomes_an_element(sqlite: Database, kind: Any) -> None:
    """In prompts, responses, model names, instructions and explanations; the same tags as with harmless text."""
    names = [text for text in PAYLOADS if text.isprintable() and len(text) <= 200]

    def filled(texts: list[str]) -> tuple[list[str], str]:
        shown = " ".join(texts)
        attributes = {f"q{n}": text[:300] for n, text in enumerate(texts[:12])} if kind == "attributes" else None
        form = Form(instructions=texts[0], attributes=attributes)
        rows = [{"prompt": shown, "responses": [f"{shown} {n}" for n in range(2)], "models": texts[:2]}]
        fill_kind(sqlite, kind, form=form, rows=rows, settings=PLAIN)
        return texts, act(sqlite, "ann", "annotate")["html"]

    _, html = filled(names)
    assert not {"script", "img", "iframe", "object", "embed", "link", "meta", "base", "style"} & set(tags(html))
    for element in re.findall(r"<[a-z][^>]*>", html):
        assert not re.search(r"\son[a-z]+=", element), element
    if kind == "attributes":
        assert "&lt;img src=x onerror=window.hit=1&gt;" in html
