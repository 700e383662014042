"""Checkpoints: atomic, free of pickle, and independent of ZeRO stage and number of ranks.

Every rank writes the slices of fp32 weights and Adam moments that it owns, each under the parameter's name and the
slice's place in it, as safetensors. Loading copies from the files that hold the slices a rank owns *now*, so a
run may resume with another number of ranks or another ZeRO stage. A checkpoint is a directory that is renamed into
place once every byte of it is on disk; an incomplete directory is not a checkpoint. Checksums tell damaged files.

Not stored, because it follows from the step number alone: random state (every step seeds itself), learning rate, and
the sampler's position.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from reward_models.runtime.disk import damaged_files, explain_full_disk, write_checksums
from reward_models.runtime.distributed import World

STATE_FILE = "state.json"  # written last of a checkpoint's contents
STATES = ("weight", "exp_avg", "exp_avg_sq")
# (parameter, state) → what the files of a checkpoint hold of it: (start, length, file, key)
Slices = dict[tuple[str, str], list[tuple[int, int, Path, str]]]


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used; the message names it and how to go on."""


@dataclass(frozen=True, slots=True)
class _Fragment:
    """The part of one parameter that this rank owns: flat fp32 views, from ``start`` of the flattened parameter on."""

    name: str
    start: int
    weight: torch.Tensor
    optimizer_state: dict[str, Any]  # the optimizer's own, of the flat tensor that ``offset`` points into
    flat: torch.Tensor
    offset: int

    def view(self, state: str) -> torch.Tensor:
        if state == "weight":
            return self.weight
        if state not in self.optimizer_state:  # before the first step Adam has no state yet
            self.optimizer_state[state] = torch.zeros_like(self.flat)
        return self.optimizer_state[state].view(-1)[self.offset : self.offset + self.weight.numel()]


def save_checkpoint(
    directory: Path,
    engine: Any,
    step: int,
    state: dict[str, Any],
    world: World,
    keep: int,
    more: Callable[[Path], Sequence[Path]] = lambda _: (),
) -> Path:
    """Write ``directory/step-XXXXXXXX`` and remove all but the latest ``keep``.

    Args:
        step: optimizer steps made.
        state: JSON-serialisable facts the caller wants back.
        more: called on every rank with the directory under way; writes further files there and returns them.
    """
    final = directory / f"step-{step:08d}"
    partial = directory / f".{final.name}.partial"
    if world.is_main:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    world.barrier()
    with explain_full_disk(f"the checkpoint {final}", partial):
        files = [*_write_slices(partial, engine, world), *more(partial)]
        world.barrier()
        if world.is_main:
            content = {"step": step, "optimizer_steps": _optimizer_steps(engine), "world_size": world.size, **state}
            (partial / STATE_FILE).write_text(json.dumps(content, indent=1), encoding="utf-8")
            files.append(partial / STATE_FILE)
        files.append(write_checksums(partial, files, world.rank))
        for file in files:
            _sync(file)
    world.barrier()
    if world.is_main:
        _sync(partial)
        if final.exists():  # written before a kill, and this step made again
            shutil.rmtree(final)
        partial.rename(final)
        _sync(directory)
        for old in list_checkpoints(directory)[:-keep]:
            shutil.rmtree(old)
    world.barrier()
    return final


def _write_slices(directory: Path, engine: Any, world: World) -> list[Path]:
    """Write the slices that this rank owns; returns the file, or nothing if it owns none."""
    tensors = {
        f"{fragment.name}|{fragment.start}|{name}": fragment.view(name).detach().cpu().contiguous()
        for fragment in _fragments(engine)
        for name in STATES
        if fragment.weight.numel() and (world.is_main or engine.zero_optimization_stage() > 0)
    }
    file = directory / f"rank-{world.rank:05d}.safetensors"
    if tensors:
        save_file(tensors, file)
    return [file] if tensors else []


