"""Log-in, cookies and headers, over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from annotation_ui.store.accounts import FAILURES_PER_NAME, add_user
from annotation_ui.store.database import Database
from annotation_ui.web.server import COOKIE, HEADERS, build

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
    for _ in range(FAILURES_PER_NAME - 1):
        log_in(client, "wrong password")
    assert log_in(client).status_code == 429


def test_every_answer_carries_the_security_headers(client: TestClient) -> None:
    for reply in (
        client.get("/login"),
        client.get("/"),
        log_in(client),
        client.get("/"),
        client.get("/assets/app.css"),
    ):
        assert {name: reply.headers.get(name) for name in HEADERS} == HEADERS
    assert "https://" not in client.get("/login").text


def test_requests_from_other_sites_and_large_ones_are_refused(client: TestClient) -> None:
    elsewhere = {"origin": "https://evil.example"}
    data = {"name": "ann", "password": PASSWORD}
    assert client.post("/login", data=data, headers=elsewhere).status_code == 403
    assert client.post("/login", content=b"x" * 2_000_001).status_code == 413
    assert client.post("/login", content=iter([b"x"])).status_code == 411


def test_alone_only_this_machine_is_served(sqlite: Database, fill: Fill) -> None:
    fill(sqlite, people=("you",), role="admin")
    with TestClient(build(sqlite, single_user="you"), base_url="http://127.0.0.1") as client:
        assert "k-verdict" in call(client, {"action": "annotate"}).json()["html"]
        assert client.get("/", headers={"host": "rebound.example"}).status_code == 403
        assert client.get("/login").status_code != 200
