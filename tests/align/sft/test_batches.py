"""Packed demonstrations: what is in a step, how it is divided, and that packing changes neither loss nor gradient."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from align.objective.logprobs import token_predictions
from align.policy.policy import Policy
from align.sft.batches import DemonstrationSampler, plan_step
from reward_models.backbone.tree_attention import TREE_ATTENTION
from reward_models.runtime import distributed

SHAPE: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
}
MODELS: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen3": {"tie_word_embeddings": True},
    "gemma": {},
    "gemma3_text": {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
}


def demonstrations() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Conversations of one to three learnt turns, one of them longer than the sliding window, one of two tokens."""
    generator = np.random.default_rng(0)
    lengths = (17, 2, 9, 30, 12)
    ids = [generator.integers(3, 64, n).astype(np.int32) for n in lengths]
    learnt = [np.zeros(n, bool) for n in lengths]
    learnt[0][5:9] = learnt[0][12:17] = True
    learnt[1][1:] = True
    learnt[2][4:] = True
    learnt[3][3:6] = learnt[3][10:20] = learnt[3][25:] = True
    learnt[4][0] = True  # nothing predicts it: it is not learnt
    learnt[4][7:] = True
    return ids, learnt


def model(model_type: str, attention: str) -> Any:
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **SHAPE, **MODELS[model_type])
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention)


def loss_and_gradients(policy: Policy, ids: Any, learnt: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    logprobs_T, _, _ = policy(policy.collate_sequences(ids, learnt), 1.0, token_predictions)
    policy.zero_grad()
    (-logprobs_T.sum()).backward()
    return logprobs_T.detach(), {n: p.grad.clone() for n, p in policy.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("layout", ["tree", "padded"])
@pytest.mark.parametrize("model_type", MODELS)
def test_a_packed_micro_batch_is_its_demonstrations_one_by_one(model_type: str, layout: Any) -> None:
    ids, learnt = demonstrations()
    plain = model(model_type, "eager")
    policy = Policy(model(model_type, TREE_ATTENTION if layout == "tree" else "sdpa"), layout)
    ours, gradients = loss_and_gradients(policy, ids, learnt)

    losses = []
    for sequence, mask in zip(ids, learnt, strict=True):  # transformers' own loss
        labels = torch.where(torch.from_numpy(mask), torch.from_numpy(sequence).long(), -100)
        output = plain(input_ids=torch.from_numpy(sequence)[None].long(), labels=labels[None])
        losses.append(output.loss * int(mask[1:].sum()))
    torch.stack(losses).sum().backward()
    torch.testing.assert_close(-ours.sum(), torch.stack(losses).sum().detach(), rtol=1e-5, atol=1e-5)
    expected = {f"model.{n}": p.grad for n, p in plain.named_parameters() if p.grad is not None}
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=2e-4, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_it_is_the_loss_of_trls_collator_and_cross_entropy() -> None:
    ids, learnt = demonstrations()
    collate = DataCollatorForLanguageModeling(pad_token_id=0)
    rows = [
        {"input_ids": each.tolist(), "labels": np.where(mask, each, -100).tolist()}
        for each, mask in zip(ids, learnt, strict=True)
    ]
    batch = collate(rows)
    logits = model("qwen3", "sdpa")(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"][:, 1:].flatten())
    policy = Policy(model("qwen3", TREE_ATTENTION), "tree")
    packed = policy.collate_sequences(ids, learnt)
    logprobs_T, entropy_T, correct_T = policy(packed, 1.0, token_predictions)
    torch.testing.assert_close(-logprobs_T.mean(), expected, rtol=1e-5, atol=1e-5)
    places = batch["labels"][:, 1:] != -100
    assert correct_T.tolist() == (logits.argmax(-1) == batch["labels"][:, 1:])[places].tolist()
    torch.testing.assert_close(entropy_T, torch.special.entr(logits[places].softmax(1)).sum(1), rtol=1e-5, atol=1e-5)


def test_no_token_of_a_demonstration_reaches_another() -> None:
    ids, learnt = demonstrations()
    policy = Policy(model("llama", TREE_ATTENTION), "tree")
    before, _ = loss_and_gradients(policy, ids, learnt)
    changed = [ids[0], ids[1], (ids[2] + 1) % 64, *ids[3:]]
    after, _ = loss_and_gradients(policy, changed, learnt)
    owner = policy.collate_sequences(ids, learnt).sequence_T
    assert torch.equal(before[owner != 2], after[owner != 2])
    assert (before[owner == 2] != after[owner == 2]).all()
    batch = policy.collate_sequences(ids, learnt).batch
    assert batch.position_ids_T.tolist() == [place for each in ids for place in range(len(each))]


def test_a_step_depends_on_the_seed_and_the_step_alone() -> None:
    lengths = np.arange(1, 11)
    order = DemonstrationSampler(10, 4, 7, lengths)
    steps = [order.step(step).tolist() for step in range(6)]
    assert [len(step) for step in steps] == [4, 4, 2, 4, 4, 2]
    assert sorted(chain.from_iterable(steps[:3])) == sorted(chain.from_iterable(steps[3:])) == list(range(10))
    assert steps[:3] != steps[3:]
    assert [DemonstrationSampler(10, 4, 7, lengths).step(step).tolist() for step in (5, 0)] == [steps[5], steps[0]]
    assert DemonstrationSampler(10, 4, 8, lengths).step(0).tolist() != steps[0]
    assert [order.tokens_before(step) for step in range(5)] == [
        int(sum(lengths[i] for step in steps[:n] for i in step)) for n in range(5)
    ]


def test_rows_are_filled_within_the_budget() -> None:
    lengths = np.array([60, 40, 30, 30, 20, 20, 5])
    world = distributed.start()
    plan = plan_step(np.array([0, 1, 2, 3, 4, 5]), lengths, "tree", 100, world)
    assert sorted(chain.from_iterable(plan.mine)) == [0, 1, 2, 3, 4, 5]
    loads = [int(lengths[batch].sum()) for batch in plan.mine]
    assert max(loads) <= 100
    assert (plan.useful, plan.filled) == (1.0, 200 / (100 * len(loads)))
    # Padded rows: 60 and 40 in one micro-batch would be 120 tokens.
    padded = plan_step(np.array([0, 1]), lengths, "padded", 120, world)
    computed = sum(len(batch) * int(lengths[batch].max()) for batch in padded.mine)
    assert padded.useful == 100 / computed
    # Two ranks have equally many micro-batches, and together every demonstration once.
    shares = [plan_step(np.arange(7), lengths, "tree", 80, replace(world, rank=rank, size=2)) for rank in (0, 1)]
    assert len(shares[0].mine) == len(shares[1].mine)
    assert sorted(chain.from_iterable(shares[0].mine + shares[1].mine)) == list(range(7))
