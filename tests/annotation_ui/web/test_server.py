"""Log-in, cookies and headers, over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from annotation_ui.store.accounts import add_user
from annotation_ui.store.database import Database
from annotation_ui.store.tables import Event
from annotation_ui.web.login import BUSY, COOKIE, DEVICE, WRONG, Gate
from annotation_ui.web.login_limits import PER_ACCOUNT_AND_ADDRESS, PER_DEVICE
from annotation_ui.web.server import HEADERS, build

NOW = 1_700_000_000.0
PASSWORD = "correct horse"
Fill = Callable[..., Database]


@pytest.fixture
def client(sqlite: Database, fill: Fill) -> Iterator[TestClient]:
    fill(sqlite, people=())
    with sqlite.write() as session:
        add_user(session, "ann", "annotator", PASSWORD, now=NOW)
    with TestClient(build(sqlite), base_url="http://127.0.0.1", follow_redirects=False) as made:
        yield made


def log_in(client: TestClient, password: str = PASSWORD, name: str = "ann") -> Any:
    return client.post("/login", data={"name": name, "password": password})


def call(client: TestClient, asked: object) -> Any:
    config = client.get("/config").json()
    component = next(c["id"] for c in config["components"] if c["props"].get("elem_id") == "keel")
    body = {"component_id": component, "fn_name": "act", "session_hash": "h", "data": asked}
    return client.post("/gradio_api/component_server", json=body)


def test_nothing_is_open_without_a_log_in(client: TestClient) -> None:
    page = client.get("/", headers={"accept": "text/html"})
    assert (page.status_code, page.headers["location"]) == (303, "/login")
    assert client.get("/config").status_code == 401
    body = {"component_id": 1, "fn_name": "act", "session_hash": "h", "data": {"action": "annotate"}}
    assert client.post("/gradio_api/component_server", json=body).status_code == 401
    for path in ("/docs", "/openapi.json", "/redoc"):
        assert client.get(path).status_code in (401, 404)


def test_log_in_and_out(client: TestClient) -> None:
    reply = log_in(client)
    assert (reply.status_code, reply.headers["location"]) == (303, "/")
    cookie = reply.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "k-verdict" in call(client, {"action": "annotate"}).json()["html"]
    stolen = client.cookies[COOKIE]
    client.post("/logout")
    client.cookies.set(COOKIE, stolen)
    assert client.get("/config").status_code == 401


def test_a_wrong_password_and_a_wrong_name_look_alike_and_are_rationed(client: TestClient) -> None:
    wrong, unknown = log_in(client, "wrong password"), log_in(client, name="nobody")
    assert (wrong.status_code, wrong.text) == (401, unknown.text)
    for name in ("ann", "nobody"):
        for _ in range(PER_ACCOUNT_AND_ADDRESS - 1):
            assert log_in(client, "wrong password", name).status_code == 401
        assert log_in(client, name=name).status_code == 429


def test_a_browser_is_told_of_a_wrong_password(client: TestClient) -> None:
    reply = client.post("/login", data={"name": "ann", "password": "wrong"}, headers={"accept": "text/html"})
    assert (reply.status_code, WRONG in reply.text) == (401, True)


def test_a_stranger_locks_nobody_out(client: TestClient) -> None:
    """The owner's browser keeps its log-in, whatever others try; what it tries itself is counted by itself."""
    log_in(client)
    device = client.cookies[DEVICE]
    client.cookies.clear()
    for _ in range(PER_ACCOUNT_AND_ADDRESS):
        log_in(client, "wrong password")
    assert log_in(client).status_code == 429  # a browser that nobody knows
    client.cookies.set(DEVICE, device)
    assert log_in(client).status_code == 303
    client.cookies.clear()
    client.cookies.set(DEVICE, device)
    for _ in range(PER_DEVICE):
        assert log_in(client, "wrong password").status_code == 401
    assert log_in(client).status_code == 429


