"""Laws of rollouts by a real vLLM, for the tests on a CPU and those on GPUs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import peft
import pytest
import torch
from live_vllm import LiveServer
from stand_in_vllm import free_port
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

from align.rollouts.base import Sampling
from align.rollouts.local import LocalRollout
from align.rollouts.served import ServedRollout, find_models
from align.rollouts.vllm import RolloutServerError, VllmRollout
from align.training.rollout import Rollout
from reward_models.backbone.tree_attention import TREE_ATTENTION
from reward_models.data.chat import train_tokenizer
from reward_models.runtime.distributed import World

PROMPTS = [np.arange(5, 5 + length, dtype=np.int32) for length in (7, 3, 12)]
SAMPLES, LIMIT, TEMPERATURE = 4, 24, 0.7


def save_base(directory: Path) -> Path:
    """A random policy with tied embeddings and 32 numbers a head: vLLM computes no fewer on a CPU."""
    tokenizer = train_tokenizer(["What is 1 + 2?", "Add 17 and 4, then double it.", "Is 3 more than 5?"], 380)
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape |= {"num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": 512, "vocab_size": len(tokenizer)}
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = Qwen3Config(**shape, **special, tie_word_embeddings=True, initializer_range=0.2)
    Qwen3ForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def moved(base: Path, seed: int = 0) -> Any:
    """The policy, its weights changed as by training."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    move(model, seed)
    return model


def adapted(model: Any, seed: int) -> Any:
    """The policy with adapters that change it."""
    settings = peft.LoraConfig(r=2, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    wrapped: Any = peft.get_peft_model(model, settings)
    change_adapters(wrapped, seed)
    return wrapped.eval()


@torch.no_grad()
def change_adapters(model: Any, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))