def list_checkpoints(directory: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    if not directory.is_dir():
        return []
    found = [path for path in directory.iterdir() if re.fullmatch(r"step-\d{8,}", path.name) and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def latest_checkpoint(directory: Path, world: World, say: Callable[[str], None]) -> Path | None:
    """The latest checkpoint in ``directory`` that is not damaged; see :func:`latest_intact`."""
    return latest_intact(list_checkpoints(directory), world, say)


def latest_intact(checkpoints: Sequence[Path], world: World, say: Callable[[str], None]) -> Path | None:
    """The last of ``checkpoints`` whose files are as they were written; ``None`` of none. Every rank must ask.

    Args:
        say: told of every damaged checkpoint that is passed over.

    Raises:
        CheckpointError: there are checkpoints, and all are damaged.
    """
    for path in reversed(checkpoints):
        if not (damaged := damaged_files(path, world)):
            return path
        say(f"{path} is damaged ({', '.join(damaged)}); it is passed over for an older one")
    if checkpoints:
        raise CheckpointError(
            f"every checkpoint in {checkpoints[0].parent} is damaged; delete them to start from the beginning, or "
            "restore one"
        )
    return None


def load_checkpoint(path: Path, engine: Any, world: World) -> dict[str, Any]:
    """Put weights, moments, step counts and learning-rate schedule into the engine; returns the saved state.

    Raises:
        CheckpointError: a file is missing or unreadable, or the checkpoint is of another model.
    """
    try:
        state: dict[str, Any] = json.loads((path / STATE_FILE).read_text(encoding="utf-8"))
        step, optimizer_steps = int(state["step"]), int(state["optimizer_steps"])
        slices = index_slices(path)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} is not a readable checkpoint ({type(error).__name__}: {error}); delete it to go on without it"
        ) from error
    _check_whole(slices, engine, path)
    for fragment in _fragments(engine):
        for name in STATES:
            fill_slice(fragment.view(name), fragment.start, slices[fragment.name, name])
        # torch keeps the count in a tensor per state, DeepSpeed's CPU Adam in a plain integer
        tensor_count = not type(_basic_optimizer(engine)).__name__.startswith("DeepSpeed")
        fragment.optimizer_state["step"] = torch.tensor(float(optimizer_steps)) if tensor_count else optimizer_steps
    _weights_from_master(engine, slices)
    if engine.lr_scheduler is not None:
        engine.lr_scheduler.last_epoch = step - 1  # the schedule is a function of the step
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")  # no optimizer step precedes it
            engine.lr_scheduler.step()
    engine.global_steps = step
    return state


def _fragments(engine: Any) -> Iterator[_Fragment]:
    """This rank's slices of every trainable parameter, whatever optimizer DeepSpeed has wrapped around Adam."""
    outer, adam = engine.optimizer, _basic_optimizer(engine)
    named = [(n, p) for n, p in engine.module.named_parameters() if p.requires_grad]
    kind = type(outer).__name__
    if engine.zero_optimization_stage() == 3:
        for name, param in named:
            group, offset, length = outer.grad_position[outer.get_param_id(param)]
            start = outer._get_param_partition_rank(param) * length
            length = max(0, min(length, param.ds_numel - start))  # the last partition may end in padding
            flat = outer.fp32_partitioned_groups_flat[group]
            yield _Fragment(name, start, flat.detach()[offset : offset + length], adam.state[flat], flat, offset)
    elif kind in ("DeepSpeedZeroOptimizer", "BF16_Optimizer"):
        flats = outer.fp32_groups_flat_partition if kind == "BF16_Optimizer" else outer.single_partition_of_fp32_groups
        for name, param in named:
            if param._hp_mapping is not None:  # None: this rank owns nothing of it
                at, place = param._hp_mapping.hp_fragment_address, param._hp_mapping.lp_fragment_address
                flat = flats[param._hp_mapping.param_group_index]
                weight = flat.detach()[at.start : at.start + at.numel]
                yield _Fragment(name, place.start, weight, adam.state[flat], flat, at.start)
    else:
        masters = dict(_half_precision_masters(outer)) if outer is not adam else {}
        for name, param in named:
            flat = masters.get(id(param), param)
            yield _Fragment(name, 0, flat.detach().view(-1), adam.state[flat], flat, 0)


