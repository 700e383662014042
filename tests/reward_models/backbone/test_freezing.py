"""Layers that are not trained."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from tiny_bases import DECODERS
from transformers import AutoConfig, AutoModelForSequenceClassification

from reward_models.backbone.config import LoraConfig, ModelConfig
from reward_models.backbone.pretrained import freeze, with_lora

BERT = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
TYPES = sorted(DECODERS)


def classifier(model_type: str) -> Any:
    torch.manual_seed(0)
    settings = {"vocab_size": 40, "num_labels": 1} | (BERT if model_type == "bert" else DECODERS[model_type])
    config = AutoConfig.for_model(model_type, **settings | {"pad_token_id": 0})
    return AutoModelForSequenceClassification.from_config(config).eval()


def gradients(model: Any) -> dict[str, torch.Tensor]:
    ids = torch.tensor([[5, 6, 7, 8], [9, 8, 7, 6]])
    model(ids, attention_mask=torch.ones_like(ids)).logits.square().sum().backward()
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("model_type", [*TYPES, "bert"])
def test_the_layers_that_are_trained_have_the_gradients_that_they_had(model_type: str) -> None:
    whole = gradients(classifier(model_type))
    model = classifier(model_type)
    freeze(model, 1)
    part = gradients(model)
    left_out = whole.keys() - part.keys()
    assert {n for n in whole if re.search(r"\.(layers|layer|h)\.0\.", n)} <= left_out
    assert all(re.search(r"emb|wte|wpe|\.0\.", name) for name in left_out)
    assert any(re.search(r"\.1\.", name) for name in part)
    for name, gradient in part.items():
        assert torch.equal(gradient, whole[name]), name


def test_adapters_are_in_the_layers_that_are_trained() -> None:
    model = classifier("llama")
    adapted = with_lora(model, LoraConfig(r=2), "SEQ_CLS", ["score"], freeze(model, 1))
    names = [name for name, weight in adapted.named_parameters() if weight.requires_grad]
    assert any(".layers.1." in name and "lora_A" in name for name in names)
    assert any("score" in name for name in names)
    assert not [name for name in names if ".layers.0." in name or "embed" in name]
    assert not [name for name, _ in adapted.named_parameters() if ".layers.0." in name and "lora" in name]


def test_a_number_that_leaves_nothing_to_train_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model.freeze_layers=2: the model has 2 layers"):
        freeze(classifier("bert"), 2)
    with pytest.raises(ValueError, match=r"model.freeze_layers needs a pretrained model"):
        ModelConfig(config={"model_type": "qwen3"}, freeze_layers=1)
    with pytest.raises(ValueError, match=r"at least 0"):
        ModelConfig(path="x/y", freeze_layers=-1)
