"""The estimate of an update's memory against the tensors that exist while one is made."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from live_tensors import LiveTensors
from transformers import AutoConfig, AutoModelForCausalLM

from align.policy.policy import Policy
from reward_models.backbone.tiled_mlp import tile_mlps
from reward_models.backbone.tree_attention import TREE_ATTENTION
from reward_models.data.trees import PromptTree
from reward_models.planning.memory import TrainingMemory, activations
from reward_models.planning.shapes import shape_from_settings

TOKENS = 1024


def settings_of(vocabulary: int) -> dict[str, Any]:
    settings = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4}
    more = {"model_type": "llama", "num_key_value_heads": 2, "max_position_embeddings": 2048, "pad_token_id": 0}
    return settings | more | {"vocab_size": vocabulary}


def peak_of_update(vocabulary: int, checkpointing: bool, tiles: int) -> int:
    """Bytes of all tensors at once beside weights and gradients, in the update of one response."""
    config = AutoConfig.for_model(**settings_of(vocabulary))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=TREE_ATTENTION)
    if tiles > 1:
        tile_mlps(model, tiles)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    policy = Policy(model, "tree").train()
    ids = np.random.default_rng(0).integers(1, vocabulary, TOKENS).astype(np.int32)

    def update(length: int) -> None:
        logprobs_T, _ = policy(policy.collate([PromptTree(ids[:8], (ids[8:length],))]))
        logprobs_T.mean().backward()

    update(16)
    known = chain.from_iterable((p, p.grad) for p in policy.parameters() if p.grad is not None)
    with LiveTensors(known) as live:
        update(TOKENS)
    return live.peak


# With few tokens in the vocabulary the backward pass of a layer needs most, with many the output layer does.
@pytest.mark.parametrize("vocabulary", [64, 4096])
@pytest.mark.parametrize(("checkpointing", "tiles"), [(False, 1), (True, 1), (False, 8), (True, 8)])
def test_the_estimate_is_the_peak_of_an_update(vocabulary: int, checkpointing: bool, tiles: int) -> None:
    shape = shape_from_settings(settings_of(vocabulary), "small", "test")
    options = TrainingMemory(bf16=False, checkpointing=checkpointing, tokens=TOKENS, mlp_tiles=tiles)
    found = activations(shape, options)
    assert ("logits" in found) == (vocabulary == 4096)
    assert sum(found.values()) == pytest.approx(peak_of_update(vocabulary, checkpointing, tiles), rel=0.15)
