"""DeepSpeed's engine: typed settings, gathered weights, and an optimizer step that refuses values not finite."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reward_models.runtime.config import ConfigError
from reward_models.runtime.distributed import World
from reward_models.runtime.training_config import EngineConfig

log = logging.getLogger(__name__)


def torch_dtype(config: EngineConfig) -> torch.dtype:
    """The type of the weights in the computation."""
    return torch.bfloat16 if config.dtype == "bf16" else torch.float32


class NonFiniteError(RuntimeError):
    """A loss or gradient is nan or infinite. The optimizer step was not made."""


def zero_section(config: EngineConfig) -> dict[str, Any]:
    """The ``zero_optimization`` section of DeepSpeed's configuration."""
    zero: dict[str, Any] = {"stage": config.zero_stage}
    if config.offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    if config.offload_params:
        zero["offload_param"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    return zero | config.zero_options


def deepspeed_config(config: EngineConfig, world_size: int) -> dict[str, Any]:
    """DeepSpeed's configuration for these settings."""
    return {
        # Micro-batches are cut by tokens and their number changes from step to step, so DeepSpeed's own counting is
        # switched off: backward() tells it where a step ends.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "train_batch_size": world_size,
        "steps_per_print": None,
        "gradient_clipping": config.grad_clip,
        "bf16": {"enabled": config.dtype == "bf16", "check_grad_overflow": True},
        # Gradients of many micro-batches are summed in fp32; stage 0 in bf16 knows no other accumulator than its own.
        **({"data_types": {"grad_accum_dtype": "fp32"}} if config.dtype == "bf16" and config.zero_stage else {}),
        "zero_optimization": zero_section(config),
        "optimizer": {
            "type": "AdamW",
            "params": {
                "lr": config.lr,
                "betas": list(config.betas),
                "eps": config.eps,
                "weight_decay": config.weight_decay,
                "torch_adam": not config.offload_optimizer,
            },
        },
    }


def check_zero_options(config: EngineConfig) -> None:
    """``ConfigError`` if DeepSpeed knows no such setting, or takes no such value."""
    if config.zero_options:
        from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
        from pydantic import ValidationError

        try:
            DeepSpeedZeroConfig(**zero_section(config))
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
            raise ConfigError(f"engine.zero_options: {problems}") from error


@contextmanager
def model_loading(config: EngineConfig, world: World) -> Iterator[None]:
    """While open, transformers builds and loads models partitioned over the ranks if ZeRO stage 3 wants that."""
    if config.zero_stage != 3:
        yield
        return
    from transformers.integrations import HfDeepSpeedConfig
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    holder = HfDeepSpeedConfig(deepspeed_config(config, world.size))  # transformers keeps a weak reference
    try:
        yield
    finally:
        del holder
        unset_hf_deepspeed_config()


@contextmanager
def gathered(parameters: Sequence[torch.Tensor]) -> Iterator[bool]:
    """While open, ``parameters`` are whole even where ZeRO stage 3 partitions them; all ranks must enter.

    Yields whether this rank may change them in place: the main rank's values reach the others at the end. Without
    partitions every rank changes its own.
    """
    if not any(hasattr(parameter, "ds_id") for parameter in parameters):
        yield True
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(list(parameters), modifier_rank=0):
        yield torch.distributed.get_rank() == 0


def register_external(module: nn.Module, parameter: torch.Tensor) -> None:
    """Let ZeRO stage 3 gather ``parameter`` with ``module``, which uses it without owning it."""
    import deepspeed

    deepspeed.zero.register_external_parameter(module, parameter)


def full_weights(model: nn.Module, world: World, part: str = "") -> dict[str, torch.Tensor]:
    """The weights of a model in training on the main rank's CPU, gathered one at a time; empty on other ranks.

    Those of a model trained on a CPU are fp32 whatever it was trained in: bf16 rounds scores to three digits,
    differently in different batches, and saves a CPU too little to be worth that.

    Args:
        part: of the names of those that are wanted; default: all are.
    """
    import deepspeed

    weights = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if part not in name:
            continue
        with deepspeed.zero.GatheredParameters([tensor], enabled=hasattr(tensor, "ds_id")):
            if world.is_main:
                whole = tensor.detach().cpu().clone()
                weights[name] = whole.float() if world.device.type == "cpu" and whole.is_floating_point() else whole
    return weights


def build_engine(model: nn.Module, config: EngineConfig, total_steps: int, world: World) -> Any:
    """A DeepSpeed engine with AdamW and a learning-rate schedule over ``total_steps``.

    Returns the ``DeepSpeedEngine``; drive it with :func:`backward` and :func:`optimizer_step`.
    """
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    trainable = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    if not trainable:
        raise ValueError("the model has no trainable parameter")
    # A ZeRO-3 parameter is an empty tensor here; its real shape is in ds_shape.
    is_matrix = {n: len(getattr(p, "ds_shape", p.shape)) > 1 for n, p in trainable}
    groups = [
        {"params": [p for n, p in trainable if is_matrix[n]], "weight_decay": config.weight_decay},
        {"params": [p for n, p in trainable if not is_matrix[n]], "weight_decay": 0.0},
    ]
    if config.offload_optimizer and world.is_main:
        name_locks_of_compilers()
    model.train()  # transformers loads in evaluation mode: no dropout, and no gradient checkpointing either
    engine, _, _, _ = deepspeed.initialize(
        model=model,
        model_parameters=[group for group in groups if group["params"]],
        config=deepspeed_config(config, world.size),
        lr_scheduler=lambda optimizer: learning_rates(config, optimizer, total_steps),
    )
    _forget_rehearsal(engine)
    return engine


def name_locks_of_compilers(name: str = "cpu_adam") -> None:
    """Log the files that make PyTorch wait, without an end or a word, for another process to compile DeepSpeed's code.

    A process that is killed while it compiles leaves its file behind.
    """
    from torch.utils.cpp_extension import get_default_build_root

    root = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root())
    for lock in (root / name / "lock", *sorted(root.glob(f"*/{name}/lock"))):
        try:
            seconds = time.time() - lock.stat().st_mtime
        except OSError:
            continue
        log.warning(
            "%s is %d s old: this run waits for the process that compiles DeepSpeed's %s. If there is no such process "
            "(one was killed), delete the file",
            *(lock, seconds, name),
        )


