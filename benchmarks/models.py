"""Shapes of models that the benchmarks train and score, and reward models of random weights."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reward_models.backbone.config import ModelConfig
from reward_models.data.chat import ChatRenderer, train_tokenizer
from reward_models.data.records import Comparison, Message
from reward_models.model import build_model, save_model

Turns = list[dict[str, str]]
QWEN3 = {"model_type": "qwen3", "max_position_embeddings": 4096}
MODELS: dict[str, dict[str, Any]] = {
    "demo": QWEN3
    | {
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
    },
    "12.6m": QWEN3
    | {
        "hidden_size": 384,
        "intermediate_size": 1024,
        "num_hidden_layers": 7,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 64,
    },
    "135m": {  # the shape of SmolLM2-135M
        "model_type": "llama",
        "vocab_size": 49152,
        "max_position_embeddings": 4096,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
    },
    "qwen3-0.6b": QWEN3
    | {
        "vocab_size": 151936,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
    },
    "qwen3-1.7b": QWEN3
    | {
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
    },
}


def conversations(records: list[Comparison], tokenizer: Any, arguments: argparse.Namespace) -> list[Turns]:
    """``prompts`` groups: prompts nearest to the wanted length, each with ``samples`` replies drawn from the data."""
    prompts = nearest_prompts(records, tokenizer, arguments.prompt_tokens)[: arguments.prompts]
    return with_replies(prompts, records, arguments.samples, np.random.default_rng(arguments.seed))


def nearest_prompts(records: list[Comparison], tokenizer: Any, tokens: int) -> list[tuple[Message, ...]]:
    """All prompts, those whose length is nearest to the wanted one first."""

    def distance(prompt: tuple[Message, ...]) -> int:
        return abs(sum(len(tokenizer.encode(m.content)) for m in prompt) - tokens)

    return sorted({record.prompt: record for record in records}, key=distance)


def with_replies(
    prompts: Sequence[tuple[Message, ...]], records: list[Comparison], samples: int, rng: np.random.Generator
) -> list[Turns]:
    """Conversations, prompt by prompt: each with so many replies drawn from the data."""
    replies = [r.content for record in records for r in (record.response_a[0], record.response_b[0])]
    return [
        [
            *({"role": m.role, "content": m.content} for m in prompt),
            {"role": "assistant", "content": replies[i]},
        ]
        for prompt in prompts
        for i in rng.choice(len(replies), samples, replace=False)
    ]


def save_reward_model(directory: Path, records: list[Comparison], arguments: argparse.Namespace) -> None:
    """A model of random weights, as a finished run leaves it."""
    tokenizer = train_tokenizer((m.content for r in records for m in (*r.prompt, *r.response_a, *r.response_b)), 4096)
    torch.manual_seed(arguments.seed)
    config = ModelConfig(config=dict(MODELS[arguments.model]))
    scorer = build_model(
        config, tokenizer, "preference", torch.bfloat16 if arguments.dtype == "bf16" else torch.float32
    )
    facts = {"task": "preference", "span": "full", "template_fingerprint": ChatRenderer(tokenizer, "full").fingerprint}
    save_model(scorer, scorer.model.state_dict(), directory, tokenizer, facts, None)
