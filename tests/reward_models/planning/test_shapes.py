"""Sizes of models: counts of the hub, counts of transformers' own modules, and operations by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from reward_models.planning.devices import DEVICES, device
from reward_models.planning.known import KNOWN
from reward_models.planning.shapes import MODEL_TYPES, ShapeError, known_shape, read_shape, shape_from_settings

SIZES: dict[str, Any] = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 50,
    "pad_token_id": 0,
}
MORE: dict[str, dict[str, Any]] = {
    "qwen3": {"head_dim": 8, "tie_word_embeddings": True},
    "gemma": {"head_dim": 10},
    "gemma3_text": {"head_dim": 10},
    "qwen3_moe": {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 12, "head_dim": 8},
    "deepseek_v3": {
        "num_key_value_heads": 4,
        "n_routed_experts": 8,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 12,
        "first_k_dense_replace": 1,
        "q_lora_rank": 10,
        "kv_lora_rank": 6,
        "qk_nope_head_dim": 4,
        "qk_rope_head_dim": 2,
        "v_head_dim": 4,
        "n_group": 1,
        "topk_group": 1,
    },
}


@pytest.mark.parametrize("settings", KNOWN, ids=lambda each: str(each["names"][0]))
def test_public_models_have_the_parameters_that_the_hub_counts(settings: dict[str, Any]) -> None:
    shape = known_shape(settings["names"][0])
    assert shape is not None
    if "parameters" in settings:
        assert shape.parameters == settings["parameters"]
    assert str(settings["source"]).startswith("https://")


def test_deepseek_v3_has_671_billion_parameters_and_37_are_active() -> None:
    shape = known_shape("deepseek-ai/DeepSeek-V3")
    assert shape is not None
    assert shape.parameters == 671_026_419_200
    assert shape.active == pytest.approx(37e9, rel=0.02)
    assert shape.cache_bytes() == 61 * (512 + 64) * 2  # the latent and the shared rotary key, in bf16
    assert shape.weights_touched(1) == pytest.approx(shape.active, rel=1e-3)
    assert shape.weights_touched(10_000) == pytest.approx(shape.parameters - shape.embedding, rel=1e-6)


@pytest.mark.parametrize("model_type", sorted(MODEL_TYPES))
def test_every_family_is_counted_to_the_last_parameter(model_type: str) -> None:
    settings = {**SIZES, **MORE.get(model_type, {})}
    config = AutoConfig.for_model(model_type, **settings)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    shape = shape_from_settings(json.loads(config.to_json_string(use_diff=False)), "tiny", "test")
    corrections = 8 * 2 if model_type == "deepseek_v3" else 0  # buffers in transformers, tensors of the files
    assert shape.parameters - corrections == sum(p.numel() for p in model.parameters())


def test_operations_of_a_token_by_hand() -> None:
    settings = {"model_type": "llama", **SIZES, "num_hidden_layers": 1, "tie_word_embeddings": True}
    shape = shape_from_settings(settings, "tiny", "test")
    head = 24 // 4
    matrices = 24 * (4 + 2 + 2) * head + 4 * head * 24 + 3 * 24 * 40
    assert shape.active == matrices + 50 * 24
    # Scores and weighted values: a multiplication and an addition for each key, head and unit of width, twice.
    assert shape.forward_flops(10) == 2 * (matrices + 50 * 24) + 2 * 2 * 4 * head * 10
    assert shape.cache_bytes(4) == 2 * 2 * head * 4


def test_a_model_is_read_from_its_directory(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", **SIZES}))
    assert read_shape(str(tmp_path)).layers == 3
    assert read_shape(str(tmp_path / "config.json")).parameters == read_shape(str(tmp_path)).parameters
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ShapeError, match="sizes of a bert cannot be told"):
        read_shape(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ShapeError, match="has no hidden_size"):
        read_shape(str(tmp_path))
    with pytest.raises(ShapeError, match=r"no config\.json of it here"):
        read_shape("nobody/nothing")


def test_a_device_is_of_the_table_or_given() -> None:
    assert device("h800").memory == 80e9
    assert device("4090").bandwidth == DEVICES["RTX-4090"].bandwidth == 1008e9
    assert device("H100", memory=94e9).memory == 94e9
    own = device("cpu", memory=16e9, flops=2e11, bandwidth=2e10)
    assert (own.name, own.flops) == ("cpu", 2e11)
    with pytest.raises(ValueError, match="missing: flops, bandwidth"):
        device("cpu", memory=16e9)
    with pytest.raises(ValueError, match="must be positive"):
        device("H100", flops=-1)
