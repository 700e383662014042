"""Rollouts: greedy equals transformers' generate, log-probabilities a plain forward's, a seed decides a response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from align.rollouts.base import Sampling
from align.rollouts.local import LocalRollout
from align.rollouts.plain import PlainRollout
from align.rollouts.sampling import draw_tokens
from align.training.rollout import Rollout
from reward_models.backbone.tree_attention import TREE_ATTENTION
from reward_models.runtime.distributed import World

VOCABULARY, PAD = 40, 0
ENDS = [2, *range(5, 40, 6)]  # many, so that sequences end at different lengths
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "max_position_embeddings": 128,
    "initializer_range": 0.6,
    "pad_token_id": PAD,
    "eos_token_id": ENDS[0],
}
# Sliding windows are shorter than prompts and responses; gpt2 cannot run trees.
FAMILIES: dict[str, dict[str, Any]] = {
    "qwen3": SHAPE | {"tie_word_embeddings": True},
    "llama": SHAPE,
    "gemma3_text": SHAPE | {"sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"]},
    "mistral": SHAPE | {"sliding_window": 5},
    "gpt2": {
        "vocab_size": VOCABULARY,
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 2,
        "n_positions": 128,
        "initializer_range": 0.6,
        "pad_token_id": PAD,
        "eos_token_id": ENDS[0],
        "bos_token_id": 1,
    },
}
WORLD = World(0, 1, 0, torch.device("cpu"))


def model_of(family: str, attention: str | None = None) -> Any:
    torch.manual_seed(3)
    config = AutoConfig.for_model(family, **FAMILIES[family])
    attention = attention or ("sdpa" if family == "gpt2" else TREE_ATTENTION)
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention)


def engine(family: str, max_rows: int = 64, **options: Any) -> LocalRollout | PlainRollout:
    if family == "gpt2":
        return PlainRollout(model_of(family), PAD, WORLD, max_rows=max_rows)
    return LocalRollout(model_of(family), WORLD, max_rows=max_rows, **options)


def prompts() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(3, VOCABULARY, n).astype(np.int32) for n in (7, 1, 12, 4, 7)]


def sample(
    rollout: LocalRollout | PlainRollout, ids: Sequence[np.ndarray], seeds: Sequence[int] = (), **options: Any
) -> Rollout:
    settings = {"max_new_tokens": 20, "temperature": 1.0, "samples": 1, "end_ids": ENDS} | options
    return rollout.generate(ids, Sampling(seeds=seeds, **settings))


@pytest.mark.parametrize("max_rows", [64, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_is_what_generate_gives(family: str, max_rows: int) -> None:
    ours = sample(engine(family, max_rows), prompts(), temperature=0.0)
    plain = model_of(family, "eager").eval()
    lengths = set()
    for (tokens, logprobs), prompt, finished in zip(ours.responses(), prompts(), ours.finished_N, strict=True):
        ids = torch.from_numpy(prompt.astype(np.int64))[None]
        expected = plain.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False, eos_token_id=ENDS
        )[0, ids.shape[1] :]
        assert tokens.tolist() == expected.tolist()
        assert bool(finished) == (tokens[-1] in ENDS)
        whole = torch.cat([ids[0], expected])
        logits = plain(whole[None]).logits[0, len(prompt) - 1 : -1]
        values = logits.log_softmax(1).gather(1, expected[:, None])[:, 0]
        torch.testing.assert_close(torch.from_numpy(logprobs), values.detach(), rtol=1e-5, atol=1e-5)
        lengths.add(len(tokens))
    assert len(lengths) > 1  # else nothing about leaving early was tested


@pytest.mark.parametrize("family", ["qwen3", "mistral", "gpt2"])
def test_logprobs_are_at_the_sampling_temperature_and_before_truncation(family: str) -> None:
    ours = sample(engine(family), prompts(), seeds=range(5), temperature=0.7, top_p=0.8, top_k=5)
    plain = model_of(family, "eager").eval()
    for (tokens, logprobs), prompt in zip(ours.responses(), prompts(), strict=True):
        whole = torch.from_numpy(np.concatenate([prompt, tokens]).astype(np.int64))
        logits = plain(whole[None]).logits[0, len(prompt) - 1 : -1] / 0.7
        values = logits.log_softmax(1).gather(1, whole[len(prompt) :, None])[:, 0]
        torch.testing.assert_close(torch.from_numpy(logprobs), values.detach(), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("family", ["qwen3", "gpt2"])
def test_a_response_depends_on_its_prompt_and_seed_alone(family: str) -> None:
    ids, group = prompts(), 3
    seeds = [100 + i for i in range(len(ids) * group)]
    together = [r.tolist() for r, _ in sample(engine(family), ids, seeds, samples=group).responses()]
    assert len({tuple(r) for r in together}) > len(ids)  # samples of a prompt differ
    few_rows = sample(engine(family, max_rows=4), ids, seeds, samples=group).responses()
    assert [r.tolist() for r, _ in few_rows] == together
    backwards = sample(
        engine(family),
        ids[::-1],
        [seeds[(len(ids) - 1 - p) * group + g] for p in range(len(ids)) for g in range(group)],
        samples=group,
    ).responses()
    for p in range(len(ids)):
        for g in range(group):
            assert backwards[(len(ids) - 1 - p) * group + g][0].tolist() == together[p * group + g]
    for number in (0, 7, 14):
        alone = sample(engine(family), [ids[number // group]], [seeds[number]]).responses()
        assert alone[0][0].tolist() == together[number]
    others = sample(engine(family), ids, [s + 1000 for s in seeds], samples=group).responses()
    assert [r.tolist() for r, _ in others] != together


def test_prompts_are_read_in_parts_when_they_are_many() -> None:
    whole = sample(engine("qwen3"), prompts(), range(5))
    parts = sample(engine("qwen3", max_prompt_tokens=8), prompts(), range(5))
    assert torch.equal(whole.response_T, parts.response_T)


@pytest.mark.parametrize("family", ["qwen3", "gpt2"])
def test_prompts_and_responses_stand_one_after_the_other(family: str) -> None:
    ours = sample(engine(family), prompts(), range(10), samples=2, max_new_tokens=6)
    assert ours.prompt_T.tolist() == np.concatenate(prompts()).tolist()
    assert ours.prompt_length_P.tolist() == [len(prompt) for prompt in prompts()]
    assert len(ours.length_N) == len(ours.finished_N) == 10
    assert int(ours.length_N.sum()) == len(ours.response_T) == len(ours.rollout_logprobs_T)
    for (ids, _), finished in zip(ours.responses(), ours.finished_N.tolist(), strict=True):
        assert 1 <= len(ids) <= 6
        assert finished == (int(ids[-1]) in ENDS)


def test_a_model_in_training_with_checkpointing_is_left_as_it_was() -> None:
    expected = sample(engine("qwen3"), prompts(), range(5))
    model = model_of("qwen3")
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    ours = sample(LocalRollout(model, WORLD), prompts(), range(5))
    assert torch.equal(ours.response_T, expected.response_T)
    assert model.training
    assert model.is_gradient_checkpointing


def test_bf16_gives_the_log_probabilities_that_training_computes() -> None:
    model = model_of("qwen3").bfloat16()
    ours = sample(LocalRollout(model, WORLD), prompts(), range(5))
    for (tokens, logprobs), prompt in zip(ours.responses(), prompts(), strict=True):
        whole = torch.from_numpy(np.concatenate([prompt, tokens]).astype(np.int64))
        plain = model_of("qwen3", "eager").bfloat16().eval()
        logits = plain(whole[None]).logits[0, len(prompt) - 1 : -1].float()
        values = logits.log_softmax(1).gather(1, whole[len(prompt) :, None])[:, 0]
        torch.testing.assert_close(torch.from_numpy(logprobs), values.detach(), rtol=0.1, atol=0.3)


def test_tokens_are_drawn_in_proportion_to_their_probability() -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0, -torch.inf, 2.0]])
    p = (logits / 0.5).softmax(1)[0].numpy()
    uniform = np.random.default_rng(0).random(20_000)
    tokens, values = draw_tokens(logits.expand(20_000, -1), uniform, Sampling(max_new_tokens=1, temperature=0.5))
    counts = np.bincount(tokens, minlength=5)
    known = p > 0
    chi2 = float((((counts - 20_000 * p) ** 2)[known] / (20_000 * p)[known]).sum())
    assert chi2 < 16.3  # 99.9 % of three degrees of freedom
    assert counts[3] == 0
    assert values == pytest.approx(np.log(p[tokens]), abs=1e-5)


@pytest.mark.parametrize(
    ("options", "allowed"),
    [({"top_k": 2}, {4, 1}), ({"top_p": 0.7}, {4, 1}), ({"top_p": 0.01}, {4}), ({}, {0, 1, 2, 4})],
)
def test_truncation_leaves_the_likeliest(options: dict[str, Any], allowed: set[int]) -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0, -torch.inf, 2.0]]).expand(2000, -1)
    uniform = np.random.default_rng(0).random(2000)
    tokens, _ = draw_tokens(logits, uniform, Sampling(max_new_tokens=1, **options))
    assert set(tokens.tolist()) == allowed


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
def test_the_ends_of_the_unit_interval_draw_possible_tokens(uniform: float) -> None:
    logits = torch.tensor([[-torch.inf, 0.0, 0.0, -torch.inf]])
    tokens, _ = draw_tokens(logits, np.array([uniform]), Sampling(max_new_tokens=1))
    assert tokens[0] in (1, 2)


def test_an_empty_prompt_and_wrong_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="no prompt may be empty"):
        sample(engine("qwen3"), [np.zeros(0, np.int32)])
    with pytest.raises(ValueError, match="3 seeds for 5 samples"):
        sample(engine("qwen3"), prompts(), range(3))
