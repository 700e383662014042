"""The database fails while the app runs: a clear answer, nothing said to be saved, and no restart afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from annotation_ui.store.accounts import add_user
from annotation_ui.store.database import Database
from annotation_ui.store.tables import Assignment, Judgement
from annotation_ui.web import outages
from annotation_ui.web.outages import reason_of
from annotation_ui.web.server import build

NOW = 1_700_000_000.0
PASSWORD = "correct horse"
LOGIN = {"name": "ann", "password": PASSWORD}


class Switch:
    """Pragmas for every transaction that writes: a limit on the file's size, or no writing at all."""

    def __init__(self, database: Database) -> None:
        self.pragma = ""
        event.listen(database.engine, "begin", self._begin)

    def _begin(self, connection: Any) -> None:
        # Before BEGIN: the listener of the database itself comes first, so this one is inside the transaction.
        for pragma in filter(None, [self.pragma, "" if self.pragma else "PRAGMA query_only = OFF"]):
            connection.exec_driver_sql(pragma)


@pytest.fixture
def client(sqlite: Database, fill: Callable[..., Database]) -> Iterator[TestClient]:
    fill(sqlite, people=())
    with sqlite.write() as session:
        add_user(session, "ann", "annotator", PASSWORD, now=NOW)
    with TestClient(build(sqlite), base_url="http://127.0.0.1", follow_redirects=False) as made:
        yield made


def act(client: TestClient, asked: object) -> Any:
    config = client.get("/config").json()
    component = next(c["id"] for c in config["components"] if c["props"].get("elem_id") == "keel")
    body = {"component_id": component, "fn_name": "act", "session_hash": "h", "data": asked}
    return client.post("/gradio_api/component_server", json=body)


def judged(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count(Judgement.id))) or 0


def test_a_database_that_becomes_read_only_is_said_and_recovered_from(client: TestClient, sqlite: Database) -> None:
    switch = Switch(sqlite)
    client.post("/login", data=LOGIN)
    assert act(client, {"action": "annotate", "project": "p"}).status_code == 200
    assert client.get("/health").json() == {"ok": True, "reason": None}
    with sqlite.read() as session:
        [token] = session.scalars(select(Assignment.token)).all()
    vote = {"action": "vote", "project": "p", "token": token, "said": {"label": "tie"}}
    switch.pragma = "PRAGMA query_only = ON"
    refused = act(client, vote)
    assert (refused.status_code, refused.json()["detail"]) == (503, outages.READ_ONLY)
    assert "Saved" not in refused.text
    watched = client.get("/health")
    assert (watched.status_code, watched.json()["reason"]) == (503, outages.READ_ONLY)
    log_in = client.post("/login", data=LOGIN, headers={"accept": "text/html"})
    assert (log_in.status_code, outages.READ_ONLY in log_in.text) == (503, True)
    assert judged(sqlite) == 0
    switch.pragma = ""
    saved = act(client, vote)
    assert (saved.status_code, saved.json()["note"]) == (200, "Saved")
    assert judged(sqlite) == 1


def test_a_page_says_that_the_database_is_gone(
    client: TestClient, sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.post("/login", data=LOGIN)

    def gone() -> Any:
        raise PoolTimeout("no connection")

    monkeypatch.setattr(sqlite, "read", gone)
    page = client.get("/", headers={"accept": "text/html"})
    assert (page.status_code, outages.BUSY in page.text, "Cache-Control" in page.headers) == (503, True, True)


def failed(message: object) -> DBAPIError:
    return DBAPIError("SELECT 1", {}, Exception(message))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("database or disk is full", outages.FULL),
        ("attempt to write a readonly database", outages.READ_ONLY),
        ("disk I/O error", outages.READ_ONLY),
        ("unable to open database file", outages.READ_ONLY),
        ("database is locked", outages.BUSY),
        ({"C": "53100", "M": "could not extend file"}, outages.FULL),
        ({"C": "53300", "M": "too many connections"}, outages.BUSY),
        ({"C": "25006", "M": "read-only transaction"}, outages.READ_ONLY),
        ({"C": "40P01", "M": "deadlock detected"}, outages.BUSY),
        ({"C": "57P01", "M": "terminating connection"}, outages.GONE),
        ("no such table: users", None),
        ({"C": "42P01", "M": "no such table"}, None),
        ({"C": "23505", "M": "duplicate key"}, None),
    ],
)
def test_outages_are_told_from_faults_of_the_program(message: object, reason: str | None) -> None:
    assert reason_of(failed(message)) == reason
