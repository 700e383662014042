"""The limits of a server, and the clients that it does not answer."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from live_server import Live, model_loader, running

from reward_models.serving.json_size import count, parse
from reward_models.serving.limits import Admission, Limits, Refused
from reward_models.serving.model_service import parts
from reward_models.serving.server import Address

TOKEN = "0123456789abcdef0123"
LIMITS = Limits(
    body_bytes=20_000,
    conversations=8,
    conversation_messages=8,
    conversation_tokens=100,
    request_tokens=300,
    queue=16,
    deadline=20,
)
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
    for shown, status in ((basic, 200), (base64.b64encode(b"keel:no").decode(), 401), ("%%", 401)):
        answer = guarded.post("/get_reward", {"query": ["x"]}, headers={"Authorization": f"Basic {shown}"})
        assert answer.status_code == status


def test_without_a_token_only_this_machine_is_answered(live: Live) -> None:
    assert live.call("GET", "/models", headers={"Host": "rebound.example"}).status_code == 403
    assert live.call("GET", "/models", headers={"Host": "localhost:1"}).status_code == 200
    with pytest.raises(ValueError, match="KEEL_SERVE_TOKEN"):
        Address(host="0.0.0.0")
    with pytest.raises(ValueError, match="needs at least 16"):
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


def test_a_conversation_is_measured_before_it_is_tokenized(guarded: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    model = guarded.registry.get("helpful")[1]._model  # type: ignore[attr-defined]
    seen: list[int] = []
    tokenize = model.renderer.tokenize
    monkeypatch.setattr(
        type(model.renderer), "tokenize", lambda self, texts: [seen.append(max(map(len, texts))), tokenize(texts)][1]
    )
    results = score(guarded, [GOOD, long(200), GOOD]).json()["results"]
    assert results[0]["error"] is results[2]["error"] is None
    assert results[1]["error"] == "1603 bytes of text are more than the 1600 of one conversation"
    letters = [GOOD[0], {"role": "assistant", "content": "é" * 799}]  # 2 bytes each, and 3 of the prompt
    assert "1601 bytes" in score(guarded, [letters]).json()["results"][0]["error"]
    many = [*GOOD * 4, GOOD[0]]
    assert score(guarded, [many]).json()["results"][0]["error"] == "9 messages are more than the 8 of one conversation"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    refused = guarded.post("/get_reward", {"query": ["why", "x" * 1601]}, headers=headers)
    assert refused.status_code == 422
    assert "text 1: 1601 bytes of text are more than the 1600" in refused.json()["detail"]
    assert max(seen) < 1600


def test_a_request_beyond_its_tokens_is_not_tokenized_to_its_end(
    guarded: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reward_models.serving.model_service.ENCODED_AT_ONCE", 1)
    model = guarded.registry.get("helpful")[1]._model  # type: ignore[attr-defined]
    encoded: list[int] = []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda pairs: [encoded.append(len(pairs)), encode(pairs)][1])
    assert "tokens are more than the 300" in score(guarded, [long(60)] * 8).json()["detail"]
    assert sum(encoded) < 8


@pytest.mark.parametrize("sizes", [[], [1], [5] * 200, [2**18, 1, 2**19, 2**19, 3], [2**17] * 5])
def test_parts_of_a_request_hold_all_of_it_in_order(sizes: list[int]) -> None:
    found = list(parts(sizes))
    assert [size for part in found for size in sizes[part]] == sizes
    for part in found:
        assert 1 <= len(sizes[part]) <= 64
        assert sum(sizes[part]) <= 2**18 or len(sizes[part]) == 1


def test_a_million_empty_conversations_are_refused_before_they_are_parsed(live: Live) -> None:
    body = json.dumps({"model": "helpful", "conversations": [[]] * 1_000_000}).encode()
    slowest, ended = 0.0, threading.Event()

    def watch() -> None:
        nonlocal slowest
        while not ended.wait(0.01):
            began = time.monotonic()
            assert live.call("GET", "/health").status_code == 200
            slowest = max(slowest, time.monotonic() - began)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        refused = live.call("POST", "/v1/score", content=body, headers={"Content-Type": "application/json"})
    finally:
        ended.set()
        watcher.join()
    assert refused.status_code == 413
    assert refused.json()["detail"] == "the body holds more than the 131072 lists and objects of one request"
    assert slowest < 2  # parsing them would stop the event loop for 4 to 6 seconds


def test_bodies_are_counted_without_what_their_texts_hold() -> None:
    text = '"[{, \\" [[[[ \\\\"'
    body = f'{{"a": [1, 2, {text}], {text}: {{}}}}'.encode()
    assert isinstance(json.loads(body), dict)
    assert count(body, 3, 6) == (3, 6)
    assert count(body, 100, 100) == (15, 20)  # an upper bound is enough where it is within the limits
    assert count(b"[" * 1000, 10, 10)[0] > 10
    assert count(b'["never ends [[[[', 3, 100) == (1, 1)
    assert parse(rb'{"a": "\u00e9"}', Limits()) == {"a": "é"}
    values = b"[" + b"1," * 2**21 + b"1]"
    with pytest.raises(Refused, match="2097152 values"):
        parse(values, Limits())
    many = Limits(conversations=2, queue=2)
    with pytest.raises(Refused, match="3 conversations are more than the 2 of one request"):
        parse(b'{"input": [[1], [2], [3]]}', many)
    with pytest.raises(Refused, match="3 conversations"):
        parse(b'{"query": ["a", "b", "c"]}', many)
    for allowed in (
        b'{"input": [1, 2, 3]}',
        b'{"messages": [{}, {}, {}]}',
        b'{"input": [[1, 2, 3], [4]]}',
        b"[[], [], []]",
    ):
        assert parse(allowed, many) == json.loads(allowed)
    for wrong in ("[1]".encode("utf-16"), b"\xff", b"[", b'{"a": 1'):
        with pytest.raises((json.JSONDecodeError, UnicodeDecodeError)):
            parse(wrong, Limits())


TEXTS = st.text('[]{},\\"\n aé')


@given(st.recursive(TEXTS | st.integers(), lambda inside: st.lists(inside) | st.dictionaries(TEXTS, inside)))
def test_the_count_is_that_of_the_parsed_value(value: Any) -> None:
    def lists(v: Any) -> int:
        inside = v.values() if isinstance(v, dict) else v if isinstance(v, list) else ()
        return isinstance(v, list | dict) + sum(map(lists, inside))

    wanted = lists(value)
    for body in (json.dumps(value).encode(), json.dumps(value, ensure_ascii=False).encode()):
        assert count(body, wanted, 10**9)[0] == wanted or body.count(b"[") + body.count(b"{") <= wanted
        assert (count(body, wanted - 1, 10**9)[0] > wanted - 1) == (wanted > 0) or wanted == 0


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:8000", 200),
        ("LOCALHOST:1", 200),
        ("[::1]", 200),
        ("[::1]:80", 200),
        ("[", 400),
        ("]", 400),
        ("[::1", 400),
        ("evil.com:80@127.0.0.1", 400),
        ("127.0.0.1/evil.com", 400),
        ("127.0.0.1#evil.com", 400),
        ("[::1]evil.com", 400),
        ("127.0.0.1:80:evil.com", 400),
        ("127.0.0.1:", 400),
        ("127.0.0.1.evil.com", 403),
        ("evil.com", 403),
        ("[::2]", 403),
        ("localhost.", 403),
    ],
)
def test_only_the_exact_names_of_this_machine_pass(live: Live, host: str, status: int) -> None:
    assert live.call("GET", "/models", headers={"Host": host}).status_code == status


def test_a_connection_that_sends_no_request_is_closed(models: dict[str, Path]) -> None:
    limits = Limits(head_seconds=0.5)
    with running({"helpful": model_loader("helpful", models["helpful"], limits)}, limits) as server:
        for sent in (b"", b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "):
            began = time.monotonic()
            with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
                connection.sendall(sent)
                assert connection.recv(100) == b""
            assert 0.4 < time.monotonic() - began < 10


def test_a_connection_in_use_stays_open(models: dict[str, Path]) -> None:
    limits = Limits(head_seconds=0.5)
    with running({"helpful": model_loader("helpful", models["helpful"], limits)}, limits) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            request = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
            for pause in (0.6, 0.6, 0):
                connection.sendall(request)
                answer = b""
                while not answer.endswith(b'{"status":"ok"}'):
                    answer += connection.recv(10_000)
                    assert answer
                time.sleep(pause)
            connection.sendall(request[:20])  # the head of a later request has as much time as that of the first one
            assert connection.recv(100) == b""
        answers: list[Any] = []
        body = {"model": "helpful", "conversations": [GOOD]}
        asking = threading.Thread(target=lambda: answers.append(server.post("/v1/score", body)))
        with Held(server):  # a request that takes longer than its head may is answered
            asking.start()
            time.sleep(1.2)
        asking.join()
        assert answers[0].status_code == 200


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
    with pytest.raises(ValueError, match="prefix_bytes=-1 must not be negative; 0 keeps no prefixes"):
        Limits(prefix_bytes=-1)
