"""Every field that a person can fill, with texts that would like to be markup, statements or patterns."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from annotating import NOW
from kinds import PLAIN, fill_kind
from sqlalchemy import select

from annotation_ui.actions.administration import release_leases
from annotation_ui.exchange.importing import import_items
from annotation_ui.labelling import session as annotating
from annotation_ui.store.accounts import AccountError, add_user
from annotation_ui.store.database import Database
from annotation_ui.store.forms import KINDS, DefinitionError, Form, read_definition
from annotation_ui.store.identities import sign_in
from annotation_ui.store.tables import Judgement
from annotation_ui.store.verdicts import VerdictError, storable
from annotation_ui.store.webhooks import WebhookError, add_webhook
from annotation_ui.web import pages
from annotation_ui.web.oidc_settings import OidcSettings

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
        given |= {"harms": [payload, "x"], "turns": [payload, "x"], "attributes": {"tone": payload}}
        for key in ("guideline", "instructions", "spans", "harms", "turns", "attributes"):
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


def test_names_of_saved_views_and_webhooks(sqlite: Database) -> None:
    """On the pages that list them, to their owner and to others; in every field of a filter that is kept."""
    fill_kind(sqlite, "preference", rows=[{"prompt": "q", "response_a": "one", "response_b": "two"}])
    kept: list[str] = []
    for payload in (*PAYLOADS, *STATEMENTS):
        name = storable(payload).strip()[:60].strip()
        fields = {"view_name": name, "view_shared": "yes", "source": payload, "annotator": payload, "model": payload}
        error = act(sqlite, "rev", "save view", fields=fields)["error"]
        assert bool(error) == (not name or not name.isprintable()), (payload, error)
        kept += [] if error else [name]
        assert act(sqlite, "rev", "remove view", fields={"view": payload})["error"]
        for address in (payload, f"https://example.org/{payload}"):
            fields = {"url": address, "event judged": "yes", f"event {payload}": "yes"}
            reply = act(sqlite, "root", "add webhook", fields=fields)
            assert reply["error"] or reply["html"]
        for field in ("webhook", "what"):
            changed = {"webhook": "1", "what": "test"} | {field: payload}
            assert act(sqlite, "root", "change webhook", fields=changed)["error"], payload
    assert len(kept) >= 22
    for who in ("rev", "root"):
        html = act(sqlite, who, "items")["html"]
        harmless(html)
        assert all(name in unescape(html) for name in kept)
    harmless(act(sqlite, "root", "webhooks")["html"])


def test_known_answers_and_what_people_in_training_are_told(sqlite: Database, tmp_path: Path) -> None:
    """The explanation of a known answer, on the page that an annotator in training sees after a vote."""
    every = [*PAYLOADS, *STATEMENTS]
    fill_kind(sqlite, "ranking", responses=2, settings=replace(PLAIN, training_items=len(every)))
    known = {"responses": ["one", "two"], "ranks": [1, 2]}
    rows = [known | {"prompt": f"known {n}", "explanation": text} for n, text in enumerate(every)]
    rows += [known | {"prompt": "x", "ranks": ranks} for text in every for ranks in (text, [text, 1])]
    file = tmp_path / "gold.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    done = import_items(sqlite, "p", [str(file)], gold=True, max_bad=len(rows), author="root", now=NOW)
    assert (done.added.items, len(done.bad)) == (len(every), 2 * len(every))
    for payload in every:
        task = annotating.next_task(sqlite, "ann", "p", now=NOW)
        assert task is not None
        html = act(sqlite, "ann", "vote", token=task.token, ms=1, said={"label": "ranked", "ranks": [1, 2]})["html"]
        assert 'data-page="feedback"' in html
        harmless(html)
        assert " ".join(storable(payload).split()) in " ".join(unescape(html).split())


@pytest.mark.parametrize("begin", range(0, len(LINES), 8))
def test_labels_of_turns_and_verdicts_on_them(sqlite: Database, begin: int) -> None:
    talk = [{"role": role, "content": f"{role} says"} for role in ("user", "assistant", "user")]
    labels = tuple(LINES[begin : begin + 8])
    rows = [{"prompt": [*talk[:2], {"role": "user", "content": str(n)}], "response": "a"} for n in range(len(labels))]
    fill_kind(sqlite, "safety", rows=rows, form=Form(turns=(*labels, "bad")))
    html = act(sqlite, "ann", "annotate")["html"]
    harmless(html)
    for label in labels:
        assert label in unescape(html)
        task = annotating.next_task(sqlite, "ann", "p", now=NOW)
        assert task is not None
        for turns in (label, {"1": f"{label} ", "3": "bad"}, {label: "bad"}, {"1": [label], "3": {label: 1}}):
            with pytest.raises(VerdictError) as error:
                annotating.vote(sqlite, "ann", "p", task.token, {"label": "safe", "turns": turns}, now=NOW)
            assert len(str(error.value)) < 200
        said = {"label": "safe", "turns": {"1": label, "3": "bad"}}
        assert act(sqlite, "ann", "vote", token=task.token, ms=1, said=said)["error"] is None
    with sqlite.read() as session:
        found = session.scalars(select(Judgement).order_by(Judgement.id)).all()
    assert [judgement.payload for judgement in found] == [{"turns": {"1": label, "3": "bad"}} for label in labels]
    harmless(act(sqlite, "rev", "case", item=found[0].item_id)["html"])
    harmless(act(sqlite, "rev", "dashboard")["html"])


def test_names_and_groups_from_a_provider(sqlite: Database) -> None:
    """A name is one that an account may have, or no account is made; a group gives a role if it is one in full."""
    fill_kind(sqlite, "preference", rows=[{"prompt": "q", "response_a": "one", "response_b": "two"}])
    issuer = "https://sso.example"
    asked = {"issuer": issuer, "client_id": "keel", "secret": "s", "redirect": "https://a.example/back"}
    wanted = OidcSettings(**asked, roles={"leads": "reviewer"})
    names: list[str] = []
    for payload in (*PAYLOADS, *STATEMENTS):
        for groups in ([payload], [f"leads{payload}"], [f"{payload} leads"]):
            assert wanted.role_of(groups) is None
        with sqlite.write() as session:
            assert sign_in(session, issuer, payload, name="dora", role=None, now=NOW).refusal == "no-group"
            made = sign_in(session, issuer, payload, name=payload, role="annotator", now=NOW)
        usable = payload == payload.strip() and payload.isprintable() and 0 < len(payload) <= 100
        assert (made.name is not None) == usable, payload
        if made.name is not None:
            names.append(made.name)
            harmless(act(sqlite, made.name, "annotate")["html"])
    assert len(names) >= 22
    html = act(sqlite, "root", "users")["html"]
    harmless(html)
    assert all(name in unescape(html) for name in names)
