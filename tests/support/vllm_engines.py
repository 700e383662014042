"""The engine of vLLM's servers over stand-ins, with a tiny model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from stand_in_vllm import free_port
from transformers import Qwen3Config, Qwen3ForCausalLM

from align.rollouts.base import Sampling
from align.rollouts.vllm import VllmRollout
from align.training.rollout import Rollout
from reward_models.runtime.distributed import World

WORLD = World(0, 1, 0, torch.device("cpu"))
LIMIT, END = 6, 2  # tokens of a response at most, and the token that ends one
SHAPE: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "vocab_size": 32,
    "tie_word_embeddings": True,
}


def model(**options: Any) -> Any:
    """The same weights in every call."""
    torch.manual_seed(0)
    return Qwen3ForCausalLM(Qwen3Config(**(SHAPE | options)))


def engine_over(urls: Sequence[str], policy: Any = None, **options: Any) -> VllmRollout:
    """The engine; times are short."""
    limits = {"group_port": free_port(len(urls)), "start_seconds": 2.0, "request_seconds": 5.0}
    return VllmRollout(policy or model(), WORLD, **({"urls": list(urls)} | limits | options))


def sample(engine: VllmRollout, prompts: Sequence[Sequence[int]], group: int, **options: Any) -> Rollout:
    """``group`` responses to each prompt; the seed of sample g of prompt p is 100 p + g."""
    seeds = [100 * p + g for p in range(len(prompts)) for g in range(group)]
    settings = {"max_new_tokens": LIMIT, "samples": group, "end_ids": (END,), "seeds": seeds} | options
    return engine.generate([np.array(p, np.int32) for p in prompts], Sampling(**settings))
