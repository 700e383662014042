"""Every field that a person can fill, with texts that would like to be markup, statements or patterns."""

from __future__ import annotations

import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from annotating import NOW
from kinds import fill_kind

from annotation_ui.actions.administration import release_leases
from annotation_ui.labelling import session as annotating
from annotation_ui.store.accounts import AccountError, add_user
from annotation_ui.store.database import Database
from annotation_ui.store.forms import KINDS, DefinitionError, Form, read_definition
from annotation_ui.store.tables import Judgement
from annotation_ui.store.verdicts import VerdictError
from annotation_ui.store.webhooks import WebhookError, add_webhook
from annotation_ui.web import pages

PAYLOADS: list[str] = json.loads((Path(__file__).parent / "payloads.json").read_text(encoding="utf-8"))
LINES = [text.strip() for text in PAYLOADS if text.isprintable()]  # what a name of one line can hold
STATEMENTS = [
    "' OR 1=1 --",
    '"); DROP TABLE items; --',
    "%s %(x)s {0} {}",
    "{{7*7}}",
    "../../etc/passwd",
    "a\u2028b",
    "\u202ea",
]


def act(database: Database, who: str, action: str, **asked: Any) -> dict[str, Any]:
    return pages.act(database, who, {"action": action, "project": "p", **asked}, now=NOW)


class _Elements(HTMLParser):
    """The elements of a page with their attributes, as a browser reads them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))


def harmless(html: str) -> None:
    """No element or attribute but those that our templates and our renderer write."""
    for tag, attributes in _Elements(html).found:
        assert tag not in {"script", "img", "iframe", "object", "embed", "link", "meta", "base", "style", "plaintext"}
        assert not [name for name in attributes if name.startswith("on") or name in ("srcdoc", "formaction")]
        assert (attributes.get("href") or "api/").startswith("api/")


def test_there_are_enough_of_them() -> None:
    assert len(LINES) >= 22


@pytest.mark.parametrize("kind", ["preference", "safety"])
def test_labels_of_passages_and_notes_on_them(sqlite: Database, kind: Any) -> None:
    """In the buttons, in the verdict to be edited, in a reviewer's case, and in the history of the item."""
    response = {"response": "answer"} if kind == "safety" else {"response_a": "answer", "response_b": "other"}
    for begin in range(0, len(LINES), 8):
        names = tuple(LINES[begin : begin + 8])
        form = Form(instructions=names[0], spans=names)
        if begin == 0:
            fill_kind(sqlite, kind, form=form, rows=[{"prompt": f"q {n}", **response} for n in range(9)])
        else:
            text = read_definition(f"kind: {kind}").to_yaml() + yaml.safe_dump({"spans": list(names)})
            assert act(sqlite, "root", "define", fields={"definition": text})["error"] is None
            release_leases(sqlite, "root", "p", now=NOW)  # the item in hand has the labels of the version before
        html = act(sqlite, "ann", "annotate")["html"]
        harmless(html)
        assert [a["data-mark"] for _, a in _Elements(html).found if "data-mark" in a] == list(names)
        task = annotating.next_task(sqlite, "ann", "p", now=NOW)
        assert task is not None
        length = len(task.shown[0][0]["content"])
        marks = [
            {"start": 0, "end": length, "text": task.shown[0][0]["content"], "label": name, "note": f"{name} {note}"}
            for name, note in zip(names, PAYLOADS[begin:], strict=False)
        ]
        said = {"label": "safe"} if kind == "safety" else {"label": "tie"}
        spans = [marks] if kind == "safety" else [marks, []]
        reply = act(sqlite, "ann", "vote", token=task.token, ms=1, said=said | {"spans": spans})
        assert reply["error"] is None, reply
        history = act(sqlite, "ann", "history")["html"]
        number = re.search(r'data-act="edit" data-judgement="(\d+)"', history)
        assert number is not None
        edited = act(sqlite, "ann", "open edit", judgement=int(number[1]))["html"]
        harmless(edited)
        kept = re.search(r'name="spans" value="([^"]*)"', edited)
        assert kept is not None
        found = json.loads(unescape(kept[1]))[0]
        assert sorted(mark["label"] for mark in found) == sorted(names)
        with sqlite.read() as session:
            item = session.get_one(Judgement, int(number[1])).item_id
        harmless(act(sqlite, "rev", "case", item=item)["html"])


