"""A reviewer who accepts texts is told by no route who wrote them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from annotating import NOW
from fastapi import FastAPI
from fastapi.testclient import TestClient
from kinds import fill_kind
from sqlalchemy import select

from annotation_ui.actions import rewrites, webhooks
from annotation_ui.api import service
from annotation_ui.labelling import session as annotating
from annotation_ui.store.database import Database
from annotation_ui.store.tables import Event
from annotation_ui.store.tokens import SCOPES, make_token

P = "/api/v1/projects/p"
WRITER = "wilhelmina"


@pytest.fixture
def client(sqlite: Database) -> Iterator[TestClient]:
    """One text by the writer, accepted by ``root``."""
    fill_kind(sqlite, "rewrite", items=1, people=(WRITER,), rows=[{"id": "0", "prompt": "a question"}])
    task = annotating.next_task(sqlite, WRITER, "p", now=NOW)
    assert task is not None
    said = {"label": "written", "text": "a good answer"}
    annotating.vote(sqlite, WRITER, "p", task.token, said, dwell_ms=9000, now=NOW)
    [waiting] = rewrites.waiting(sqlite, "root", "p")
    accepted = {"label": "accepted", "rationale": ""}
    rewrites.decide(sqlite, "root", "p", waiting.judgement, accepted, seen=None, now=NOW)
    server = FastAPI()
    server.mount(service.PREFIX, service.build(sqlite, session_of=lambda request: None, outage=lambda error: None))
    with TestClient(server, raise_server_exceptions=False) as made:
        yield made


def headers(database: Database, who: str) -> dict[str, str]:
    with database.write() as session:
        made, secret = make_token(session, who, "test", SCOPES, by=who, now=NOW)
        made.expires = 4_000_000_000.0
    return {"Authorization": f"Bearer {secret}"}


def test_neither_history_nor_filter_nor_votes_tell_the_writer(client: TestClient, sqlite: Database) -> None:
    sent = headers(sqlite, "rev")
    history = client.get(f"{P}/items/1", headers=sent).json()["history"]
    assert [(row["annotator"], row["choice"]) for row in history] == [("writer", "written"), ("root", "accepted")]
    refused = client.get(f"{P}/items", params={"annotator": WRITER}, headers=sent)
    assert (refused.status_code, "who wrote" in refused.json()["error"]["message"]) == (422, True)
    rows = [json.loads(line) for line in client.get(f"{P}/votes", headers=sent).text.splitlines()]
    assert len(rows) == 2
    assert all(row["annotator"].startswith("annotator-") for row in rows)
    for path in ("", "/items", "/items/1", "/votes", "/progress", "/guidelines"):
        assert WRITER not in client.get(f"{P}{path}", headers=sent).text


def test_admins_get_the_names_with_the_votes_unless_they_ask_for_pseudonyms(
    client: TestClient, sqlite: Database
) -> None:
    sent = headers(sqlite, "root")
    assert WRITER in client.get(f"{P}/votes", headers=sent).text
    assert WRITER not in client.get(f"{P}/votes?pseudonyms=true", headers=sent).text


def test_a_webhook_can_be_told_of_a_decision_on_a_text(client: TestClient, sqlite: Database) -> None:
    url = "https://example.org/hook"
    webhooks.make_webhook(sqlite, "root", url, ["text accepted", "text returned"], project="p", now=NOW)
    [number] = _decided_again(sqlite)
    [told] = webhooks.deliveries(sqlite, "root", 1)
    assert told["id"] == f"1-{number}"


def _decided_again(database: Database) -> list[int]:
    """A second decision in the place of the first; the number of its event."""
    seen = rewrites.reading(database, "root", "p", 1).seen
    again = {"label": "returned", "rationale": "say why"}
    rewrites.decide(database, "root", "p", 1, again, seen=seen, now=NOW + 1)
    with database.read() as session:
        return list(session.scalars(select(Event.id).where(Event.kind == "text returned")))
