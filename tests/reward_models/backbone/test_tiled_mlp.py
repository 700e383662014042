"""MLPs that compute their tokens in parts: the same numbers, less memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from reward_models.backbone.tiled_mlp import TILED_MODEL_TYPES, tile_mlps

SHAPE: dict[str, Any] = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 48, "num_hidden_layers": 2}
SHAPE |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "pad_token_id": 0}


def model(model_type: str) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **SHAPE)).train()


def loss_and_gradients(net: Any, tokens: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    ids = torch.arange(tokens)[None] % 40
    net.zero_grad()
    loss = net(input_ids=ids, labels=ids).loss
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in net.named_parameters()}


@pytest.mark.parametrize("model_type", sorted(TILED_MODEL_TYPES))
@pytest.mark.parametrize("tokens", [3, 17])  # fewer than the tiles, and a number that they do not divide
def test_tiles_compute_what_one_pass_computes(model_type: str, tokens: int) -> None:
    plain, tiled = model(model_type), model(model_type)
    tile_mlps(tiled, 4)
    expected, ours = loss_and_gradients(plain, tokens), loss_and_gradients(tiled, tokens)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)
    calls: list[int] = []
    for module in tiled.modules():
        if isinstance(module, nn.Linear) and module.out_features == 48:
            module.register_forward_hook(lambda _, given, __: calls.append(given[0].shape[1]))
    with torch.no_grad():
        tiled(input_ids=torch.arange(tokens)[None])
    assert set(calls) <= {tokens}  # sampling computes its tokens at once


def test_what_is_kept_for_the_backward_pass_is_the_input() -> None:
    net = model("qwen3")

    def kept() -> int:
        sizes: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        hidden = torch.randn(1, 64, 16, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            net.model.layers[0].mlp(hidden)
        weights = {p.untyped_storage().data_ptr() for p in net.parameters()}
        return sum(size for at, size in sizes.items() if at not in weights)

    whole = kept()
    tile_mlps(net, 4)
    assert whole == 4 * 64 * (16 + 4 * 48)  # input, gate, its activation, the other half, their product
    assert kept() <= 4 * 64 * 16


def test_experts_are_refused() -> None:
    config = AutoConfig.for_model("qwen3_moe", **SHAPE, num_experts=2, num_experts_per_tok=1, moe_intermediate_size=8)
    with pytest.raises(ValueError, match=r"model\.mlp_tiles=2: the MLPs of qwen3_moe models are not divided"):
        tile_mlps(AutoModelForCausalLM.from_config(config), 2)