def test_a_mark_of_another_account_or_an_invented_one_is_a_strangers(client: TestClient, sqlite: Database) -> None:
    with sqlite.write() as session:
        add_user(session, "bob", "annotator", PASSWORD, now=NOW)
    log_in(client, name="bob")
    of_bob = client.cookies[DEVICE]
    for mark in (of_bob, "x.y", "é.ü", ".", ""):
        client.cookies.clear()
        for _ in range(PER_ACCOUNT_AND_ADDRESS):
            log_in(client, "wrong password")
        client.cookies.set(DEVICE, quote(mark))
        assert log_in(client).status_code == 429


def test_a_flood_of_log_ins_is_turned_away(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def full(gate: Gate) -> Iterator[bool]:
        yield False

    monkeypatch.setattr(Gate, "entered", full)
    reply = log_in(client)
    assert (reply.status_code, BUSY in reply.text) == (503, True)


def test_nothing_typed_at_the_log_in_is_stored(client: TestClient, sqlite: Database) -> None:
    for name in ("hunter2-typed-as-a-name", "ann"):
        for _ in range(PER_ACCOUNT_AND_ADDRESS + 1):
            log_in(client, "wrong password", name)
    with sqlite.read() as session:
        events = [(event.kind, event.actor, event.detail) for event in session.scalars(select(Event))]
    assert ("too many failed log-ins", "ann", {}) in events
    assert "hunter2" not in str(events)
    assert "testclient" not in str(events)  # the address


def test_the_log_in_of_somebody_who_is_logged_in_is_the_app(client: TestClient) -> None:
    log_in(client)
    assert client.get("/login").headers["location"] == "/"
    client.post("/logout")
    assert client.get("/login").status_code == 200


def test_every_answer_carries_the_security_headers(client: TestClient) -> None:
    for reply in (
        client.get("/login"),
        client.get("/"),
        log_in(client),
        client.get("/"),
        client.get("/assets/app.css"),
    ):
        assert {name: reply.headers.get(name) for name in HEADERS} == HEADERS
        kept = reply.request.url.path.startswith("/assets/")
        assert (reply.headers.get("cache-control") == "no-store") != kept
    assert "https://" not in client.get("/login").text


def test_requests_from_other_sites_and_large_ones_are_refused(client: TestClient) -> None:
    elsewhere = {"origin": "https://evil.example"}
    data = {"name": "ann", "password": PASSWORD}
    assert client.post("/login", data=data, headers=elsewhere).status_code == 403
    assert client.post("/login", content=b"x" * 2_000_001).status_code == 413
    assert client.post("/login", content=iter([b"x"])).status_code == 411


def test_alone_only_this_machine_is_served_and_only_with_the_token(sqlite: Database, fill: Fill) -> None:
    fill(sqlite, people=("you",), role="admin")
    server = build(sqlite, single_user="you", token="a secret")
    page = {"accept": "text/html"}
    with TestClient(server, base_url="http://127.0.0.1", follow_redirects=False) as client:
        assert client.get("/config").status_code == 401
        for wrong in ("/", "/?token=", "/?token=guess", "/?token=%ff"):
            reply = client.get(wrong, headers=page)
            assert (reply.status_code, "needs the token" in reply.text) == (401, True)
        body = {"component_id": 1, "fn_name": "act", "session_hash": "h", "data": {"action": "annotate"}}
        assert client.post("/gradio_api/component_server?token=a+secret", json=body).status_code == 401
        reply = client.get("/?token=a+secret", headers=page)
        assert (reply.status_code, reply.headers["location"]) == (303, "/")
        assert "httponly" in reply.headers["set-cookie"].lower()
        assert "k-verdict" in call(client, {"action": "annotate"}).json()["html"]
        assert client.get("/", headers={"host": "rebound.example"}).status_code == 403
        assert client.get("/login").status_code != 200


def test_no_server_is_open_to_everybody(sqlite: Database) -> None:
    for arguments in ({"single_user": "you"}, {"single_user": "you", "token": ""}, {"token": "x"}):
        with pytest.raises(ValueError, match="token"):
            build(sqlite, **arguments)  # type: ignore[arg-type]
