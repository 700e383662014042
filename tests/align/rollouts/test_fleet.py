"""Several vLLM servers behind one engine, as stand-ins: overlap of their work, losses, returns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import vllm_engines
from stand_in_vllm import StandIn, free_port, stand_in
from vllm_engines import END, LIMIT, engine_over

from align.rollouts import vllm_client
from align.rollouts.base import Sampling
from align.rollouts.vllm import RolloutServerError, VllmRollout
from align.training.rollout import Rollout

PROMPTS = [list(range(5, 5 + length)) for length in range(1, 13)]
GROUP = 2


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that is lost is sent again at once."""
    monkeypatch.setattr(vllm_client, "FIRST_WAIT", 0.01)


@pytest.fixture
def servers() -> Iterator[tuple[StandIn, StandIn]]:
    with stand_in() as one, stand_in() as other:
        one.delay = other.delay = 0.02
        yield one, other


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def engine(servers: tuple[StandIn, StandIn], said: list[str]) -> Iterator[VllmRollout]:
    made = connect([server.url for server in servers], said)
    made.sync_weights(0)
    yield made
    made.shutdown()


def connect(urls: list[str], said: list[str], **options: Any) -> VllmRollout:
    return engine_over(urls, say=said.append, **({"start_seconds": 3.0, "request_seconds": 2.0} | options))


def sample(engine: VllmRollout) -> Rollout:
    return vllm_engines.sample(engine, PROMPTS, GROUP)


def asked(server: StandIn) -> list[int]:
    return [len(payload["prompt"][0]) for payload in server.payloads]


def test_the_prompts_are_shared_by_their_work_and_the_responses_are_those_of_one_server(
    engine: VllmRollout, servers: tuple[StandIn, StandIn]
) -> None:
    shared = sample(engine)
    works = [sum(asked(server)) + GROUP * LIMIT * len(server.payloads) for server in servers]
    assert sorted(asked(servers[0]) + asked(servers[1])) == sorted(len(prompt) for prompt in PROMPTS)
    assert min(works) > 0.5 * max(works)
    assert engine.figures() == {"servers": 2, "prompts_moved": 0}
    alone = connect([servers[0].url], [])
    assert torch.equal(sample(alone).response_T, shared.response_T)
    assert alone.figures() == {}


def test_all_servers_are_sent_the_weights(engine: VllmRollout, servers: tuple[StandIn, StandIn]) -> None:
    for server in servers:
        assert all(torch.equal(server.received[name], weight) for name, weight in engine._model.named_parameters())
        assert server.version == servers[0].version != "default"


def lose_at_once(server: StandIn) -> None:
    server.dies_after = 1


def hang(server: StandIn) -> None:
    server.delay = 4.0


def fail(server: StandIn) -> None:
    server.spoil = lambda answer: {"error": {"message": "the engine is dead", "code": 500}}


def lose_weights(server: StandIn) -> None:
    server.spoil = lambda answer: (server.forget(), answer)[1]


@pytest.mark.parametrize("harm", [lose_at_once, hang, fail, lose_weights])
def test_the_prompts_of_a_server_that_is_lost_go_to_the_other_with_their_seeds(
    harm: Any, engine: VllmRollout, servers: tuple[StandIn, StandIn], said: list[str]
) -> None:
    whole = sample(engine)
    engine.figures()
    harm(servers[1])
    rest = sample(engine)
    assert torch.equal(rest.response_T, whole.response_T)
    assert torch.equal(rest.rollout_logprobs_T, whole.rollout_logprobs_T)
    assert [text for text in said if f"{servers[1].url} is lost" in text]
    figures = engine.figures()
    assert figures["servers"] == 1
    assert figures["prompts_moved"] >= 1
    before = len(servers[1].payloads)
    assert torch.equal(sample(engine).response_T, whole.response_T)
    assert len(servers[1].payloads) == before  # it is not asked again


def test_a_server_that_is_back_gets_the_weights_before_it_is_used(
    engine: VllmRollout, servers: tuple[StandIn, StandIn], said: list[str]
) -> None:
    one, other = servers
    lose_at_once(other)
    sample(engine)
    engine.sync_weights(1)  # it is still away
    assert "is lost" in said[0]
    other.dead, other.dies_after = False, -1
    other.forget()
    updates = one.calls.count("/finish_weight_update")
    engine.sync_weights(1)
    assert said[-1] == f"the rollout server {other.url} is back; it is sent the weights"
    assert all(torch.equal(other.received[name], weight) for name, weight in engine._model.named_parameters())
    assert one.calls.count("/finish_weight_update") == updates  # the other has them
    assert other.version == one.version
    other.payloads.clear()
    sample(engine)
    assert other.payloads


def test_a_server_that_is_back_answers_nothing_that_was_requested_before_it_has_the_weights(
    engine: VllmRollout, servers: tuple[StandIn, StandIn]
) -> None:
    """More requests than are made at once: those that wait must not go to it."""
    one, other = servers
    other.dead = True
    sample(engine)  # it is lost
    other.dead = False
    other.forget()
    other.payloads.clear()
    engine._requests._limit = 2
    sampling = Sampling(max_new_tokens=LIMIT, samples=GROUP, end_ids=(END,))
    requests = engine.request(PROMPTS, list(range(len(PROMPTS))), sampling)
    engine.sync_weights(1)
    assert all(request.result().url == one.url for request in requests)
    assert not other.payloads
    assert other.version == one.version


def test_the_loss_of_all_servers_is_an_error_that_names_each(
    engine: VllmRollout, servers: tuple[StandIn, StandIn]
) -> None:
    for server in servers:
        lose_at_once(server)
    with pytest.raises(RolloutServerError, match="no server is left") as raised:
        sample(engine)
    assert all(server.url in str(raised.value).partition("no server is left")[2] for server in servers)
    with pytest.raises(RolloutServerError, match="no server is up after 3 s"):
        engine.sync_weights(1)


def test_a_server_that_is_lost_in_a_weight_update_is_left_out(
    engine: VllmRollout, servers: tuple[StandIn, StandIn], said: list[str]
) -> None:
    servers[1].unknown = "model.norm.weight"
    engine.sync_weights(1)
    assert "no module or parameter named" in said[0]
    assert not servers[1].paused  # it works for others again
    servers[1].payloads.clear()
    sample(engine)
    assert not servers[1].payloads


def test_every_server_must_be_there_at_the_start(servers: tuple[StandIn, StandIn]) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(RolloutServerError, match=rf"connecting failed: .*{gone}: not up after 0.2 s"):
        connect([servers[0].url, gone], [], start_seconds=0.2)


def test_a_server_that_is_not_there_is_named_while_the_run_waits(
    servers: tuple[StandIn, StandIn], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("align.rollouts.fleet.QUIET_SECONDS", 0.2)
    gone = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(RolloutServerError):
        connect([gone, servers[0].url], said, start_seconds=1.0)
    assert said[0].startswith(f"waiting for {gone}")
    assert "at most 1 s (rollout.vllm_start_seconds)" in said[0]


def test_weights_wait_for_the_responses_under_way(engine: VllmRollout, servers: tuple[StandIn, StandIn]) -> None:
    """The stand-in fails where a request meets an update."""
    sampling = Sampling(max_new_tokens=LIMIT, samples=GROUP, end_ids=(END,))
    requests = engine.request(PROMPTS, list(range(len(PROMPTS))), sampling)
    engine.sync_weights(1)
    assert all(request.done() for request in requests)
    assert [len(request.result().responses) for request in requests] == [GROUP] * len(PROMPTS)
