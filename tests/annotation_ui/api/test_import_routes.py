"""Imports over the REST interface."""

from __future__ import annotations

import json

import pytest
from annotation_api import headers
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from annotation_ui.store.database import Database
from annotation_ui.store.tables import Event, Item


def test_an_import_is_done_once_for_each_key(client: TestClient, filled: Database) -> None:
    sent = headers(filled, "root", "import") | {"Idempotency-Key": "k1"}
    rows = [{"prompt": f"new {n}", "response_a": "one", "response_b": "two"} for n in range(3)]
    body = "\n".join(json.dumps(row) for row in rows).encode()
    first = client.post("/api/v1/projects/p/import?name=batch-7", content=body, headers=sent)
    assert first.status_code == 200, first.text
    assert (first.json()["items"], first.json()["known"], first.json()["bad"]) == (3, 0, 0)
    again = client.post("/api/v1/projects/p/import?name=batch-7", content=body, headers=sent)
    assert again.json()["items"] == 3  # the answer of the first time
    other = client.post("/api/v1/projects/p/import?name=batch-7", content=body + b"\n", headers=sent)
    assert (other.status_code, "idempotency key" in other.json()["error"]["message"]) == (422, True)
    with filled.read() as session:
        assert session.scalar(select(func.count(Item.id))) == 9
        assert session.scalar(select(func.count(Event.id)).where(Event.kind == "imported")) == 2
        assert "batch-7" in str(session.scalar(select(Item.source).order_by(Item.id.desc()).limit(1)))
    bad = client.post(
        "/api/v1/projects/p/import", content=b'{"prompt": "x"}\n{nonsense', headers=sent | {"Idempotency-Key": "k2"}
    )
    assert bad.status_code == 422
    assert "/tmp" not in bad.text


def test_a_repeated_import_gets_the_whole_answer_of_the_first(client: TestClient, filled: Database) -> None:
    sent = headers(filled, "root", "import") | {"Idempotency-Key": "k"}
    body = b'{"prompt": "new", "response_a": "one", "response_b": "two"}\n{nonsense\n'
    # A name of 100 characters has 400 bytes here, more than a file system allows.
    first, again = (
        client.post(f"/api/v1/projects/p/import?max_bad=1&name={chr(0x20000) * 100}", content=body, headers=sent)
        for _ in "ab"
    )
    assert (first.status_code, first.json()["bad"], len(first.json()["left_out"])) == (200, 1, 1)
    assert again.json() == first.json()


def test_nothing_is_read_of_an_import_that_is_not_allowed(
    client: TestClient, filled: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(_: object) -> bytes:
        raise AssertionError("the body was read")

    monkeypatch.setattr("starlette.requests.Request.body", body)
    for who, project, status in (("rev", "p", 403), ("root", "z", 404)):
        sent = headers(filled, who, "import")
        assert client.post(f"/api/v1/projects/{project}/import", content=b"{}", headers=sent).status_code == status
