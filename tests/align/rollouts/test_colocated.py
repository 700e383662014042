"""vLLM inside the training process, against a class with vLLM's interface: weights, sleep and wake, what is asked."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import peft
import pytest
import torch
from stand_in_vllm import expected
from transformers import Qwen3Config, Qwen3ForCausalLM

from align.rollouts.base import Sampling
from align.rollouts.colocated import ColocatedRollout
from align.rollouts.config import RolloutConfig
from align.rollouts.weights import whole_weights
from align.training.rollout import Rollout
from reward_models.runtime.distributed import World

CPU, GPU = (World(0, 1, 0, torch.device(name)) for name in ("cpu", "cuda"))
PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12]]
GROUP, LIMIT, END = 4, 6, 2


class Engine:
    """vLLM's ``LLM``: what it was made with and told to do. It samples only while it is awake and has weights."""

    made: Engine

    def __init__(self, model: str, **options: Any) -> None:
        Engine.made = self
        self.config = json.loads((Path(model) / "config.json").read_text())
        self.options, self.calls, self.asked = options, list[str](), list[Any]()
        self.weights: dict[str, torch.Tensor] = {}
        self.awake = {"weights", "kv_cache"}
        self.packed = self.resets = 0
        self.ended = False
        self.llm_engine = SimpleNamespace(engine_core=SimpleNamespace(shutdown=self._end))
        torch.manual_seed(99), random.seed(99), np.random.seed(99)  # as vLLM does
        torch.set_num_threads = lambda number: None

    def collective_rpc(self, method: str, kwargs: dict[str, Any]) -> None:
        assert method == "reload_weights"
        assert "weights" in self.awake
        self.weights = {name: weight.clone() for name, weight in kwargs["weights_iterator"]}
        self.calls.append("weights")

    def apply_model(self, function: Any) -> None:
        def pack(head: Any) -> None:
            self.packed += 1

        function(
            SimpleNamespace(lm_head=SimpleNamespace(quant_method=SimpleNamespace(process_weights_after_loading=pack)))
        )

    def reset_prefix_cache(self) -> None:
        self.resets += 1

    def wake_up(self, tags: list[str]) -> None:
        assert not self.awake & set(tags)
        self.awake |= set(tags)
        self.calls.append(f"wake {tags[0]}")

    def sleep(self, level: int) -> None:
        assert level == 2
        self.awake, self.weights = set(), {}
        self.calls.append("sleep")

    def generate(self, prompts: list[Any], settings: list[Any], use_tqdm: bool) -> list[Any]:
        assert self.awake == {"weights", "kv_cache"}
        assert self.weights
        self.calls.append("generate")
        self.asked = settings
        return [
            SimpleNamespace(outputs=[self._output(prompt["prompt_token_ids"], each, n) for n in range(each.n)])
            for prompt, each in zip(prompts, settings, strict=True)
        ]

    def _output(self, prompt: list[int], settings: Any, number: int) -> Any:
        tokens = expected(prompt, settings.seed + number, settings.max_tokens, settings.stop_token_ids[0])
        held = [{token: SimpleNamespace(logprob=-token / 10)} for token in tokens]
        return SimpleNamespace(token_ids=tokens, logprobs=held)

    def _end(self) -> None:
        self.ended = True


@pytest.fixture(autouse=True)
def vllm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    module: Any = ModuleType("vllm")
    module.LLM, module.SamplingParams = Engine, SimpleNamespace
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "INFO")
    return


