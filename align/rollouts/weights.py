"""The weights of a policy in training, whole, one at a time, for the engines that sample with a copy of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch


def whole_weights(model: Any, *, merged: bool = True) -> Iterator[tuple[str, torch.Tensor]]:
    """Every weight by its name in the plain transformers model.

    Under ZeRO stage 3 every rank must run through all of them; a weight is whole until the next is asked for. The
    training weights stay as they are: merging and unmerging adapters in place would round bf16 weights at every step.

    Args:
        merged: adapters are added to what they adapt; else they are left out.
    """
    import deepspeed

    adapted = hasattr(model, "peft_config")
    base = model.get_base_model() if adapted else model
    parameters = dict(base.named_parameters())
    for name, parameter in parameters.items():
        if adapted and ".lora_" in name:
            continue
        owner, _, leaf = name.rpartition(".")
        inside = owner.removesuffix(".base_layer")
        wrapper = base.get_submodule(inside) if inside != owner else None
        beside = parameters.items() if merged and wrapper is not None else ()
        needed = [parameter, *(p for n, p in beside if n.startswith(f"{inside}.lora_"))]
        partitioned = hasattr(parameter, "ds_id")
        with deepspeed.zero.GatheredParameters(needed) if partitioned else nullcontext(), torch.no_grad():
            weight = parameter.data
            if merged and wrapper is not None and leaf == "weight":
                for adapter in wrapper.active_adapters:
                    weight = weight + wrapper.get_delta_weight(adapter).to(weight.dtype)
            yield f"{inside}.{leaf}" if inside else leaf, weight
