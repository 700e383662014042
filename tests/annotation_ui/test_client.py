"""The Python client, against the application itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from annotation_ui import client as clients
from annotation_ui.api import service
from annotation_ui.client import ApiError, Client
from annotation_ui.store.accounts import add_user
from annotation_ui.store.database import Database
from annotation_ui.store.tokens import SCOPES, make_token

NOW = 1_700_000_000.0
Fill = Callable[..., Database]


class Through(httpx2.BaseTransport):
    """Sends requests to the application in this process; the first answers may be made up."""

    def __init__(self, app: TestClient, first: list[int | Exception]) -> None:
        self.app, self.first, self.sent = app, first, 0

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.sent += 1
        if self.first:
            answer = self.first.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return httpx2.Response(answer, headers={"retry-after": "0"}, content=b"busy")
        body = request.read()
        reply = self.app.request(request.method, str(request.url), headers=dict(request.headers), content=body)
        return httpx2.Response(reply.status_code, headers=dict(reply.headers), content=reply.content)


@pytest.fixture
def connect(sqlite: Database, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    fill(sqlite, items=5)
    with sqlite.write() as session:
        add_user(session, "root", "admin", None, now=NOW)
        token, secret = make_token(session, "root", "test", SCOPES, by="root", now=NOW)
        token.expires = 4e9
    server = FastAPI()
    server.mount("/api", service.build(sqlite, session_of=lambda request: None, outage=lambda error: None))
    monkeypatch.setattr(clients.time, "sleep", lambda seconds: None)

    with TestClient(server, raise_server_exceptions=False) as app:

        def made(*first: int | Exception) -> tuple[Client, Through]:
            transport = Through(app, list(first))
            return Client("http://testserver/", secret, transport=transport), transport

        yield made


def test_items_and_votes_and_an_import(connect: Callable[..., Any]) -> None:
    keel, transport = connect()
    assert [project["name"] for project in keel.projects()] == ["p"]
    assert [item["id"] for item in keel.items("p", limit=2)] == ["0", "1", "2", "3", "4"]
    assert transport.sent == 4
    assert keel.item("p", 1)["history"] == []
    rows = [{"prompt": "é", "response_a": "one", "response_b": "two"}]
    assert keel.import_items("p", rows, key="k")["items"] == 1
    assert keel.import_items("p", rows, key="k")["items"] == 1  # the first answer; nothing is added
    assert keel.progress("p")["items"] == 6
    assert list(keel.votes("p")) == []


def test_views(connect: Callable[..., Any]) -> None:
    keel, _ = connect()
    made = keel.save_view("p", "one of them", shared=True, q="question", shortest=1)
    assert keel.views("p") == [made]
    assert made["filter"] == {"q": "question", "shortest": 1}
    assert len(list(keel.items("p", **made["filter"]))) == 5
    keel.remove_view("p", made["view"])
    assert keel.views("p") == []
    with pytest.raises(ApiError, match="no such view"):
        keel.remove_view("p", made["view"])


def test_errors_are_those_of_the_server(connect: Callable[..., Any]) -> None:
    keel, _ = connect()
    for call in (lambda: keel.item("p", 99), lambda: keel.progress("a/../b"), lambda: list(keel.votes("none"))):
        with pytest.raises(ApiError) as error:
            call()
        assert error.value.status == 404
    with pytest.raises(ApiError, match="nothing has been judged") as refused:
        keel.snapshot("p")
    assert refused.value.status == 422
    with pytest.raises(ValueError, match="needs a token"):
        Client("http://x")


def test_what_can_be_repeated_is_repeated(connect: Callable[..., Any]) -> None:
    keel, transport = connect(503, httpx2.ConnectError("down"), 429)
    assert len(keel.projects()) == 1
    assert transport.sent == 4
    keel, transport = connect(*[503] * 9)
    with pytest.raises(ApiError, match="busy"):
        keel.projects()
    assert transport.sent == clients.ATTEMPTS
    keel, transport = connect(503)
    with pytest.raises(ApiError):
        keel.snapshot("p")  # a second one might be taken
    assert transport.sent == 1
    keel, transport = connect(httpx2.ReadError("lost"))
    row = json.loads('{"prompt": "q", "response_a": "one", "response_b": "two"}')
    assert keel.import_items("p", [row])["items"] == 1