@pytest.mark.parametrize("payload", [*PAYLOADS, *STATEMENTS])
def test_a_definition_keeps_a_text_or_refuses_it(payload: str) -> None:
    """Every field of the YAML: what is accepted is read back as it is, and every refusal names the field."""
    for kind in KINDS:
        given: dict[str, Any] = {"kind": kind, "guideline": payload, "instructions": payload, "spans": [payload, "x"]}
        given |= {"harms": [payload, "x"], "attributes": {"tone": payload}}
        for key in ("guideline", "instructions", "spans", "harms", "attributes"):
            text = yaml.safe_dump({"kind": kind, key: given[key]}, allow_unicode=True)
            read, refused = None, ""
            try:
                read = read_definition(text)
            except DefinitionError as error:
                refused = str(error)
            if read is not None:
                assert read_definition(read.to_yaml()) == read
            else:
                assert key.removesuffix("s") in refused or "explanation" in refused
        for key in ("kind", "scale", "ties", "comparison", payload):
            with pytest.raises(DefinitionError):
                read_definition(yaml.safe_dump({"kind": "attributes", key: payload}, allow_unicode=True))
    with pytest.raises(DefinitionError, match="attribute"):
        read_definition(yaml.safe_dump({"kind": "attributes", "attributes": {payload: "x"}}, allow_unicode=True))
    with pytest.raises(DefinitionError):
        read_definition(payload)


@pytest.mark.parametrize("payload", [*PAYLOADS, *STATEMENTS])
def test_ranks_ratings_and_labels_are_not_texts(sqlite: Database, payload: str) -> None:
    shown = payload.replace("\0", "")
    fill_kind(sqlite, "ranking", rows=[{"prompt": shown, "responses": ["a", f"{shown}b"]}])
    html = act(sqlite, "ann", "annotate")["html"]
    harmless(html)
    task = annotating.next_task(sqlite, "ann", "p", now=NOW)
    assert task is not None
    for said in (
        {"label": payload},
        {"label": "ranked", "ranks": [payload, 1]},
        {"label": "ranked", "ranks": payload},
        {"label": "ranked", "ranks": [1, 2], "spans": payload},
        {"label": "skip", "skip_reason": payload},
    ):
        with pytest.raises(VerdictError) as error:
            annotating.vote(sqlite, "ann", "p", task.token, said, now=NOW)
        assert len(str(error.value)) < 200


@pytest.mark.parametrize("payload", [*PAYLOADS, *STATEMENTS])
def test_names_addresses_and_searches(sqlite: Database, payload: str) -> None:
    fill_kind(sqlite, "attributes", rows=[{"prompt": f"x {payload}".replace("\0", ""), "responses": ["a"]}])
    with sqlite.write() as session, pytest.raises(WebhookError, match="http"):
        add_webhook(session, payload, ["judged"], project=None, by="root", now=NOW)
    with sqlite.write() as session:
        hook = add_webhook(session, "https://example.org/", ["judged"], project=None, by="root", now=NOW)
        with pytest.raises(WebhookError, match="events"):
            add_webhook(session, hook.url, [payload], project=None, by="root", now=NOW)
    name = payload[:100].strip()
    try:
        with sqlite.write() as session:
            add_user(session, name, "annotator", None, now=NOW)
    except AccountError:
        assert not name.isprintable()
    else:
        harmless(act(sqlite, "root", "users")["html"])
        harmless(act(sqlite, name, "annotate")["html"])
        harmless(act(sqlite, "root", "member", fields={"what": "add", "name": name})["html"])
    words = re.findall(r"[^\W_]+", payload)
    found = act(sqlite, "root", "items", fields={"q": payload})
    if words:
        assert "1 item" in re.sub(r"\s+", " ", found["html"])
        harmless(found["html"])
    else:
        assert "no word" in found["error"]
