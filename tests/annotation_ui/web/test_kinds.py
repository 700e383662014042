"""The pages of the kinds with ratings and ranks, without a browser."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from annotating import NOW
from kinds import PLAIN, fill_kind, rank, rate

from annotation_ui.store.database import Database
from annotation_ui.store.forms import Form, default_definition, read_definition
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
    assert re.search(r"[ABC] &gt; [ABC] &gt; [ABC]", html)
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
    """In prompts, responses, model names, instructions and explanations."""
    names = [text for text in PAYLOADS if text.isprintable() and len(text) <= 200]
    shown = " ".join(PAYLOADS).replace("\0", "")
    attributes = {f"q{n}": text for n, text in enumerate(names[:12])} if kind == "attributes" else None
    rows = [{"prompt": shown, "responses": [f"{shown} {n}" for n in range(2)], "models": names[:2]}]
    fill_kind(sqlite, kind, form=Form(instructions=names[0], attributes=attributes), rows=rows, settings=PLAIN)
    html = act(sqlite, "ann", "annotate")["html"]
    harmless(html)
    assert "&lt;script&gt;window.hit=1&lt;/script&gt;</p>" in html  # the instructions are there, as text
    if kind == "attributes":
        assert "&lt;img src=x onerror=window.hit=1&gt;" in html


def harmless(html: str) -> None:
    """No element or attribute but those that our templates and our renderer write."""
    assert not {"script", "img", "iframe", "object", "embed", "link", "meta", "base", "style"} & set(tags(html))
    for element in re.findall(r"<[a-z][^>]*>", html):
        assert not re.search(r"\s(on[a-z]+|srcdoc|href|formaction)=", element), element


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_payload_in_a_rewrite_becomes_an_element(sqlite: Database, payload: str) -> None:
    """The text while it is written, in the preview, read by a second person, and in the note that sends it back."""
    fill_kind(sqlite, "rewrite", rows=[{"prompt": "question", "response": "answer"}])
    first = act(sqlite, "ann", "annotate")["html"]
    assert act(sqlite, "ann", "draft", token=token(first), text=f"x {payload}")["error"] is None
    drafted = act(sqlite, "ann", "annotate")["html"]
    harmless(drafted)
    assert drafted.count("</textarea>") == first.count("</textarea>")
    [preview] = act(sqlite, "ann", "preview", text=payload)["html"]
    harmless(preview)
    said = {"label": "written", "text": f"x {payload}", "rationale": payload}
    assert act(sqlite, "ann", "vote", token=token(drafted), ms=5, said=said)["error"] is None
    number = re.search(r'data-judgement="(\d+)">Read', act(sqlite, "rev", "review")["html"])
    assert number is not None
    read = act(sqlite, "rev", "reading", judgement=int(number[1]))["html"]
    harmless(read)
    note = {"label": "returned", "rationale": f"x {payload}"}
    reply = act(sqlite, "rev", "decide text", judgement=int(number[1]), seen=None, said=note)
    assert reply["note"] == "Sent back"
    back = act(sqlite, "ann", "annotate")["html"]
    assert "Sent back:" in back
    harmless(back)


def test_only_reviewers_read_and_decide_on_texts(sqlite: Database) -> None:
    fill_kind(sqlite, "rewrite", rows=[{"prompt": "question"}])
    html = act(sqlite, "ann", "annotate")["html"]
    act(sqlite, "ann", "vote", token=token(html), ms=5, said={"label": "written", "text": "text"})
    accept = {"label": "accepted", "rationale": ""}
    for reply in (
        act(sqlite, "bob", "reading", judgement=1),
        act(sqlite, "bob", "decide text", judgement=1, seen=None, said=accept),
        act(sqlite, "bob", "review"),
    ):
        assert reply["html"] is None
        assert reply["error"]
    assert "Waits for a second person" in act(sqlite, "ann", "history")["html"]
    assert act(sqlite, "rev", "decide text", judgement=1, seen=None, said=accept)["note"] == "Accepted"
    history = act(sqlite, "ann", "history")["html"]
    assert "a second person has accepted it" in history
    assert 'data-act="undo"' not in history
    dashboard = act(sqlite, "root", "dashboard")["html"]
    assert re.search(r"Accepted</span>.*<span class=\"k-count\">1<", dashboard)
    assert "Train on it" in act(sqlite, "root", "snapshot", name="s1")["html"]
    assert "Train on it" not in act(sqlite, "rev", "dashboard")["html"]


def test_a_lost_draft_leaves_the_page_as_it_is(sqlite: Database) -> None:
    fill_kind(sqlite, "rewrite", rows=[{"prompt": "question"}])
    reply = act(sqlite, "ann", "draft", token="of nobody", text="text")
    assert reply["html"] is None
    assert "kept in this tab" in reply["error"]
    assert act(sqlite, "ann", "preview", text=["x"])["error"]


def test_a_definition_is_edited_in_the_browser(sqlite: Database) -> None:
    fill_kind(sqlite, "attributes", items=1, responses=1)
    html = act(sqlite, "root", "project")["html"]
    found = re.search(r'name="definition"[^>]*>\n(.*?)</textarea>', html, re.S)
    assert found is not None
    assert read_definition(unescape(found[1])) == default_definition("attributes")
    text = f"kind: attributes\ninstructions: {PAYLOADS[1]!r}\nattributes: [tone]\n"
    reply = act(sqlite, "root", "define", fields={"definition": text})
    assert reply["error"] is None
    assert "Version 2" in reply["note"]
    harmless(re.sub(r'<a href="api/[^>]*>', "", reply["html"]))
    asked = act(sqlite, "ann", "annotate")["html"]
    assert asked.count('role="radiogroup"') == 1
    harmless(asked)
    for wrong in ("kind: safety", "attributes: {}", "[", "kind: attributes\nattributes: {'<b>': x}"):
        reply = act(sqlite, "root", "define", fields={"definition": wrong})
        assert reply["html"] is None
        assert reply["error"]
    assert act(sqlite, "ann", "define", fields={"definition": text})["html"] is None
