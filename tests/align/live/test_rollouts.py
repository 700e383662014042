"""Rollouts by a real vLLM: its responses are those of the weights in training, whatever happens to either side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import peft
import pytest
import torch
import training_runs
from live_vllm import POLICY, Launcher, LiveServer
from stand_in_vllm import free_port
from training_runs import PARTITION_ALL, metrics
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from align.rollouts.base import Sampling
from align.rollouts.local import LocalRollout
from align.rollouts.served import ServedRollout, find_models
from align.rollouts.vllm import RolloutServerError, VllmRollout
from align.training.rollout import Rollout
from reward_models.backbone.tree_attention import TREE_ATTENTION
from reward_models.runtime.distributed import World

pytestmark = pytest.mark.live

WORLD = World(0, 1, 0, torch.device("cpu"))
PROMPTS = [np.arange(5, 5 + length, dtype=np.int32) for length in (7, 3, 12)]
SAMPLES, LIMIT, TEMPERATURE = 4, 24, 0.7


@pytest.fixture(scope="module")
def base(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random policy with tied embeddings and 32 numbers a head: vLLM computes no fewer on a CPU."""
    directory = tmp_path_factory.mktemp("base")
    tokenizer = AutoTokenizer.from_pretrained(policy)
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape |= {"num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": 512, "vocab_size": len(tokenizer)}
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = Qwen3Config(**shape, **special, tie_word_embeddings=True, initializer_range=0.2)
    Qwen3ForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def server(vllm: Launcher, base: Path) -> Iterator[LiveServer]:
    started = vllm.start(base, *POLICY)
    yield started.wait_until_up()
    started.kill()


@pytest.fixture
def connect(server: LiveServer, base: Path) -> Iterator[Callable[..., VllmRollout]]:
    """Makes an engine for a model, by default the server's own with other weights."""
    engines = []

    def make(model: Any = None, **options: Any) -> VllmRollout:
        settings = {"base_url": server.url, "group_port": free_port(), "start_seconds": 120.0, "request_seconds": 60.0}
        engines.append(VllmRollout(model or moved(base), WORLD, **(settings | options)))
        return engines[-1]

    yield make
    for engine in engines:
        engine.shutdown()