def model() -> Any:
    shape: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "head_dim": 8}
    shape |= {"num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 32, "tie_word_embeddings": True}
    torch.manual_seed(0)
    return Qwen3ForCausalLM(Qwen3Config(**shape))


def make(policy: Any = None, world: World = CPU, **options: Any) -> ColocatedRollout:
    return ColocatedRollout(policy or model(), world, **({"max_tokens": 40, "max_rows": 8} | options))


def sample(engine: ColocatedRollout, **options: Any) -> Rollout:
    seeds = [100 * p + g for p in range(len(PROMPTS)) for g in range(GROUP)]
    settings = {"max_new_tokens": LIMIT, "samples": GROUP, "end_ids": (END,), "seeds": seeds} | options
    return engine.generate([np.array(p, np.int32) for p in PROMPTS], Sampling(**settings))


def test_responses_come_back_in_order_with_their_log_probabilities() -> None:
    engine = make()
    engine.sync_weights(0)
    rollout = sample(engine, temperature=0.7)
    wanted = [expected(p, 100 * i + g, LIMIT, END) for i, p in enumerate(PROMPTS) for g in range(GROUP)]
    assert [ids.tolist() for ids, _ in rollout.responses()] == wanted
    for ids, logprobs in rollout.responses():
        assert logprobs == pytest.approx(-ids / 10)
    asked = Engine.made.asked[1]
    assert (asked.n, asked.temperature, asked.seed, asked.max_tokens) == (GROUP, 0.7, 100, LIMIT)
    assert (asked.stop_token_ids, asked.ignore_eos, asked.logprobs) == ([END], True, 0)


def test_the_likeliest_tokens_are_computed_once_and_are_those_of_every_sample() -> None:
    engine = make()
    engine.sync_weights(0)
    rollout = sample(engine, temperature=0.0)
    assert all(each.n == 1 for each in Engine.made.asked)
    assert len(rollout.length_N) == GROUP * len(PROMPTS)
    assert all(np.isnan(logprobs).all() for _, logprobs in rollout.responses())


def test_weights_are_given_once_for_a_step_with_adapters_merged() -> None:
    policy = peft.get_peft_model(model(), peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, weight in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    engine = make(policy)
    made = Engine.made
    assert (made.config["architectures"], made.config["vocab_size"]) == (["Qwen3ForCausalLM"], 32)
    options = ("load_format", "dtype", "max_model_len", "max_num_seqs", "logprobs_mode", "enforce_eager")
    assert [made.options[name] for name in options] == ["dummy", "float32", 40, 8, "processed_logprobs", True]
    assert "enable_sleep_mode" not in made.options
    for step in (0, 0, 1):
        engine.sync_weights(step)
    sample(engine)
    assert made.calls == ["weights", "weights", "generate"]
    assert made.packed == made.resets == 2
    wanted = dict(whole_weights(policy))
    assert made.weights.keys() == wanted.keys()
    assert all(torch.equal(made.weights[name], weight) for name, weight in wanted.items())
    engine.shutdown()
    assert made.ended


def test_on_a_gpu_it_sleeps_after_it_has_sampled_and_gets_the_weights_before_its_cache() -> None:
    engine = make(world=GPU, memory=0.3)
    options = Engine.made.options
    assert (options["enable_sleep_mode"], options["gpu_memory_utilization"]) == (True, 0.3)
    assert "enforce_eager" not in options
    engine.sync_weights(0)
    first = sample(engine)
    again = sample(engine)  # of the same policy, such as for other prompts without signal
    woken = ["wake weights", "weights", "wake kv_cache", "generate", "sleep"]
    assert Engine.made.calls == ["sleep", *woken * 2]
    assert torch.equal(first.response_T, again.response_T)
    engine.sync_weights(1)
    assert Engine.made.calls == ["sleep", *woken * 2, *woken[:3]]
    assert Engine.made.packed == 0


def test_vllm_changes_neither_random_numbers_nor_threads_of_training() -> None:
    policy, threads = model(), torch.set_num_threads
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    wanted = (torch.rand(3).tolist(), random.random(), np.random.rand())
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    make(policy)
    assert (torch.rand(3).tolist(), random.random(), np.random.rand()) == wanted
    assert torch.set_num_threads is threads


def test_what_cannot_work_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="sync_weights was not called"):
        sample(make())
    with pytest.raises(ValueError, match=r"rollout.engine=vllm_colocated takes turns with the updates"):
        RolloutConfig(engine="vllm_colocated", overlap=True)
    with pytest.raises(ValueError, match=r"rollout.vllm_memory=1.5 must be a share"):
        RolloutConfig(engine="vllm_colocated", vllm_memory=1.5)

    def refuse(self: Engine, model: str, **_: Any) -> None:
        raise ValueError("no memory")

    monkeypatch.setattr(Engine, "__init__", refuse)
    with pytest.raises(ValueError, match="vllm_colocated: vLLM does not start: no memory"):
        make()
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ValueError, match=r"needs vLLM in this environment .*set rollout.engine=vllm for a server"):
        make()
