"""Small decoders of every architecture that runs prompt trees, and trees for them."""

from __future__ import annotations

from typing import Any

import numpy as np

from reward_models.data.trees import PromptTree

VOCABULARY = 60
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "num_labels": 1,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,  # large enough that attention is far from uniform
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "experts_implementation": "eager"}


def grow(rng: np.random.Generator, prompt: int, *branches: int) -> PromptTree:
    """A tree of random tokens, of these lengths."""
    ids = [rng.integers(3, VOCABULARY, length).astype(np.int32) for length in (prompt, *branches)]
    return PromptTree(ids[0], tuple(ids[1:]))
