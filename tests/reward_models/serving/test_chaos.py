"""The server under clients that leave, overload, malformed bodies, reloads and SIGTERM; a benchmark does it longer."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from http_client import Client
from live_server import Live, conversations, model_loader, running, save_small
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serving_chaos import BEARER, TOKEN, Seen, ended_under_load, malformed, start, storm

from reward_models import RewardModel
from reward_models.serving.limits import Limits, Refused

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
LIMITS = Limits(queue=24, conversations=24, deadline=20)


def test_a_storm_gives_no_wrong_score_and_everybody_an_answer(models: dict[str, Path]) -> None:
    turns = conversations(4, 6)
    expected = [score.raw for score in RewardModel.load(models["helpful"]).score(turns)]
    loader = model_loader("model", models["helpful"], LIMITS, max_tokens=300)
    with running({"model": loader}, LIMITS, TOKEN) as server:
        options: dict[str, Any] = {"seconds": 4.0, "clients": 40, "bodies": 100, "reload_every": 0.3}
        seen = asyncio.run(storm(server.port, turns, expected, **options))
        assert seen.scores > 50
        assert (seen.wrong, dict(seen.broken)) == (0, {})
        assert seen.largest < 1e-5
        assert seen.left > 10
        assert seen.reloads >= 2
        assert set(seen.statuses) <= {200, 429}
        assert seen.statuses[429] > 0
        assert set(seen.malformed) <= {200, 400, 422, 429}
        until = time.monotonic() + 10
        while server.registry.waiting()["model"] and time.monotonic() < until:
            time.sleep(0.02)
        assert server.registry.waiting() == {"model": 0}  # those that left hold no place
        assert server.call("GET", "/metrics", headers=BEARER).text.count('status="499"') > 0


def test_a_thousand_malformed_bodies_are_all_answered(models: dict[str, Path]) -> None:
    with running({"model": model_loader("model", models["helpful"])}, token=TOKEN) as server:
        seen = Seen()
        asyncio.run(malformed(server.port, seen, 1000, time.monotonic() + 60, seed=7))
        assert (seen.malformed.total(), dict(seen.broken)) == (1000, {})
        assert set(seen.malformed) <= {200, 400, 422}  # some of them happen to be requests


def test_requests_made_from_the_specification_get_the_answers_it_promises(live: Live) -> None:
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{live.port}/openapi.json")
    schema.config.generation.update(modes=list(schemathesis.GenerationMode))
    answered = 0
    for operation in schema.get_all_operations():
        for case in examples(operation.ok(), 12):
            case.validate_response(case.call(timeout=30), checks=CHECKS)
            answered += 1
    assert answered > 40


def examples(operation: Any, count: int) -> list[Any]:
    """Right and wrong requests for one operation, always the same ones."""
    import hypothesis

    found: list[Any] = []
    checks = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.filter_too_much]

    @hypothesis.seed(1)
    @hypothesis.settings(max_examples=count, database=None, suppress_health_check=checks, deadline=None)
    @hypothesis.given(case=operation.as_strategy())
    def collect(case: Any) -> None:
        found.append(case)

    collect()
    return found


def test_sigterm_answers_what_was_asked_and_ends(models: dict[str, Path]) -> None:
    turns = conversations(4, 6)
    expected = [score.raw for score in RewardModel.load(models["helpful"]).score(turns)]
    process, port = start(models["helpful"])
    try:
        seen = asyncio.run(ended_under_load(process, port, turns, expected))
        assert process.wait(20) == 0
    finally:
        process.kill()
    assert seen.statuses[200] > 16
    assert seen.wrong == 0
    assert set(seen.statuses) <= {200, 503}
    assert sum(seen.broken.values()) <= 16  # connections that the server closed between two requests


def test_a_reload_takes_the_new_model_and_keeps_the_old_one_where_there_is_none(tmp_path: Path) -> None:
    directory = save_small(tmp_path / "model", "preference", seed=1)
    turns = conversations(1, 3)
    with running({"model": model_loader("model", directory)}, token=TOKEN) as server:
        post = lambda path, body: server.post(path, body, headers=BEARER)  # noqa: E731
        asked = {"model": "model", "conversations": turns}
        before = post("/v1/score", asked).json()
        save_small(directory, "preference", seed=2)
        assert post("/v1/score", asked).json()["manifest"] == before["manifest"]
        reloaded = post("/v1/reload", {"model": "model"}).json()["models"]
        after = post("/v1/score", asked).json()
        assert reloaded[0]["manifest"] == after["manifest"] != before["manifest"]
        ours = [score.raw for score in RewardModel.load(directory).score(turns)]
        assert [each["raw"] for each in after["results"]] == pytest.approx(ours, abs=1e-5)
        (directory / "config.json").unlink()
        failed = post("/v1/reload", {})
        assert failed.status_code == 500
        assert "the old one stays" in failed.json()["detail"]
        assert post("/v1/score", asked).json()["manifest"] == after["manifest"]
        assert post("/v1/reload", {"model": "other"}).status_code == 404


def test_a_small_request_does_not_wait_for_a_huge_one(models: dict[str, Path]) -> None:
    rng = random.Random(0)
    words = ["what", "why", "one", "two"]
    huge = [
        [{"role": "user", "content": " ".join(rng.choices(words, k=300))}, {"role": "assistant", "content": "one"}]
        for _ in range(300)
    ]
    with running({"model": model_loader("model", models["helpful"], max_tokens=2000)}) as server:
        ended: dict[str, float] = {}

        def ask(name: str, turns: Any) -> None:
            assert len(server.scores("model", turns)) == len(turns)
            ended[name] = time.monotonic()

        large = threading.Thread(target=ask, args=("huge", huge))
        large.start()
        while server.registry.waiting()["model"] < 300 and large.is_alive():
            time.sleep(0.005)
        for number in range(3):
            ask(f"small {number}", conversations(1, 1))
        large.join()
        assert max(ended, key=ended.__getitem__) == "huge"


def test_a_model_that_fails_is_an_error_of_the_request(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = conversations(1, 2)
    with running({"model": model_loader("model", models["helpful"])}) as server:
        model = server.registry.get("model")[1]._model  # type: ignore[attr-defined]

        def fail(*_: object) -> None:
            raise MemoryError

        monkeypatch.setattr(model, "_run", fail)
        answer = server.post("/v1/score", {"model": "model", "conversations": turns})
        assert (answer.status_code, "MemoryError" in answer.json()["detail"]) == (500, True)
        monkeypatch.setattr(model, "_run", lambda sequences, groups, compute: [float("nan")] * len(sequences))
        results = server.post("/v1/score", {"model": "model", "conversations": turns}).json()["results"]
        assert [each["raw"] for each in results] == [None, None]
        assert "not finite" in results[0]["error"]


def test_a_client_that_leaves_takes_its_work_with_it(models: dict[str, Path]) -> None:
    with running({"model": model_loader("model", models["helpful"])}) as server:
        model = server.registry.get("model")[1]._model  # type: ignore[attr-defined]

        async def ask_and_leave() -> None:
            async with Client(server.port) as client:
                client.send("/slime", b'{"prompt": "what", "response": "one"}')
                await client.writer.drain()
                while not server.registry.waiting()["model"]:
                    await asyncio.sleep(0.005)

        with model._computing:
            asyncio.run(ask_and_leave())
            until = time.monotonic() + 5
            while server.registry.waiting()["model"] and time.monotonic() < until:
                time.sleep(0.005)
            assert server.registry.waiting() == {"model": 0}


def test_one_reload_at_a_time_and_unknown_names(models: dict[str, Path]) -> None:
    with running({"model": model_loader("model", models["helpful"])}, token=TOKEN) as server:
        with pytest.raises(Refused, match="no model 'x'; there are model"):
            server.registry.get("x")
        bodies: list[Any] = [{"model": "model"}] * 3

        async def together() -> list[int]:
            async def one(body: Any) -> int:
                async with Client(server.port, BEARER) as client:
                    return (await client.post("/v1/reload", b'{"model": "model"}'))[0]

            return list(await asyncio.gather(*map(one, bodies)))

        assert asyncio.run(together()) == [200, 200, 200]
