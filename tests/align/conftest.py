"""A random policy for whole runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from reward_models.data.chat import train_tokenizer
from reward_models.data.sources import load


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random policy of two layers."""
    path = tmp_path_factory.mktemp("policy")
    prompts = load(["synthetic:reasoning:train"], "prompt", limit=100).records
    tokenizer = train_tokenizer([p.prompt[0].content for p in prompts], 380)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = Qwen3ForCausalLM(
        Qwen3Config(
            **shape,
            num_key_value_heads=1,
            head_dim=16,
            vocab_size=len(tokenizer),
            max_position_embeddings=256,
            tie_word_embeddings=True,
            initializer_range=0.1,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
