"""A random policy and random reward models for whole runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from reward_models.backbone.config import ModelConfig
from reward_models.data.chat import ChatRenderer, train_tokenizer
from reward_models.data.sources import load
from reward_models.model import build_model, save_model


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


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reward models of random weights, with statistics as a calibration split gives them.

    ``other`` is a helpful model unlike ``helpful``, ``twin`` one that is nearly the same.
    """
    folder = tmp_path_factory.mktemp("models")
    tokenizer = train_tokenizer(["What is 1 + 2?", "one and two", "It is 3."], 300)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    shape |= {"num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 1024, "initializer_range": 0.5}
    saved = {}
    for name, seed, task, span in (
        ("helpful", 0, "preference", "summary"),
        ("other", 1, "preference", "summary"),
        ("safety", 2, "safety", "full"),
        ("twin", 0, "preference", "summary"),
    ):
        torch.manual_seed(seed)
        scorer = build_model(ModelConfig(config={"model_type": "qwen3", **shape}), tokenizer, task, torch.float32)
        weights = {
            key: w + (1e-3 * torch.randn_like(w) if name == "twin" else 0)
            for key, w in scorer.model.state_dict().items()
        }
        facts = {
            "task": task,
            "span": span,
            "template_fingerprint": ChatRenderer(tokenizer, span).fingerprint,  # type: ignore[arg-type]
            "calibration": {"n": 50, "mean": 0.3, "std": 2.0, "temperature": 0.5},
        }
        saved[name] = folder / name
        save_model(scorer, weights, saved[name], tokenizer, facts, None)
    return saved
