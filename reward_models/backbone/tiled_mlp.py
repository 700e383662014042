"""The MLPs of a decoder, computed on a part of the tokens at a time.

A gated MLP is several times as wide inside as the hidden states, and of a long text one layer's inside is the largest
part of the memory, also where the layers are checkpointed. Each part (tile) is a checkpoint of its own, so that the
inside of one tile exists at a time. DeepSpeed's ``TiledMLP`` does the same by gradients that it adds by itself, which
needs marks on the parameters for each ZeRO stage; here autograd adds them, and every parameter gets its gradient once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from reward_models.backbone.tree_attention import TREE_MODEL_TYPES

# Experts are left out: each has few of the tokens already.
TILED_MODEL_TYPES = TREE_MODEL_TYPES - {"qwen3_moe"}


def check_tiles(model_type: str, tiles: int) -> None:
    """``ValueError`` if the MLPs of models of this type cannot be computed in ``tiles`` parts."""
    if tiles > 1 and model_type not in TILED_MODEL_TYPES:
        raise ValueError(
            f"model.mlp_tiles={tiles}: the MLPs of {model_type} models are not divided; those of "
            f"{', '.join(sorted(TILED_MODEL_TYPES))} are. Set it to 1"
        )


def tile_mlps(model: PreTrainedModel, tiles: int) -> None:
    """Let every MLP compute its tokens in ``tiles`` parts while gradients are recorded.

    The number of parts is fixed and not their size, so that under ZeRO stage 3 every rank gathers the weights equally
    often, however many tokens it has.

    Raises:
        ValueError: the model's layers have no MLP that works token by token.
    """
    check_tiles(model.config.model_type, tiles)
    for module in model.modules():
        if isinstance(mlp := getattr(module, "mlp", None), nn.Module):
            mlp.forward = _tiled(mlp.forward, tiles)


def _tiled(forward: Callable[[torch.Tensor], torch.Tensor], tiles: int) -> Callable[[torch.Tensor], torch.Tensor]:
    def compute(hidden: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():  # nothing is kept then, and sampling has one token at a time
            return forward(hidden)
        tokens = hidden.shape[-2]
        sizes = [tokens // tiles + (number < tokens % tiles) for number in range(tiles)]
        parts = [checkpoint(forward, part, use_reentrant=False) for part in hidden.split(sizes, -2)]
        return torch.cat(parts, -2)

    return compute
