"""What a server does not take on, and who it does not answer."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_server import Live, model_loader, running

from reward_models.serving.limits import Admission, Limits, Refused
from reward_models.serving.server import Address

TOKEN = "0123456789abcdef0123"
LIMITS = Limits(body_bytes=20_000, conversations=8, conversation_tokens=100, request_tokens=300, queue=16, deadline=20)
GOOD = [{"role": "user", "content": "why"}, {"role": "assistant", "content": "because"}]


@pytest.fixture(scope="module")
def guarded(models: dict[str, Path]) -> Iterator[Live]:
    with running({"helpful": model_loader("helpful", models["helpful"], LIMITS)}, LIMITS, TOKEN) as server:
        yield server


def score(server: Live, conversations: Any, token: str = TOKEN, **headers: str) -> Any:
    body = {"model": "helpful", "conversations": conversations}
    return server.post("/v1/score", body, headers={"Authorization": f"Bearer {token}", **headers})


def long(words: int) -> Any:
    return [GOOD[0], {"role": "assistant", "content": "because " * words}]


def test_only_those_with_the_token_are_answered(guarded: Live) -> None:
    assert score(guarded, [GOOD]).status_code == 200
    assert score(guarded, [GOOD], token="wrong").status_code == 401
    assert guarded.post("/v1/score", {}).headers["www-authenticate"] == "Bearer"
    assert guarded.call("GET", "/metrics").status_code == guarded.call("GET", "/openapi.json").status_code == 401
    assert guarded.call("GET", "/health").status_code == guarded.call("GET", "/ready").status_code == 200
    basic = base64.b64encode(f"keel:{TOKEN}".encode()).decode()  # http://keel:TOKEN@host, where no header can be set
    for given, status in ((basic, 200), (base64.b64encode(b"keel:no").decode(), 401), ("%%", 401)):
        answer = guarded.post("/get_reward", {"query": ["x"]}, headers={"Authorization": f"Basic {given}"})
        assert answer.status_code == status


def test_without_a_token_only_this_machine_is_answered(live: Live) -> None:
    assert live.call("GET", "/models", headers={"Host": "rebound.example"}).status_code == 403
    assert live.call("GET", "/models", headers={"Host": "localhost:1"}).status_code == 200
    with pytest.raises(ValueError, match="KEEL_SERVE_TOKEN"):
        Address(host="0.0.0.0")
    with pytest.raises(ValueError, match="16 are the least"):
        Address(host="0.0.0.0", token="short")
    with pytest.raises(ValueError, match="both a certificate and its key"):
        Address(certificate=Path("a.pem"))
    assert Address(host="0.0.0.0", token=TOKEN).port == 8000


def test_too_much_is_refused_and_too_long_is_an_error_of_its_own(guarded: Live) -> None:
    assert score(guarded, [GOOD] * 8).status_code == 200
    many, big, tokens = score(guarded, [GOOD] * 9), score(guarded, [long(5000)]), score(guarded, [long(60)] * 8)
    assert (many.status_code, big.status_code, tokens.status_code) == (413, 413, 413)
    assert "9 conversations are more than the 8" in many.json()["detail"]
    assert "at most 20000 bytes" in big.json()["detail"]
    assert "tokens are more than the 300 of one request" in tokens.json()["detail"]
    results = score(guarded, [GOOD, long(150)]).json()["results"]
    assert results[0]["error"] is None
    assert "are more than the 100 of one conversation" in results[1]["error"]

    def chunks() -> Iterator[bytes]:  # a body that does not say how long it is
        for _ in range(30):
            yield b" " * 1000

    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    assert guarded.call("POST", "/v1/score", content=chunks(), headers=headers).status_code == 413


class Held:
    """Holds a model's forward passes until the block ends."""

    def __init__(self, server: Live) -> None:
        self.model = server.registry.get("helpful")[1]._model  # type: ignore[attr-defined]

    def __enter__(self) -> None:
        self.model._computing.acquire()

    def __exit__(self, *_: object) -> None:
        self.model._computing.release()


def test_a_full_queue_sends_clients_away_and_a_deadline_ends_the_wait(guarded: Live) -> None:
    answers: list[Any] = []

    def ask(**headers: str) -> None:
        answers.append(score(guarded, [GOOD] * 8, **headers))

    with Held(guarded):
        waiting = [threading.Thread(target=ask) for _ in range(2)]
        for thread in waiting:
            thread.start()
        until = time.monotonic() + 5
        while guarded.registry.waiting()["helpful"] < 16 and time.monotonic() < until:
            time.sleep(0.01)
        refused = score(guarded, [GOOD])
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
    for thread in waiting:
        thread.join()
    assert [answer.status_code for answer in answers] == [200, 200]
    with Held(guarded):
        late = score(guarded, [GOOD], **{"X-Deadline-Ms": "50"})
        assert late.status_code == 504
        assert guarded.registry.waiting()["helpful"] == 0
    for wrong in ("soon", "-1", "0", "²"):
        assert score(guarded, [GOOD], **{"X-Deadline-Ms": wrong.encode()}).status_code == 422  # type: ignore[arg-type]
    assert score(guarded, [GOOD], **{"X-Deadline-Ms": "9" * 30}).status_code == 200


def test_a_server_that_is_about_to_end_says_so(guarded: Live) -> None:
    guarded.registry.draining = True
    try:
        answer = score(guarded, [GOOD])
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert guarded.call("GET", "/ready").status_code == 503
        assert guarded.call("GET", "/health").json() == {"status": "draining"}
    finally:
        guarded.registry.draining = False


def test_admission_counts_what_is_let_in() -> None:
    admission = Admission(Limits(conversations=4, queue=6, queue_characters=100))
    with admission.admit(4, 500):  # alone, text of any length that a request may have
        assert (admission.waiting, admission.characters) == (4, 500)
        with pytest.raises(Refused) as error:
            admission.admit(1, 10).__enter__()
        assert (error.value.status, error.value.retry_after) == (429, 1)
    assert (admission.waiting, admission.characters) == (0, 0)
    admission.computed(10, 5.0)
    with admission.admit(4, 10), admission.admit(2, 10):
        assert admission.retry_after() == round(6 / 2 / 2)
        with pytest.raises(Refused, match="6 conversations are waiting"):
            admission.admit(1, 1).__enter__()
    with pytest.raises(ValueError, match="smaller than one request"):
        Limits(conversations=10, queue=5)
    with pytest.raises(ValueError, match="deadline=0 must be positive"):
        Limits(deadline=0)
