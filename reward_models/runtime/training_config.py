"""Settings that every training program has: of the run, and of the optimizer and DeepSpeed.

They are apart from the code that they configure: a configuration can be read and checked where torch is not installed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# Settings of engine and model that decide where and how a step is computed, and not its result.
COMPUTED = (
    *("engine.zero_stage", "engine.offload", "engine.zero_options", "engine.sequence_parallel"),
    *("engine.device_memory", "model.gradient_checkpointing", "model.mlp_tiles"),
)
# Settings that a resumed run may change: they decide how it is logged and kept, not its result.
RUN_MAY_CHANGE = (
    *("output_dir", "log_every", "save_every", "keep_checkpoints"),
    *("loggers", "overwrite", "timeout_seconds"),
)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The settings that every training run has; the configuration of a program inherits them.

    Attributes:
        output_dir: directory of everything that the run writes; the trained model is saved there.
        seed: seed of all random numbers.
        log_every: steps between two lines of progress in a log file; a terminal shows every step.
        save_every: steps between two checkpoints; 0: only at the end. ``keep_checkpoints``: number of checkpoints kept.
        loggers: where metrics go besides ``metrics.jsonl``: ``tensorboard``, ``wandb``, ``trackio``.
        overwrite: delete the run in ``output_dir`` instead of resuming it.
        timeout_seconds: time that ranks wait for one another before the job fails.
    """

    output_dir: str = "runs/run"
    seed: int = 0
    log_every: int = 10
    save_every: int = 50
    keep_checkpoints: int = 2
    loggers: list[Literal["tensorboard", "wandb", "trackio"]] = field(default_factory=lambda: ["tensorboard"])
    overwrite: bool = False
    timeout_seconds: float = 1800

    def __post_init__(self) -> None:
        for name in ("log_every", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.save_every < 0:
            raise ValueError(f"save_every={self.save_every} must not be negative")
        if not self.timeout_seconds > 0:
            raise ValueError(f"timeout_seconds={self.timeout_seconds:g} must be positive")

    @classmethod
    def changes_of_result(cls, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
        """Changes to settings that a resumed run may set differently, which change its result all the same.

        Args:
            before, now: two configurations as nested dictionaries, with all keys of this schema.
        """
        old, new = (_quantized(each) for each in (before, now))
        if old == new:
            return []
        return [f"engine.zero_options: {old or 'nothing'} quantized there, {new or 'nothing'} here: other gradients"]


def _quantized(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of ZeRO++ that round weights or gradients on their way between ranks."""
    options = (config.get("engine") or {}).get("zero_options") or {}
    return {key: value for key, value in sorted(options.items()) if key.startswith("zero_quantized") and value}


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Settings of the optimizer and of DeepSpeed.

    Attributes:
        zero_stage: 0 replicates everything; 1 partitions optimizer states, 2 gradients too, 3 parameters too.
        offload_optimizer, offload_params: keep them in CPU memory (stages 1-3; stage 3).
        dtype: of the computation; ``bf16`` keeps fp32 master weights in the optimizer.
        lr: peak learning rate. ``schedule``: any name transformers' ``get_scheduler`` knows; ``schedule_options``: its
            own arguments, e.g. ``{min_lr_rate: 0.1}`` for ``cosine_with_min_lr``.
        betas, eps: AdamW's decay rates of the two moments, and the term that keeps its denominator from 0.
        warmup: share of all steps (< 1) or number of steps (≥ 1) over which the rate rises from 0; the schedule
            ``constant`` has none.
        weight_decay: applied to matrices only, not to norms, biases and the score head's vector-shaped parts.
        grad_clip: largest global gradient norm; 0 switches clipping off.
        sequence_parallel: ranks that compute each micro-batch together, a stretch of its tokens each: for texts whose
            activations one device cannot hold. Must divide the number of ranks and the model's attention heads.
        device_memory: GiB of a rank's device that ``--dry-run`` goes by; default: those of the GPU that it
            runs on, or without one the machine's total memory, divided among its ranks.
        zero_options: further keys of DeepSpeed's ``zero_optimization`` section, as they are.
    """

    zero_stage: int = 0
    offload_optimizer: bool = False
    offload_params: bool = False
    dtype: Literal["fp32", "bf16"] = "bf16"
    lr: float = 1e-5
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.0
    schedule: str = "cosine"
    schedule_options: dict[str, Any] = field(default_factory=dict)
    warmup: float = 0.03
    grad_clip: float = 1.0
    sequence_parallel: int = 1
    device_memory: float | None = None
    zero_options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.zero_stage not in (0, 1, 2, 3):
            raise ValueError(f"engine.zero_stage={self.zero_stage} is none of 0, 1, 2, 3")
        if self.offload_optimizer and self.zero_stage == 0:
            raise ValueError("engine.offload_optimizer needs engine.zero_stage of at least 1")
        if self.offload_params and self.zero_stage != 3:
            raise ValueError("engine.offload_params needs engine.zero_stage=3")
        if self.sequence_parallel < 1:
            raise ValueError(f"engine.sequence_parallel={self.sequence_parallel} must be at least 1")
        if self.device_memory is not None and not 0 < self.device_memory < math.inf:
            raise ValueError(f"engine.device_memory={self.device_memory} must be a positive number of GiB")
        if self.lr <= 0 or self.warmup < 0 or self.grad_clip < 0:
            raise ValueError("engine.lr must be positive, engine.warmup and engine.grad_clip not negative")
        if not all(0 <= beta < 1 for beta in self.betas) or self.eps < 0 or self.weight_decay < 0:
            raise ValueError(
                "engine.betas must be at least 0 and below 1, engine.eps and engine.weight_decay not negative"
            )
        self._check_schedule()

    def _check_schedule(self) -> None:
        """``ValueError`` if a schedule without warm-up, or without options, is given some."""
        if self.schedule == "constant" and self.warmup not in (0, type(self).warmup):
            raise ValueError(
                f"engine.schedule=constant has no warm-up, and engine.warmup={self.warmup:g}: set engine.schedule="
                "constant_with_warmup, or engine.warmup=0"
            )
        if self.schedule in ("constant", "constant_with_warmup") and self.schedule_options:
            raise ValueError(f"engine.schedule={self.schedule} has no options: take engine.schedule_options out")

    def warmup_steps(self, total_steps: int) -> int:
        return int(self.warmup) if self.warmup >= 1 else math.ceil(self.warmup * total_steps)


def check_divisible(size: int, sequence_parallel: int) -> None:
    """``ValueError`` if a job of ``size`` ranks cannot be divided into groups of ``sequence_parallel``."""
    if size % sequence_parallel:
        raise ValueError(
            f"engine.sequence_parallel={sequence_parallel} does not divide the {size} ranks of this job: start a "
            f"multiple of {sequence_parallel} ranks, or lower it"
        )


def heads_problem(heads: int, sequence_parallel: int) -> str | None:
    """The reason why ``sequence_parallel`` ranks cannot divide a model's attention heads; ``None``: they can."""
    if heads % sequence_parallel == 0:
        return None
    possible = ", ".join(str(each) for each in range(1, heads + 1) if heads % each == 0)
    return f"it does not divide the model's {heads} attention heads; {possible} do"
