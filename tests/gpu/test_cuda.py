"""Tests that need a GPU: ``.venv/bin/python -m pytest tests/gpu -m gpu``. Skipped where there is none.

The tree attention of a GPU is FlexAttention compiled by Triton, that of a CPU runs path by path; both must give the
same scores and gradients. A whole run then trains in bf16 and saves a model that scores alike on a CPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_runs import ENVIRONMENT, ROOT, SETTINGS, held_out
from transformers import AutoConfig, AutoModelForSequenceClassification

from reward_models.backbone.tree_attention import TREE_ATTENTION
from reward_models.data.trees import PromptTree
from reward_models.model import SequenceScorer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

VOCABULARY = 100
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "initializer_range": 0.1,
    "num_labels": 1,
    "pad_token_id": 0,
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {},
    "gemma3_text": {"sliding_window": 40, "layer_types": ["sliding_attention", "full_attention"]},
}


@pytest.fixture(scope="module")
def forest() -> list[PromptTree]:
    """Longer than a block of the kernel (128) and longer than the window; one, two and sixteen branches."""
    rng = np.random.default_rng(0)

    def ids(length: int) -> np.ndarray:
        return rng.integers(1, VOCABULARY, length).astype(np.int32)

    return [
        PromptTree(ids(150), (ids(70), ids(200))),
        PromptTree(ids(0), (ids(90),)),
        PromptTree(ids(60), tuple(ids(5 + n) for n in range(16))),
    ]


def scores_and_gradients(
    model_type: str, forest: list[PromptTree], dtype: torch.dtype, device: str
) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **SIZES, **ARCHITECTURES[model_type])
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation=TREE_ATTENTION)
    scorer = SequenceScorer(model.to(device, dtype), "tree")
    scores = scorer(scorer.collate(forest).to(device))
    (scores * torch.linspace(-1, 2, len(scores), device=device)).sum().backward()
    gradients = {name: p.grad for name, p in scorer.named_parameters() if p.grad is not None}
    return {name: tensor.detach().float().cpu() for name, tensor in {"scores": scores, **gradients}.items()}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 5e-3), (torch.bfloat16, 8e-2)])
@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
def test_scores_and_gradients_equal_those_of_the_cpu(
    model_type: str, dtype: torch.dtype, tolerance: float, forest: list[PromptTree]
) -> None:
    expected = scores_and_gradients(model_type, forest, torch.float32, "cpu")
    found = scores_and_gradients(model_type, forest, dtype, "cuda")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        error = (found[name] - tensor).norm() / tensor.norm()
        assert error < tolerance, f"{name}: relative error {error:.2g}"


@pytest.mark.parametrize("stage", [0, 3])
def test_a_bf16_run_trains_and_its_model_scores_alike_on_a_cpu(stage: int, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = (f"output_dir={out}", *SETTINGS, "engine.dtype=bf16", f"engine.zero_stage={stage}", "max_steps=20")
    environment = {k: v for k, v in (os.environ | ENVIRONMENT).items() if k != "CUDA_VISIBLE_DEVICES"}
    command = [sys.executable, "-m", "reward_models.train", *words]
    subprocess.run(command, env=environment, cwd=ROOT, check=True, timeout=300)

    losses = [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    lines = [json.loads(line) for line in (out / "evaluation_scores.jsonl").read_text().splitlines()]
    data, model = held_out(out), AutoModelForSequenceClassification.from_pretrained(out, dtype=torch.float32).eval()
    with torch.no_grad():
        for item, line in enumerate(lines):
            for score, ids in zip(line["scores"], data.tree(item).sequences, strict=True):
                assert model(torch.tensor(ids[None])).logits.item() == pytest.approx(score, rel=0.05, abs=0.05)