def _half_precision_masters(outer: Any) -> Iterator[tuple[int, torch.Tensor]]:
    for halves, masters in zip(outer.fp16_groups, outer.fp32_groups, strict=True):
        for half, master in zip(halves, masters, strict=True):
            yield id(half), master


def _weights_from_master(engine: Any, slices: Slices) -> None:
    """Copy the fp32 weights, rounded, into the weights that the model computes with."""
    outer = engine.optimizer
    if engine.zero_optimization_stage() == 3:
        for fragment, param in zip(_fragments(engine), _trainable(engine.module), strict=True):
            param.ds_tensor.data[: fragment.weight.numel()].copy_(fragment.weight)
        if outer.persistent_parameters:
            outer.persistent_parameters[0].partition(outer.persistent_parameters)
            outer.persistent_parameters[0].all_gather(outer.persistent_parameters)
        return
    for name, param in engine.module.named_parameters():
        if param.requires_grad:
            whole = torch.empty(param.numel(), dtype=torch.float32)
            fill_slice(whole, 0, slices[name, "weight"])
            param.data.copy_(whole.view_as(param))


def _trainable(module: nn.Module) -> list[Any]:
    return [p for p in module.parameters() if p.requires_grad]


def _basic_optimizer(engine: Any) -> torch.optim.Optimizer:
    return engine.basic_optimizer


def _optimizer_steps(engine: Any) -> int:
    steps = {int(state["step"]) for state in _basic_optimizer(engine).state.values() if "step" in state}
    return max(steps, default=0)


def index_slices(path: Path, pattern: str = "rank-*.safetensors") -> Slices:
    """The place of every slice in a checkpoint's files, read from their headers."""
    found: Slices = {}
    for file in sorted(path.glob(pattern)):
        with safe_open(file, framework="pt") as handle:
            for key in handle.keys():  # noqa: SIM118 (it is no mapping)
                name, start, state = key.rsplit("|", 2)
                length = handle.get_slice(key).get_shape()[0]
                found.setdefault((name, state), []).append((int(start), length, file, key))
    return found


def _check_whole(slices: Slices, engine: Any, path: Path) -> None:
    """Raise :class:`CheckpointError` for a checkpoint of another model, or one that lacks a file, before it is used."""
    held = {key: sum(length for _, length, _, _ in parts) for key, parts in slices.items()}
    sizes = {n: getattr(p, "ds_numel", p.numel()) for n, p in engine.module.named_parameters() if p.requires_grad}
    wanted = {(name, state): size for name, size in sizes.items() for state in STATES}
    wrong = sorted(key for key in held.keys() | wanted.keys() if held.get(key) != wanted.get(key))
    if wrong:
        raise CheckpointError(
            f"{path} has {held.get(wrong[0], 0)} of {wanted.get(wrong[0], 0)} values of {' '.join(wrong[0])}: it is of "
            "another model, or files of it are missing. Give another output_dir, or delete the checkpoint"
        )


def fill_slice(into: torch.Tensor, start: int, slices: list[tuple[int, int, Path, str]]) -> None:
    """Copy the parameter's elements ``[start, start + into.numel())`` from the slices that hold them."""
    end = start + into.numel()
    for first, length, file, key in slices:
        low, high = max(start, first), min(end, first + length)
        if low < high:
            with safe_open(file, framework="pt") as handle:
                into[low - start : high - start].copy_(handle.get_slice(key)[low - first : high - first])


def _sync(path: Path) -> None:
    """Flush a file or directory entry to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
