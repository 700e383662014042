"""The vLLM engine against a server that speaks the same HTTP: what it asks, what it is given, what goes wrong."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import vllm_engines
from stand_in_vllm import StandIn, expected, stand_in
from vllm_engines import END, LIMIT, engine_over, model

from align.rollouts.adapters import AdapterFolder
from align.rollouts.config import RolloutConfig
from align.rollouts.vllm import RolloutServerError, VllmRollout
from align.rollouts.weights import whole_weights
from align.training.rollout import Rollout
from reward_models.runtime.distributed import World

PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12]]
GROUP = 4


@pytest.fixture
def server() -> Iterator[StandIn]:
    with stand_in() as state:
        yield state


def connect(server: StandIn, policy: Any = None, **options: Any) -> VllmRollout:
    return engine_over([server.url], policy, **options)


def sample(engine: VllmRollout, **options: Any) -> Rollout:
    return vllm_engines.sample(engine, PROMPTS, GROUP, **options)


def test_responses_come_back_in_order_with_their_log_probabilities(server: StandIn) -> None:
    rollout = sample(connect(server), temperature=0.7)
    wanted = [expected(p, 100 * i + g, LIMIT, END) for i, p in enumerate(PROMPTS) for g in range(GROUP)]
    assert [ids.tolist() for ids, _ in rollout.responses()] == wanted
    for ids, logprobs in rollout.responses():
        assert logprobs == pytest.approx(-ids / 10)
    assert rollout.finished_N.tolist() == [ids[-1] == END for ids in wanted]
    assert len(set(rollout.finished_N.tolist())) == 2
    assert rollout.prompt_T.tolist() == [token for prompt in PROMPTS for token in prompt]


def test_the_server_is_asked_for_what_was_configured(server: StandIn) -> None:
    rollout = sample(connect(server), temperature=0.6, top_p=0.9, top_k=7)
    asked = {tuple(payload["prompt"][0]): payload for payload in server.payloads}
    assert set(asked) == {tuple(p) for p in PROMPTS}
    payload = asked[tuple(PROMPTS[1])]
    values = ("n", "temperature", "top_p", "top_k", "max_tokens", "stop_token_ids", "seed")
    assert [payload[name] for name in values] == [GROUP, 0.6, 0.9, 7, LIMIT, [END], 100]
    # vLLM's are those after truncation, which are not the policy's.
    assert all(np.isnan(logprobs).all() for _, logprobs in rollout.responses())


def test_weights_are_sent_once_for_a_step_by_their_names(server: StandIn) -> None:
    policy = model()
    engine = connect(server, policy)
    engine.sync_weights(0)
    assert server.received.keys() == {name for name, _ in policy.named_parameters()}
    assert "lm_head.weight" not in server.received  # tied: the embedding is sent once
    assert all(torch.equal(server.received[name], weight) for name, weight in policy.named_parameters())
    assert {(n, tuple(s)) for n, _, s in server.announced} == {(n, tuple(w.shape)) for n, w in server.received.items()}
    server.announced.clear()
    engine.sync_weights(0)
    assert not server.announced
    server.calls.clear()
    engine.sync_weights(1)
    assert len(server.announced) == len(server.received)
    calls = [call for call in server.calls if call != "/update_weights"]
    update = ["/pause", "/start_weight_update", "/finish_weight_update", "/reset_prefix_cache", "/resume"]
    assert calls == ["/weight_info", *update]


def test_adapters_are_sent_merged_and_the_training_weights_stay() -> None:
    policy = peft.get_peft_model(model(), peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, weight in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    before = {name: weight.detach().clone() for name, weight in policy.named_parameters()}
    sent = {name: weight.clone() for name, weight in whole_weights(policy)}
    assert all(torch.equal(before[name], weight) for name, weight in policy.named_parameters())
    merged = dict(policy.merge_and_unload().named_parameters())
    assert sent.keys() == merged.keys()
    for name, weight in sent.items():
        torch.testing.assert_close(weight, merged[name], rtol=1e-6, atol=1e-6)
    assert not torch.equal(merged["model.layers.0.mlp.up_proj.weight"], model().model.layers[0].mlp.up_proj.weight)


def adapted(rank: int = 2) -> Any:
    settings = peft.LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM")
    return peft.get_peft_model(model(), settings)


def test_adapters_are_sent_alone_after_the_frozen_weights(server: StandIn, tmp_path: Path) -> None:
    server.lora, policy = 2, adapted()
    engine = connect(server, policy, adapters=tmp_path / "adapters")
    for step in range(3):
        for name, weight in policy.named_parameters():
            if "lora_B" in name:
                torch.nn.init.constant_(weight, step + 1.0)
        server.announced.clear()
        engine.sync_weights(step)
        assert bool(server.announced) == (step == 0)
        assert server.received.keys() == {name for name, _ in model().named_parameters()}
        (held,) = server.adapters.values()  # the one before is gone
        assert held.keys() == peft.get_peft_model_state_dict(policy).keys()
        for name, weight in peft.get_peft_model_state_dict(policy).items():
            assert torch.equal(held[name], weight)
        assert len(list((tmp_path / "adapters").iterdir())) == 1
        sample(engine)
        assert {payload["model"] for payload in server.payloads} == set(server.adapters)
        server.payloads.clear()
    for name, weight in model().named_parameters():
        assert torch.equal(server.received[name], weight)
    engine.shutdown()
    assert not (tmp_path / "adapters").exists()


def test_a_restarted_server_gets_the_frozen_weights_and_the_adapter_anew(server: StandIn, tmp_path: Path) -> None:
    server.lora = 2
    engine = connect(server, adapted(), adapters=tmp_path)
    engine.sync_weights(0)
    server.forget()
    with pytest.raises(RolloutServerError, match="does not exist"):
        sample(engine)
    engine.sync_weights(1)
    assert server.received
    assert len(server.adapters) == 1
    sample(engine)


@pytest.mark.parametrize(
    ("lora", "loads", "message"),
    [
        (None, True, r"takes no adapters; start it with --enable-lora --max-lora-rank 4 .*rollout.adapters=merged"),
        (2, True, "adapters of rank 2 at most, and the run's have 4; start it with --enable-lora --max-lora-rank 4"),
        (4, False, "start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"),
    ],
)
def test_a_server_that_takes_no_such_adapter_is_refused(
    lora: int | None, loads: bool, message: str, server: StandIn, tmp_path: Path
) -> None:
    server.lora, server.loads = lora, loads
    with pytest.raises(RolloutServerError, match=message):
        connect(server, adapted(4), adapters=tmp_path).sync_weights(0)


def test_an_adapter_that_the_server_cannot_read_is_an_error(
    server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.lora = 2
    engine = connect(server, adapted(), adapters=tmp_path)
    engine.sync_weights(0)
    monkeypatch.setattr(AdapterFolder, "write", lambda *_: tmp_path / "elsewhere")
    with pytest.raises(RolloutServerError, match=r"cannot read .*elsewhere: put output_dir on a file system"):
        engine.sync_weights(1)


def test_weights_that_are_trained_beside_an_adapter_cannot_be_sent_so(server: StandIn, tmp_path: Path) -> None:
    policy = adapted()
    policy.get_base_model().model.norm.weight.requires_grad_(True)
    with pytest.raises(ValueError, match=r"norm.weight is trained beside them: set rollout.adapters=merged"):
        connect(server, policy, adapters=tmp_path)


def test_a_server_that_is_down_is_reported_within_the_time_limit() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # no one listens
        down = StandIn()
        down.url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(RolloutServerError, match=rf"{down.url}: connecting failed: .*not up after 0.2 s"):
            connect(down, start_seconds=0.2)


def test_a_server_that_hangs_is_reported_within_the_time_limit(server: StandIn) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        mute = StandIn()
        mute.url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(RolloutServerError, match=r"not up after 0\.2 s"):
            connect(mute, start_seconds=0.2)
    engine = connect(server, request_seconds=0.1)
    server.delay = 1.0
    with pytest.raises(RolloutServerError, match=r"sampling failed: .*timed out"):
        sample(engine)


def _short(answer: dict[str, Any]) -> Any:
    answer["choices"].pop()
    return answer


def _cut(answer: dict[str, Any]) -> Any:
    """As a server does whose limit is reached: fewer tokens than were asked for, and no end token."""
    first = answer["choices"][0]
    names, lp = ["token_id:3"], first["logprobs"]
    first["token_ids"] = [3]
    first["logprobs"] = lp | {"tokens": names, "token_logprobs": [-0.3], "top_logprobs": [{"token_id:3": -0.3}]}
    return answer


def _each(change: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda answer: {"choices": [choice | change for choice in answer["choices"]]}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_short, "3 responses instead of 4"),
        (_each({"prompt_token_ids": [1]}), "another prompt"),
        (_each({"token_ids": []}), "a response of 0 tokens"),
        (_each({"token_ids": [3] * (LIMIT + 1)}), f"a response of {LIMIT + 1} tokens"),
        (_each({"logprobs": None}), "no log-probabilities"),
        (_cut, "a response of 1 tokens without an end token, where 6 were asked for.*--max-model-len"),
        (lambda answer: {"choices": "nonsense"}, "sampling failed"),
        (lambda answer: {}, "sampling failed: KeyError"),
        (lambda answer: b"<html>", "sampling failed: JSONDecodeError"),
    ],
)
def test_an_answer_to_something_else_is_refused(
    spoil: Callable[[dict[str, Any]], Any], message: str, server: StandIn
) -> None:
    engine = connect(server)
    server.spoil = spoil
    with pytest.raises(RolloutServerError, match=message):
        sample(engine)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"logprobs_mode": "raw_logprobs"}, "start it with --logprobs-mode processed_logprobs"),
        ({"dtype": "torch.bfloat16"}, "computes in bfloat16 and the run in float32.*--dtype float32"),
    ],
)
def test_settings_of_the_server_are_compared_at_the_start(
    setting: dict[str, Any], message: str, server: StandIn
) -> None:
    server.settings |= setting
    with pytest.raises(RolloutServerError, match=message):
        connect(server)


def test_responses_that_the_server_would_cut_are_not_asked_for(server: StandIn) -> None:
    server.settings["max_model_len"] = 9
    with pytest.raises(RolloutServerError, match=r"has 10 tokens, and the server takes 9; .*--max-model-len 10"):
        sample(connect(server))
    assert not server.payloads


def test_a_connection_that_was_closed_while_idle_costs_nothing(server: StandIn) -> None:
    engine = connect(server)
    whole = sample(engine)
    server.hang_ups = 2
    assert torch.equal(sample(engine).response_T, whole.response_T)
    assert server.hang_ups == 0


def test_a_response_ends_with_the_end_tokens_of_the_run_alone(server: StandIn) -> None:
    sample(connect(server))
    assert all(payload["ignore_eos"] for payload in server.payloads)


def test_the_likeliest_tokens_are_asked_for_once_and_are_those_of_every_sample(server: StandIn) -> None:
    rollout = sample(connect(server), temperature=0.0)
    wanted = [expected(p, 100 * i, LIMIT, END) for i, p in enumerate(PROMPTS) for _ in range(GROUP)]
    assert [ids.tolist() for ids, _ in rollout.responses()] == wanted
    assert [payload["n"] for payload in server.payloads] == [1, 1, 1]


def test_an_update_that_another_run_left_unfinished_is_ended_first(server: StandIn) -> None:
    server.updating = True
    policy = model()
    engine = connect(server, policy)
    engine.sync_weights(0)
    assert not server.updating
    assert server.received.keys() == {name for name, _ in policy.named_parameters()}
    server.updating = True  # by somebody else, in the middle of this run
    with pytest.raises(RolloutServerError, match=r"a weight update failed: .*already active"):
        engine.sync_weights(1)


def test_a_server_that_was_restarted_between_rollouts_gets_the_weights_anew(server: StandIn) -> None:
    policy = model()
    engine = connect(server, policy)
    engine.sync_weights(3)
    server.forget()
    engine.sync_weights(3)
    assert server.received.keys() == {name for name, _ in policy.named_parameters()}
    assert server.calls.count("/init_weight_transfer_engine") == 2
    sample(engine)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("default", "was restarted while it sampled"),
        ("keel-other-7", "another run has sent its weights .*keel-other-7"),
    ],
)
def test_responses_by_other_weights_are_refused(version: str, message: str, server: StandIn) -> None:
    engine = connect(server)
    engine.sync_weights(0)
    server.version = version
    with pytest.raises(RolloutServerError, match=message):
        sample(engine)


def test_after_an_update_that_failed_the_server_works_again(server: StandIn) -> None:
    engine = connect(server)
    engine.sync_weights(0)
    server.unknown = "model.norm.weight"
    with pytest.raises(RolloutServerError, match=r"a weight update failed: .*no module or parameter named"):
        engine.sync_weights(1)
    assert not server.updating
    assert not server.paused


def test_workers_that_wait_for_the_weights_of_a_run_that_is_gone_are_reported(server: StandIn) -> None:
    server.waiting = True
    with pytest.raises(RolloutServerError, match=r"have not answered for 0\.3 s.*restart the server"):
        connect(server, start_seconds=0.3)


def test_a_prefix_cache_that_was_kept_is_an_error(server: StandIn) -> None:
    engine = connect(server)
    server.busy = True
    with pytest.raises(RolloutServerError, match="kept its prefix cache"):
        engine.sync_weights(0)


def test_tokens_of_another_vocabulary_are_refused(server: StandIn) -> None:
    with pytest.raises(RolloutServerError, match="outside the vocabulary of 10"):
        sample(connect(server, model(vocab_size=10)))


def test_errors_of_the_server_are_passed_on(server: StandIn) -> None:
    engine = connect(server)
    server.status = 400
    with pytest.raises(RolloutServerError, match=r"sampling failed: .*400"):
        sample(engine)
    with pytest.raises(RolloutServerError, match=r"a weight update failed: .*400"):
        engine.sync_weights(3)


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("nccl", r"over NCCL, and this run is on a cpu.*--worker-extension-cls align\.rollouts\.vllm_worker\.Worker"),
        (None, r"--weight-transfer-config '{\"backend\": \"nccl\"}'"),
    ],
)
def test_a_way_of_weights_that_this_run_cannot_use_is_refused(
    backend: str | None, message: str, server: StandIn
) -> None:
    server.backend = backend
    with pytest.raises(ValueError, match=message):
        connect(server)


def test_over_nccl_vllm_is_needed_here_too(server: StandIn) -> None:
    server.backend = "nccl"
    gpu = World(0, 1, 0, torch.device("cuda", 0))
    with pytest.raises(ValueError, match=r"No module named 'vllm.*\s.*keel-align\[vllm\]"):
        VllmRollout(model(), gpu, urls=[server.url], start_seconds=2.0)


def test_a_configuration_that_cannot_work_is_refused() -> None:
    with pytest.raises(ValueError, match="must begin with http"):
        RolloutConfig(urls=["gpu-box:8000"])
    with pytest.raises(ValueError, match="must be positive"):
        RolloutConfig(vllm_request_seconds=0)
