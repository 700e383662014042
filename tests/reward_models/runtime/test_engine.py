"""DeepSpeed's configuration follows ours, and an optimizer step is made whole or not at all."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from reward_models.runtime.config import ConfigError
from reward_models.runtime.distributed import World
from reward_models.runtime.engine import (
    NonFiniteError,
    backward,
    build_engine,
    check_schedule,
    check_zero_options,
    deepspeed_config,
    name_locks_of_compilers,
    optimizer_step,
    torch_dtype,
)
from reward_models.runtime.training_config import EngineConfig

FP32 = EngineConfig(dtype="fp32", lr=0.5, schedule="constant", warmup=0, eps=1e-8)


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2), nn.Dropout(0.5), nn.Linear(2, 1))


# --- configuration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "section", "value"),
    [
        ({"zero_stage": 2}, ("zero_optimization", "stage"), 2),
        ({"zero_stage": 1, "offload_optimizer": True}, ("zero_optimization", "offload_optimizer", "device"), "cpu"),
        ({"zero_stage": 1, "offload_optimizer": True}, ("optimizer", "params", "torch_adam"), False),
        ({"zero_stage": 3, "offload_params": True}, ("zero_optimization", "offload_param", "device"), "cpu"),
        ({"zero_options": {"overlap_comm": True}}, ("zero_optimization", "overlap_comm"), True),
        ({"zero_options": {"stage": 2}}, ("zero_optimization", "stage"), 2),
        ({"dtype": "bf16"}, ("bf16", "enabled"), True),
        ({"dtype": "bf16", "zero_stage": 1}, ("data_types", "grad_accum_dtype"), "fp32"),
        ({"lr": 0.25}, ("optimizer", "params", "lr"), 0.25),
        ({"betas": (0.5, 0.75)}, ("optimizer", "params", "betas"), [0.5, 0.75]),
        ({"eps": 1e-3}, ("optimizer", "params", "eps"), 1e-3),
        ({"weight_decay": 0.1}, ("optimizer", "params", "weight_decay"), 0.1),
        ({"grad_clip": 0.3}, ("gradient_clipping",), 0.3),
    ],
)
def test_every_setting_reaches_deepspeed(changes: dict[str, Any], section: tuple[str, ...], value: Any) -> None:
    def look(config: EngineConfig) -> Any:
        found: Any = deepspeed_config(config, 1)
        for key in section:
            found = found.get(key, {})
        return found

    assert look(replace(FP32, **changes)) == value
    assert look(FP32) != value


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"zero_stage": 4}, "engine.zero_stage=4"),
        ({"offload_optimizer": True}, "engine.offload_optimizer needs"),
        ({"zero_stage": 2, "offload_params": True}, "engine.offload_params needs"),
        ({"lr": 0.0}, "engine.lr must be positive"),
        ({"warmup": -1.0}, "engine.warmup"),
        ({"grad_clip": -1.0}, "engine.grad_clip"),
        ({"betas": (0.9, 1.0)}, "engine.betas"),
        ({"eps": -1e-8}, "engine.eps"),
        ({"weight_decay": -0.1}, "engine.weight_decay"),
        ({"warmup": 5.0}, "engine.schedule=constant has no warm-up, and engine.warmup=5"),
        ({"schedule_options": {"power": 2}}, "engine.schedule=constant has no options"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        replace(FP32, **changes)


def test_schedules_and_settings_of_zero_are_checked_before_there_is_a_model() -> None:
    polynomial = replace(FP32, schedule="polynomial")
    for config in (FP32, polynomial, replace(polynomial, schedule_options={"power": 2.0})):
        check_schedule(config)
    with pytest.raises(ConfigError, match=r"engine\.schedule=cosin: cosin is not a valid SchedulerType"):
        check_schedule(replace(FP32, schedule="cosin"))
    with pytest.raises(ConfigError, match=r"engine\.schedule_options=.'powr': 2.*powr"):
        check_schedule(replace(polynomial, schedule_options={"powr": 2}))
    check_zero_options(replace(FP32, zero_stage=2, zero_options={"overlap_comm": True}))
    with pytest.raises(ConfigError, match=r"engine\.zero_options: overlap_com: Extra inputs"):
        check_zero_options(replace(FP32, zero_stage=2, zero_options={"overlap_com": True}))


@pytest.mark.parametrize(("warmup", "steps"), [(0.0, 0), (0.03, 3), (0.031, 4), (1.0, 1), (25.0, 25)])
def test_warmup_is_a_share_or_a_number_of_steps(warmup: float, steps: int) -> None:
    assert EngineConfig(warmup=warmup).warmup_steps(100) == steps


# --- the engine -------------------------------------------------------------------------------------------------------


def test_a_model_loaded_for_evaluation_is_trained_in_training_mode(world: World) -> None:
    engine = build_engine(model().eval(), FP32, 4, world)
    assert all(module.training for module in engine.module.modules())


def test_a_model_without_anything_to_train_is_refused(world: World) -> None:
    with pytest.raises(ValueError, match="no trainable parameter"):
        build_engine(model().requires_grad_(False), FP32, 4, world)


@pytest.mark.parametrize(("dtype", "stage"), [("fp32", 0), ("fp32", 1), ("bf16", 0), ("bf16", 1), ("bf16", 2)])
def test_steps_are_those_of_adamw_on_fp32_weights_with_decay_on_matrices_only(
    dtype: Any, stage: int, world: World
) -> None:
    config = replace(FP32, dtype=dtype, zero_stage=stage, weight_decay=0.1, grad_clip=0.0)
    engine, plain = build_engine(model(), config, 4, world), model().to(torch_dtype(config))
    weights = [p.detach().float().clone().requires_grad_() for p in plain.parameters()]
    groups = [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": 0.1},
        {"params": [w for w in weights if w.ndim == 1], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=0.5, betas=(0.9, 0.95))
    inputs = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).to(torch_dtype(config))
    for _ in range(3):
        losses = []
        for module in (engine, plain):
            torch.manual_seed(2)  # dropout
            losses.append(module(inputs).float().square().sum())
        backward(engine, losses[0], world, last=True)
        plain.zero_grad()
        losses[1].backward()
        for weight, parameter in zip(weights, plain.parameters(), strict=True):
            weight.grad = parameter.grad.float()
        norm = torch.nn.utils.get_total_norm([w.grad for w in weights]).item()
        assert optimizer_step(engine, True, world) == pytest.approx(norm, rel=1e-5)
        adamw.step()
        for weight, parameter in zip(weights, plain.parameters(), strict=True):
            parameter.data.copy_(weight.data)
    for ours, theirs in zip(engine.module.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_micro_batches_add_up_to_the_whole_batch(world: World) -> None:
    inputs = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    norms = []
    for cuts in ([6], [1, 5], [2, 2, 2]):
        engine = build_engine(model().eval(), FP32, 4, world)
        engine.eval()
        parts = inputs.split(cuts)
        for number, part in enumerate(parts):
            backward(engine, engine(part).square().sum() / 6, world, last=number == len(parts) - 1)
        norms.append(optimizer_step(engine, True, world))
    assert norms == pytest.approx([norms[0]] * 3)


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_a_value_that_is_not_finite_leaves_weights_and_schedule_alone(broken: str, world: World) -> None:
    engine = build_engine(model(), replace(FP32, schedule="linear"), 4, world)
    before = [p.detach().clone() for p in engine.module.parameters()]
    rate = engine.lr_scheduler.get_last_lr()
    loss = engine(torch.ones(1, 3)).sum()
    backward(engine, loss, world, last=True)
    if broken == "gradient":
        next(engine.module.parameters()).grad[0, 0] = math.inf
    with pytest.raises(NonFiniteError, match=f"the {broken} is not finite"):
        optimizer_step(engine, broken != "loss", world)
    assert all(torch.equal(p, b) for p, b in zip(engine.module.parameters(), before, strict=True))
    assert engine.lr_scheduler.get_last_lr() == rate


@pytest.mark.parametrize("folder", ["cpu_adam", "py311_cpu/cpu_adam"])
def test_a_lock_that_a_killed_compiler_left_is_named(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    name_locks_of_compilers()
    assert not caplog.records
    lock = tmp_path / folder / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    name_locks_of_compilers()
    assert str(lock) in caplog.text
    assert "delete the file" in caplog.text
