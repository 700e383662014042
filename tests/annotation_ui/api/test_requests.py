"""Requests that the REST interface refuses: hostile text, bodies that are no JSON, too many at once."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import pytest
from annotation_api import headers
from fastapi.testclient import TestClient

from annotation_ui.api import access
from annotation_ui.store.database import Database

PAYLOADS = json.loads((Path(__file__).parents[1] / "web" / "payloads.json").read_text())


def test_hostile_text_in_every_field_is_an_answer_in_json(client: TestClient, filled: Database) -> None:
    """No payload is a server error, and every refusal is JSON with a message and no trace."""
    sent = headers(filled, "root")
    further = ["\0", "\ud800", "' OR 1=1 --", "{{7*7}}", "../../etc/passwd", "a" * 5000, "\u202e", "${jndi:ldap://x}"]
    assert len(PAYLOADS) >= 22
    for text in [*PAYLOADS, *further]:
        asked = (
            ("POST", "/projects", {"name": text, "kind": text}),
            ("POST", "/projects/p/guidelines", {"text": text, "harms": [text]}),
            ("POST", "/projects/p/views", {"name": text, "filter": {"q": text, "source": text}}),
            ("POST", "/users", {"name": text, "password": text}),
            ("PATCH", "/users/nobody", {"password": text}),
            ("POST", "/tokens", {"name": text, "scopes": [text]}),
            ("POST", "/tokens", {"name": text, "scopes": ["read"], "days": 1}),
            ("POST", "/webhooks", {"url": text, "events": [text]}),
            ("POST", "/webhooks", {"url": "http://x/", "events": ["judged"], "project": text}),
            ("POST", "/projects/p/leases/release", {"annotator": text}),
            ("POST", "/projects/p/snapshots", {"name": text}),
        )
        for method, path, body in asked:
            content = json.dumps(body).encode()
            reply = client.request(method, f"/api/v1{path}", content=content, headers=sent)
            assert reply.status_code in (200, 201, 204, 404, 422, 429), (path, text, reply.text)
            if reply.status_code >= 400:
                assert set(reply.json()["error"]) == {"status", "message"}
                assert "Traceback" not in reply.text
        client.app.routes[-1].app.state.doorkeeper._requests = access.Rate(1e9, 10**9)  # type: ignore[attr-defined]
        encodable = text.encode("utf-8", "replace").decode()
        for name in ("q", "label", "annotator", "source", "cursor", "agreement", "sort", "guideline", "shortest"):
            reply = client.get("/api/v1/projects/p/items", params={name: encodable}, headers=sent)
            assert reply.status_code in (200, 422), (name, text, reply.text)


def test_bodies_that_are_no_json_and_paths_that_are_none(client: TestClient, filled: Database) -> None:
    sent = headers(filled, "root")
    for content in (b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"name": 1e999}'):
        reply = client.post("/api/v1/users", content=content, headers=sent)
        assert (reply.status_code, "message" in reply.json()["error"]) == (422, True), content[:10]
    for path in (
        "/api/v1/none",
        "/api/v1/projects/p/items/99999999999999999999",
        "/api/v1/projects/p/items/x",
        "/api/",
    ):
        reply = client.get(path, headers=sent)
        assert reply.status_code in (404, 422)
        assert "message" in reply.json()["error"]
    assert client.put("/api/v1/users", headers=sent).status_code == 405
    assert client.get("/api/v1/projects/p/items/9999", headers=sent).status_code == 404


def test_unknown_parameters_and_keys_are_named(client: TestClient, filled: Database) -> None:
    """A misspelt filter would list every item, and a misspelt `pseudonyms` would give the names of people."""
    sent = headers(filled, "root")
    for path, known in (
        ("/projects/p/items?agrement=disagree", "agreement, annotator"),
        ("/projects/p/votes?pseudonym=true", "pseudonyms, snapshot"),
        ("/projects?limit=3", "none"),
    ):
        reply = client.get(f"/api/v1{path}", headers=sent)
        name = path.partition("?")[2].partition("=")[0]
        assert reply.status_code == 422, reply.text
        assert reply.json()["error"]["message"].startswith(f"unknown parameter {name!r}; known are: {known}")
    for query in ("agreement=disagree&limit=3", "decided=true"):
        assert client.get(f"/api/v1/projects/p/items?{query}", headers=sent).status_code == 200
    reply = client.patch("/api/v1/projects/p", json={"vots": 2}, headers=sent)
    assert reply.json()["error"]["message"] == "body.vots: unknown key"
    reply = client.post("/api/v1/projects/p/import", content=b'{"prompt": "a"\n', headers=sent)
    message = reply.json()["error"]["message"]
    assert message.startswith("line 1: not JSON at column")
    assert "keel data check" not in message


def test_too_many_requests_and_too_many_wrong_tokens(
    client: TestClient, filled: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = client.app.routes[-1].app.state.doorkeeper  # type: ignore[attr-defined]
    keeper._requests = access.Rate(1e-3, 3)  # slow to fill up again, as the machine may be
    keeper._failures = access.Rate(1e-3, access.FAILURES_PER_MINUTE)
    sent = headers(filled, "ann")
    statuses = [client.get("/api/v1/me", headers=sent).status_code for _ in range(5)]
    assert statuses[:3] == [200] * 3
    assert 429 in statuses[3:]
    assert client.get("/api/v1/me", headers=headers(filled, "bob")).status_code == 200  # counted by itself
    for _ in range(access.FAILURES_PER_MINUTE):
        client.get("/api/v1/me", headers={"Authorization": "Bearer wrong"})
    reply = client.get("/api/v1/me", headers={"Authorization": "Bearer wrong"})
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "60")


def test_a_rate_fills_up_again() -> None:
    rate = access.Rate(2.0, 2)
    assert [rate.wait("x", 0.0) for _ in range(3)] == [0.0, 0.0, 0.5]
    assert rate.wait("x", 0.5) == 0.0
    assert rate.wait("y", 0.5) == 0.0
    assert all(rate.wait(f"{a}{b}", 1.0) == 0.0 for a, b in combinations("abcdef", 2))
