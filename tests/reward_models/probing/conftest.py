"""Saved reward models of random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from reward_models.backbone.config import ModelConfig
from reward_models.data.chat import ChatRenderer, Span, train_tokenizer
from reward_models.data.records import Task
from reward_models.model import build_model, save_model
from reward_models.probing.built_in import ANSWERED


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("probed") / "model", "preference", "summary")


@pytest.fixture(scope="session")
def small_safety_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("probed") / "safety", "safety", "full")


def saved(path: Path, task: Task, span: Span) -> Path:
    tokenizer = train_tokenizer([each.answer for each in ANSWERED], 400)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    shape |= {"num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 4096, "initializer_range": 0.5}
    torch.manual_seed(0)
    scorer = build_model(ModelConfig(config={"model_type": "qwen3", **shape}), tokenizer, task, torch.float32)
    fingerprint = ChatRenderer(tokenizer, span).fingerprint
    facts = {"task": task, "span": span, "template_fingerprint": fingerprint, "calibration": {}}
    path.mkdir()
    save_model(scorer, scorer.model.state_dict(), path, tokenizer, facts, None)
    return path