@torch.no_grad()
def move(model: torch.nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        change = torch.randn(weight.shape, generator=generator).to(weight.device)
        weight.add_(change * (0.1 * weight.std() + 1e-3))


def sample(engine: Any, first_seed: int = 0, **options: Any) -> Rollout:
    seeds = [first_seed + 100 * p + g for p in range(len(PROMPTS)) for g in range(SAMPLES)]
    settings = {"max_new_tokens": LIMIT, "samples": SAMPLES, "temperature": TEMPERATURE, "end_ids": (2,)} | options
    return engine.generate(PROMPTS, Sampling(seeds=seeds, **settings))


def tokens(rollout: Rollout) -> list[list[int]]:
    return [ids.tolist() for ids, _ in rollout.responses()]


@torch.no_grad()
def assert_sampled_by(model: Any, rollout: Rollout) -> None:
    """The log-probabilities that the server gave are those of ``model``."""
    tolerance = 5e-5 if model.device.type == "cpu" else 1e-3
    for number, (ids, logprobs) in enumerate(rollout.responses()):
        prompt = PROMPTS[number // SAMPLES].tolist()
        sequence = torch.tensor([[*prompt, *ids.tolist()]], device=model.device)
        logits = model(sequence).logits[0, len(prompt) - 1 : -1].cpu()
        expected = (logits / TEMPERATURE).log_softmax(-1).gather(1, torch.from_numpy(ids.astype(np.int64))[:, None])
        assert logprobs == pytest.approx(expected[:, 0].numpy(), abs=tolerance)


def assert_follows_updates(engine: Any, model: Any) -> list[list[int]]:
    """The responses are those of the weights after every update, and of the seeds; returns the last ones."""
    before: list[list[int]] = []
    for step in range(3):
        move(model, step)
        engine.sync_weights(step)
        rollout = sample(engine)
        assert_sampled_by(model, rollout)
        assert tokens(rollout) != before
        before = tokens(rollout)
        assert tokens(sample(engine)) == before  # equal seeds
        assert tokens(sample(engine, first_seed=7)) != before
    return before


class RolloutLaws:
    """The tests. A subclass has the fixtures ``server``, ``base``, the policy that it began with, and ``trainer``, the
    device of the weights in training.
    """

    @pytest.fixture
    def connect(self, server: LiveServer, base: Path, trainer: torch.device) -> Iterator[Callable[..., VllmRollout]]:
        """Makes an engine for a model, by default the server's own with other weights."""
        engines = []

        def make(model: Any = None, **options: Any) -> VllmRollout:
            settings = {
                "urls": [server.url],
                "group_port": free_port(),
                "start_seconds": 120.0,
                "request_seconds": 60.0,
            }
            model = (moved(base) if model is None else model).to(trainer)
            engines.append(VllmRollout(model, World(0, 1, 0, trainer), **(settings | options)))
            return engines[-1]

        yield make
        for engine in engines:
            engine.shutdown()

    def test_responses_are_those_of_the_weights_after_every_update(self, connect: Any, base: Path) -> None:
        model = moved(base)
        engine = connect(model)
        before = assert_follows_updates(engine, model)
        assert len({tuple(each) for each in before[:SAMPLES]}) > 1  # one seed each
        lengths = {len(each) for each in before}
        assert LIMIT in lengths
        assert len(lengths) > 1

    def test_the_likeliest_tokens_are_those_of_the_local_engine(self, connect: Any, base: Path) -> None:
        engine = connect(moved(base, 5))
        engine.sync_weights(0)
        local = AutoModelForCausalLM.from_pretrained(
            base, dtype=torch.float32, attn_implementation=TREE_ATTENTION
        ).eval()
        move(local, 5)
        assert tokens(sample(engine, temperature=0.0)) == tokens(
            sample(LocalRollout(local, World(0, 1, 0, torch.device("cpu"))), temperature=0.0)
        )

    def test_a_server_that_holds_the_policy_already_is_only_asked(
        self, connect: Any, server: LiveServer, base: Path
    ) -> None:
        unmoved = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
        connect(unmoved).sync_weights(0)
        (found,) = find_models([server.url], 60.0)
        assert (found.root, found.max_tokens) == (str(base), 256)
        asked = ServedRollout([found], unmoved.config.vocab_size, request_seconds=300.0)
        assert_sampled_by(unmoved, sample(asked))
        asked.shutdown()

    def test_adapters_arrive_merged(self, connect: Any, base: Path) -> None:
        model = adapted(moved(base), 0)
        engine = connect(model)
        engine.sync_weights(0)
        assert_sampled_by(model, sample(engine))

    def test_a_pause_in_which_the_server_closes_its_connections(self, connect: Any) -> None:
        engine = connect()
        engine.sync_weights(0)
        whole = tokens(sample(engine))
        time.sleep(6)
        engine.sync_weights(1)
        assert tokens(sample(engine)) == whole

    def test_responses_that_the_server_cuts_are_refused(self, connect: Any) -> None:
        engine = connect()
        engine.sync_weights(0)
        with pytest.raises(RolloutServerError, match=r"has 262 tokens, and the server takes 256.*--max-model-len 262"):
            sample(engine, max_new_tokens=250)
        engine._fleet.servers[0].max_tokens = 1000  # the server's own answer
        with pytest.raises(RolloutServerError, match=r"cuts responses short|maximum context length"):
            sample(engine, max_new_tokens=250, end_ids=(0,))

    def test_requests_of_others_wait_while_the_weights_change(
        self, connect: Any, server: LiveServer, base: Path
    ) -> None:
        engine = connect()
        engine.sync_weights(0)
        body = {"model": str(base), "prompt": [[5, 6, 7]], "max_tokens": 64, "ignore_eos": True, "temperature": 0.0}
        with ThreadPoolExecutor(4) as pool:
            others = [
                pool.submit(httpx2.post, f"{server.url}/v1/completions", json=body, timeout=300) for _ in range(40)
            ]
            for step in range(1, 4):
                move(engine._model, step)
                engine.sync_weights(step)
            assert [other.result().status_code for other in others] == [200] * 40
        assert_sampled_by(engine._model, sample(engine))

    def test_weights_that_the_servers_model_has_not_are_an_error_and_the_server_goes_on(
        self, connect: Any, base: Path
    ) -> None:
        other: Any = moved(base)
        other.model.layers[0].mlp.register_parameter("extra", torch.nn.Parameter(torch.zeros(2)))
        with pytest.raises(RolloutServerError, match="a weight update failed"):
            connect(other).sync_weights(0)
        model = moved(base, 4)
        engine = connect(model)
        engine.sync_weights(0)
        assert_sampled_by(model, sample(engine))
