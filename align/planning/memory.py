"""Memory of a rank in reinforcement learning: the peak of each part of a step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from align.config import AlignConfig, phases_of
from reward_models.planning.memory import (
    Memory,
    activations,
    forward_bytes,
    model_states,
    overhead,
    parameters_of,
    settings_of,
)
from reward_models.planning.shapes import ModelShape


@dataclass(frozen=True)
class RunMemory:
    """The memory of a rank while it updates, computes log-probabilities, and samples with the local engine."""

    update: Memory
    passes: Memory
    rollout: Memory | None

    @property
    def parts(self) -> dict[str, Memory]:
        named = {"update": self.update, "log-probabilities": self.passes, "rollout": self.rollout}
        return {name: memory for name, memory in named.items() if memory is not None}

    @property
    def peak(self) -> Memory:
        return max(self.parts.values(), key=lambda each: each.total)


def run_memory(
    config: AlignConfig,
    shape: ModelShape,
    *,
    ranks: int,
    prompt: float,
    reward_models: Sequence[ModelShape] = (),
    offloaded: Sequence[ModelShape] = (),
    teacher: ModelShape | None = None,
    on_cpu: bool = False,
) -> RunMemory:
    """The memory of a rank.

    Args:
        shape: of the policy. ``ranks``: that train. ``prompt``: tokens of a prompt.
        reward_models, teacher: those that every rank loads and keeps on its device. ``offloaded``: reward models that
            are there only while they score, which is when log-probabilities are computed.
    """
    longest = max(phase.max_new_tokens for phase in phases_of(config))
    tokens = max(config.max_tokens, math.ceil(longest + prompt))  # a response that exceeds the budget is computed alone
    settings = settings_of(config.engine, config.model, shape, ranks=ranks, tokens=tokens, on_cpu=on_cpu)
    width = 2 if settings.bf16 else 4
    trained = settings.trained if settings.trained is not None else parameters_of(shape, settings)
    copy = trained * width / (ranks if settings.zero_stage == 3 else 1)
    first = any("kl_first" in guard.metrics for guard in config.guards)
    copies = sum((bool(config.loss.beta), first, config.keeps_old_policy))
    if on_cpu:  # what is offloaded stays in the same memory
        reward_models, offloaded = [*reward_models, *offloaded], ()
    kept, moved = (float(sum(m.backbone + m.hidden for m in each)) * width for each in (reward_models, offloaded))
    states = model_states(shape, settings)
    if moved:
        states = Memory(states.device, {**states.host, "reward models": moved})
    fixed = {"reward models": kept, "teacher": float(teacher.parameters) * width if teacher is not None else 0.0}
    resting = {} if config.ref_offload and not on_cpu else {"reference": copies * copy}
    update = states.with_parts(**activations(shape, settings), **fixed, **resting)
    # While the reference is computed it is on the device, wherever it rests. Gradients are gone between the steps.
    still = Memory({name: value for name, value in states.device.items() if name != "gradients"}, states.host)
    scoring = {**fixed, "reward models": kept + moved}
    passes = still.with_parts(**scoring, reference=copies * copy, activations=forward_bytes(shape, settings))
    rollout = None
    if config.rollout.engine == "local":
        responses = -(-config.prompts_per_rollout * config.samples_per_prompt // ranks)
        rows = min(config.rollout.max_rows, responses)
        cache = float(rows * (prompt + longest) * shape.cache_bytes(width))
        alone = replace(settings, sequence_parallel=1)  # each rank samples by itself
        rollout = still.with_parts(**fixed, **resting, cache=cache, activations=forward_bytes(shape, alone))
    with_overhead = [each and overhead(each, on_cpu=on_cpu) for each in (update, passes, rollout)]
    assert with_overhead[0] is not None
    assert with_overhead[1] is not None
    return RunMemory(with_overhead[0], with_overhead[1], with_overhead[2])
