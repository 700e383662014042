"""Metrics, health and the log: what they say, to whom, and what they never say."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from annotation_ui.exchange.votes import pseudonym
from annotation_ui.store.accounts import add_user, find_user
from annotation_ui.store.database import Database
from annotation_ui.store.privacy import pseudonym_key
from annotation_ui.web import observing
from annotation_ui.web.observing import JsonLines, log_as
from annotation_ui.web.outages import MIGRATED
from annotation_ui.web.server import build

TOKEN = "a token of metrics"
PASSWORD = "correct horse"


@pytest.fixture
def client(database: Database, fill: Callable[..., Database]) -> Iterator[TestClient]:
    fill(database, people=())
    with database.write() as session:
        add_user(session, "ann", "annotator", PASSWORD, now=1.0)
    with TestClient(build(database, metrics_token=TOKEN), base_url="http://127.0.0.1", follow_redirects=False) as made:
        yield made


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """The lines of the log, in JSON, and the logging as it was afterwards."""
    root, own = logging.getLogger(), logging.getLogger("annotation_ui")
    kept = root.handlers[:], root.level, own.level, logging.getLogger("uvicorn").level
    stream = io.StringIO()
    log_as("json", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:] = kept[0]
    root.setLevel(kept[1])
    own.setLevel(kept[2])
    logging.getLogger("uvicorn").setLevel(kept[3])


def ask(client: TestClient, **asked: Any) -> Any:
    config = client.get("/config").json()
    component = next(c["id"] for c in config["components"] if c["props"].get("elem_id") == "keel")
    body = {"component_id": component, "fn_name": "act", "session_hash": "h", "data": asked}
    return client.post("/gradio_api/component_server", json=body)


def figures(client: TestClient) -> dict[str, float]:
    answer = client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    rows = [line.rpartition(" ") for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in rows}


def test_metrics_count_requests_and_actions_and_tell_the_state(client: TestClient) -> None:
    client.post("/login", data={"name": "ann", "password": PASSWORD})
    assert ask(client, action="annotate", project="p").json()["error"] is None
    assert ask(client, action="users").json()["error"]
    assert ask(client, action="a text of somebody").json()["error"]
    found = figures(client)
    assert found['keel_annotate_requests_total{method="POST",route="/login",status="303"}'] == 1
    assert found['keel_annotate_actions_total{action="annotate",outcome="done"}'] == 1
    assert found['keel_annotate_actions_total{action="users",outcome="refused"}'] == 1
    assert found['keel_annotate_actions_total{action="unknown",outcome="refused"}'] == 1
    assert found['keel_annotate_request_seconds_count{route="/gradio_api/component_server"}'] == 3
    assert found["keel_annotate_database_up"] == 1
    assert (found["keel_annotate_open_leases"], found["keel_annotate_open_log_ins"]) == (1, 1)
    assert found["keel_annotate_newest_judgement"] == 0


def test_routes_are_counted_by_their_template(client: TestClient) -> None:
    client.get("/api/v1/projects/a-secret-name/items?q=secret")
    client.get("/nothing/here/secret")
    found = "\n".join(figures(client))
    assert 'route="/api/v1/projects/{project}/items"' in found
    assert "secret" not in found


def test_metrics_are_for_who_has_their_token(client: TestClient, sqlite: Database) -> None:
    assert client.get("/metrics").status_code == 401
    for wrong in (f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer ", TOKEN):
        assert client.get("/metrics", headers={"authorization": wrong}).status_code == 401
    without = TestClient(build(sqlite), base_url="http://127.0.0.1", follow_redirects=False)
    assert without.get("/metrics").status_code in (401, 404)
    assert "keel_annotate" not in without.get("/metrics", headers={"authorization": "Bearer "}).text
    with pytest.raises(ValueError, match="KEEL_METRICS_TOKEN"):
        build(sqlite, metrics_token="short")


def test_health_tells_of_the_database_and_of_its_schema(client: TestClient, database: Database) -> None:
    assert client.get("/live").json() == {"ok": True}
    assert client.get("/health").json() == {"ok": True, "reason": None}
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'newer'"))
    answer = client.get("/health")
    assert (answer.status_code, answer.json()["reason"]) == (503, MIGRATED)
    assert client.get("/live").status_code == 200


def test_every_request_has_an_id_and_a_line_without_texts(
    client: TestClient, database: Database, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    client.post("/login", data={"name": "ann", "password": PASSWORD})
    answer = ask(client, action="annotate", project="p", secret="a secret text")
    for sent, kept in (("given-by-the-proxy", True), ("not one of ours", False)):
        came_back = client.get("/live?q=secret", headers={"x-request-id": sent}).headers["x-request-id"]
        assert (came_back == sent) == kept
    found = [line for line in lines() if line["logger"] == "annotation_ui.requests"]
    [own] = [line for line in found if line["request"] == answer.headers["x-request-id"]]
    with database.write() as session:
        user = find_user(session, "ann")
        assert user is not None
        expected = pseudonym(user.id, pseudonym_key(session))
    assert (own["action"], own["refused"], own["status"], own["user"]) == ("annotate", False, 200, expected)
    assert (own["route"], own["method"], own["level"]) == ("/gradio_api/component_server", "POST", "info")
    assert own["ms"] > 0
    said = json.dumps(lines())
    for hidden in ('ann"', PASSWORD, "secret", "question", "127.0.0.1"):
        assert hidden not in said


def test_an_error_is_logged_without_its_message() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    for name, said, value in (("annotation_ui.x", "our words %s", 7), ("sqlalchemy.pool", "theirs %s", "secret")):
        log = logging.Logger(name)
        log.addHandler(handler)
        try:
            raise ValueError("what somebody wrote\nin two lines")
        except ValueError:
            log.exception(said, value)
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["message"], first["error"]) == ("our words 7", "ValueError")
    assert first["stack"][-1].endswith("test_an_error_is_logged_without_its_message")
    assert second["message"] == "theirs %s"
    assert "somebody" not in stream.getvalue()


def test_text_leaves_the_log_alone() -> None:
    before = logging.getLogger().handlers[:]
    log_as("text")
    assert logging.getLogger().handlers == before
    assert observing.SEEN.get() is None