def learning_rates(config: EngineConfig, optimizer: torch.optim.Optimizer, total_steps: int) -> Any:
    """The learning-rate schedule.

    Raises:
        ConfigError: transformers has none of this name, or it takes other options.
    """
    from transformers import get_scheduler

    try:
        return get_scheduler(
            config.schedule,
            optimizer,
            config.warmup_steps(total_steps),
            total_steps,
            scheduler_specific_kwargs=config.schedule_options or None,
        )
    except (TypeError, ValueError) as error:
        options = f" with engine.schedule_options={config.schedule_options}" if config.schedule_options else ""
        raise ConfigError(f"engine.schedule={config.schedule}{options}: {error}") from error


def check_schedule(config: EngineConfig) -> None:
    """Refuse what :func:`learning_rates` refuses, before a model is loaded."""
    learning_rates(config, torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=config.lr), total_steps=100)


def _forget_rehearsal(engine: Any) -> None:
    """Undo the step on zero gradients by which DeepSpeed allocates Adam's state for bf16 at stage 0.

    It would count in Adam's bias correction, and it decays the fp32 weights at the full rate.
    """
    from deepspeed.runtime.fp16.unfused_optimizer import FP16_UnfusedOptimizer

    outer = engine.optimizer
    if isinstance(outer, FP16_UnfusedOptimizer):
        engine.basic_optimizer.state.clear()
        for halves, masters in zip(outer.fp16_groups, outer.fp32_groups, strict=True):
            for half, master in zip(halves, masters, strict=True):
                master.data.copy_(half.data)


def backward(engine: Any, loss: torch.Tensor, world: World, last: bool) -> None:
    """Add one micro-batch's gradient.

    Args:
        loss: this rank's share of the step's loss: its sum over the micro-batch divided by the *global* count.
        last: whether this is the step's last micro-batch.
    """
    engine.set_gradient_accumulation_boundary(last)
    # DeepSpeed averages over ranks; the loss is a share of a global sum, so the average is turned back into the sum.
    engine.backward(loss * world.size, scale_wrt_gas=False)


def optimizer_step(engine: Any, loss_is_finite: bool, world: World) -> float:
    """Make the step, unless a loss or the gradient is not finite on any rank.

    Returns the global gradient norm before clipping. Raises :class:`NonFiniteError` with the weights untouched.
    """
    bad = world.max(torch.tensor([0.0 if loss_is_finite else 1.0]))
    if bad.item():
        raise NonFiniteError("the loss is not finite")
    norm = None
    if engine.zero_optimization_stage() == 0:
        # Only ZeRO's optimizers check the gradient before they use it.
        grads = [p.grad for p in engine.module.parameters() if p.grad is not None]
        norms = [torch.linalg.vector_norm(g, dtype=torch.float32) for g in grads]
        norm = float(torch.linalg.vector_norm(torch.stack(norms)))
        if not math.isfinite(norm):
            raise NonFiniteError("the gradient is not finite")
    engine.step()
    if not engine.was_step_applied():
        raise NonFiniteError("the gradient is not finite")
    return float(engine.get_global_grad_norm()) if norm is None else norm
