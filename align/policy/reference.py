"""The reference model: the policy as it was at some earlier step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from reward_models.runtime.checkpoint import fill_slice, index_slices
from reward_models.runtime.distributed import World


class Reference:
    """Copies of the trainable weights, which take the policy's place while the reference is computed.

    There is no second model: what is frozen is the same in both, and with adapters only these are kept, so that before
    the first refresh the reference is the base model. Under ZeRO stage 3 every rank keeps its own partitions.

    Args:
        offload: keep the copies in CPU memory between uses.
    """

    def __init__(self, engine: Any, world: World, *, offload: bool) -> None:
        self._engine, self._world = engine, world
        self._device = torch.device("cpu") if offload else world.device
        self._weights = [owner.detach().to(self._device, copy=True) for owner in self._owners()]

    @contextmanager
    def active(self) -> Iterator[None]:
        """While open, the engine's module is the reference."""
        self._release()
        owners = self._owners()
        policy = [owner.data for owner in owners]
        for owner, weight in zip(owners, self._weights, strict=True):
            owner.data = weight.to(owner.device, non_blocking=True)
        try:
            yield
        finally:
            self._release()
            for owner, weight in zip(owners, policy, strict=True):
                owner.data = weight

    def refresh(self) -> None:
        """Copy the policy's present weights into the reference."""
        for weight, owner in zip(self._weights, self._owners(), strict=True):
            weight.copy_(owner.detach())

    def save(self, directory: Path) -> list[Path]:
        """This rank's share of the reference; returns the files written."""
        partitioned = self._engine.zero_optimization_stage() == 3
        if not partitioned and not self._world.is_main:
            return []
        tensors = {
            f"{name}|{start}|reference": weight.view(-1)[:length].cpu().contiguous()
            for (name, start, length), weight in zip(self._places(), self._weights, strict=True)
            if length
        }
        file = directory / f"reference-{self._world.rank:05d}.safetensors"
        if tensors:
            save_file(tensors, file)
        return [file] if tensors else []

    def load(self, directory: Path) -> None:
        """Take the reference from a checkpoint, whatever ZeRO stage and number of ranks wrote it."""
        slices = index_slices(directory, "reference-*.safetensors")
        for (name, start, length), weight in zip(self._places(), self._weights, strict=True):
            if (name, "reference") not in slices:
                raise ValueError(f"{directory} holds no reference weights of {name}: give another output_dir")
            fill_slice(weight.view(-1)[:length], start, slices[name, "reference"])

    def _named(self) -> list[tuple[str, Any]]:
        return [(n, p) for n, p in self._engine.module.named_parameters() if p.requires_grad]

    def _owners(self) -> list[Any]:
        """The tensors that hold this rank's weights: the parameters, or its partitions of them."""
        return [getattr(p, "ds_tensor", p) for _, p in self._named()]

    def _places(self) -> list[tuple[str, int, int]]:
        """(parameter, first element, number of elements) of what each owner holds, padding left out."""
        places = []
        for name, p in self._named():
            if hasattr(p, "ds_tensor"):
                start = p.ds_tensor.numel() * self._world.rank
                places.append((name, start, max(0, min(p.ds_tensor.numel(), p.ds_numel - start))))
            else:
                places.append((name, 0, p.numel()))
        return places

    def _release(self) -> None:
        """ZeRO stage 3: forget every gathered parameter, for what it was gathered from is about to change."""
        self._engine.empty_partition_cache()