def moved(base: Path, seed: int = 0) -> Any:
    """The policy, its weights changed as by training."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    move(model, seed)
    return model


@torch.no_grad()
def move(model: torch.nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        weight.add_(torch.randn(weight.shape, generator=generator) * (0.1 * weight.std() + 1e-3))


def sample(engine: Any, first_seed: int = 0, **options: Any) -> Rollout:
    seeds = [first_seed + 100 * p + g for p in range(len(PROMPTS)) for g in range(SAMPLES)]
    settings = {"max_new_tokens": LIMIT, "samples": SAMPLES, "temperature": TEMPERATURE, "end_ids": (2,)} | options
    return engine.generate(PROMPTS, Sampling(seeds=seeds, **settings))


def tokens(rollout: Rollout) -> list[list[int]]:
    return [ids.tolist() for ids, _ in rollout.responses()]


@torch.no_grad()
def assert_sampled_by(model: Any, rollout: Rollout) -> None:
    """The log-probabilities that the server gave are those of ``model``."""
    for number, (ids, logprobs) in enumerate(rollout.responses()):
        prompt = PROMPTS[number // SAMPLES].tolist()
        logits = model(torch.tensor([[*prompt, *ids.tolist()]])).logits[0, len(prompt) - 1 : -1]
        expected = (logits / TEMPERATURE).log_softmax(-1).gather(1, torch.from_numpy(ids.astype(np.int64))[:, None])
        assert logprobs == pytest.approx(expected[:, 0].numpy(), abs=5e-5)


def test_responses_are_those_of_the_weights_after_every_update(connect: Any, base: Path) -> None:
    model = moved(base)
    engine = connect(model)
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
    assert len({tuple(each) for each in before[:SAMPLES]}) > 1  # one seed each
    lengths = set(rollout.length_N.tolist())
    assert LIMIT in lengths
    assert len(lengths) > 1


def test_the_likeliest_tokens_are_those_of_the_local_engine(connect: Any, base: Path) -> None:
    engine = connect(moved(base, 5))
    engine.sync_weights(0)
    local = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation=TREE_ATTENTION).eval()
    move(local, 5)
    assert tokens(sample(engine, temperature=0.0)) == tokens(sample(LocalRollout(local, WORLD), temperature=0.0))


def test_a_server_that_holds_the_policy_already_is_only_asked(connect: Any, server: LiveServer, base: Path) -> None:
    unmoved = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    connect(unmoved).sync_weights(0)
    (found,) = find_models([server.url], 60.0)
    assert (found.root, found.max_tokens) == (str(base), 256)
    asked = ServedRollout([found], unmoved.config.vocab_size, request_seconds=60.0)
    assert_sampled_by(unmoved, sample(asked))
    asked.shutdown()


def test_adapters_arrive_merged(connect: Any, base: Path) -> None:
    model = moved(base)
    settings = peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted: Any = peft.get_peft_model(model, settings)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    engine = connect(adapted)
    engine.sync_weights(0)
    rollout = sample(engine)
    assert_sampled_by(adapted, rollout)


def test_a_pause_in_which_the_server_closes_its_connections(connect: Any) -> None:
    engine = connect()
    engine.sync_weights(0)
    whole = tokens(sample(engine))
    time.sleep(6)
    engine.sync_weights(1)
    assert tokens(sample(engine)) == whole


def test_responses_that_the_server_cuts_are_refused(connect: Any) -> None:
    engine = connect()
    engine.sync_weights(0)
    with pytest.raises(RolloutServerError, match=r"has 262 tokens, and the server takes 256.*--max-model-len 262"):
        sample(engine, max_new_tokens=250)
    engine._max_tokens = 1000  # the server's own answer
    with pytest.raises(RolloutServerError, match=r"cuts responses short|maximum context length"):
        sample(engine, max_new_tokens=250, end_ids=(0,))


def test_requests_of_others_wait_while_the_weights_change(connect: Any, server: LiveServer, base: Path) -> None:
    engine = connect()
    engine.sync_weights(0)
    body = {"model": str(base), "prompt": [[5, 6, 7]], "max_tokens": 64, "ignore_eos": True, "temperature": 0.0}
    with ThreadPoolExecutor(4) as pool:
        others = [pool.submit(httpx2.post, f"{server.url}/v1/completions", json=body, timeout=60) for _ in range(40)]
        for step in range(1, 4):
            move(engine._model, step)
            engine.sync_weights(step)
        assert [other.result().status_code for other in others] == [200] * 40
    assert_sampled_by(engine._model, sample(engine))


def test_a_client_that_was_killed_in_an_update_leaves_a_server_that_the_next_one_mends(
    connect: Any, server: LiveServer, base: Path, tmp_path: Path
) -> None:
    words = (f"model={base}", f"url={server.url}", f"port={free_port()}")
    training_runs.start(tmp_path / "dies", *words, settings=(), program="dies_in_update").finish(-9)
    model = moved(base, 9)
    engine = connect(model)
    engine.sync_weights(0)
    assert_sampled_by(model, sample(engine))


def test_weights_that_the_servers_model_has_not_are_an_error_and_the_server_goes_on(connect: Any, base: Path) -> None:
    other: Any = moved(base)
    other.model.layers[0].mlp.register_parameter("extra", torch.nn.Parameter(torch.zeros(2)))
    with pytest.raises(RolloutServerError, match="a weight update failed"):
        connect(other).sync_weights(0)
    model = moved(base, 4)
    engine = connect(model)
    engine.sync_weights(0)
    assert_sampled_by(model, sample(engine))


@pytest.fixture(scope="module")
def run(server: LiveServer, base: Path) -> Any:
    """Starts ``keel train align`` over the server."""
    settings = (
        *(f"model.path={base}", "prompts.train=['synthetic:reasoning:train']", "prompts.limit=20"),
        *("rewards=[{term: 'letters:Letters'}]", "evaluation.data=[]", "prompts_per_step=2", "samples_per_prompt=4"),
        *("steps_per_rollout=1", "max_new_tokens=10", "max_tokens=120", "engine.dtype=fp32", "engine.lr=3e-3"),
        *("loggers=[]", "timeout_seconds=120", "save_every=1", "rollout.engine=vllm"),
        *(f"rollout.vllm_base_url={server.url}", f"rollout.vllm_group_port={free_port()}"),
    )
    return partial(training_runs.start, settings=settings, program="align.train")


@pytest.mark.parametrize(("ranks", "words"), [(1, ("model.lora={r: 4}",)), (2, ("engine.zero_stage=3", PARTITION_ALL))])
def test_a_run_trains_on_what_its_own_policy_samples(ranks: int, words: Any, run: Any, tmp_path: Path) -> None:
    run(tmp_path / "run", *words, "steps=3", ranks=ranks).finish()
    lines = metrics(tmp_path / "run")[-3:]
    assert max(line["mismatch_max"] for line in lines) < 1e-4
    assert all(line["grad_norm"] > 0 for line in lines)


def test_a_server_that_is_restarted(connect: Any, run: Any, server: LiveServer, base: Path, tmp_path: Path) -> None:
    """While a client trains, it goes on; a run that meets no server ends, and goes on by the same command."""
    model = moved(base, 3)
    engine = connect(model)
    engine.sync_weights(0)
    server.kill()
    dead = run(tmp_path / "run", "steps=2", "rollout.vllm_start_seconds=0.5").finish(1)
    assert "not up after 0.5 s" in dead
    assert "Traceback" not in dead
    server.start()
    engine.sync_weights(0)  # waits for the server
    assert_sampled_by(model, sample(engine))
    run(tmp_path / "run", "steps=2", "rollout.vllm_start_seconds=60").finish()
    assert max(line["mismatch_max"] for line in metrics(tmp_path / "run")) < 1e-4
