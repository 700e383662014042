"""Memory of a rank: by hand for every ZeRO stage, and against DeepSpeed's engines and torch's saved tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen3Config

from reward_models.backbone.config import LoraConfig, ModelConfig
from reward_models.planning import fit
from reward_models.planning.fit import Here, memory_lines, training_lines
from reward_models.planning.memory import (
    Memory,
    TrainingMemory,
    activations,
    layer_elements,
    model_states,
    overhead,
    trained_parameters,
)
from reward_models.planning.shapes import ModelShape, shape_from_settings
from reward_models.runtime.config import ConfigError
from reward_models.runtime.distributed import World
from reward_models.runtime.engine import backward, build_engine, optimizer_step, torch_dtype
from reward_models.runtime.training_config import EngineConfig

SETTINGS = {
    "hidden_size": 32,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 64,
    "tie_word_embeddings": True,
}


def tiny() -> ModelShape:
    return shape_from_settings({"model_type": "qwen3", **SETTINGS}, "tiny", "test")


def model(dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(Qwen3Config(**SETTINGS), dtype=dtype)


def test_states_of_every_zero_stage_by_hand() -> None:
    shape = tiny()
    n = shape.parameters

    def states(stage: int, *, bf16: bool) -> dict[str, float]:
        return model_states(shape, TrainingMemory(ranks=8, zero_stage=stage, bf16=bf16)).device

    # weights, gradients, two moments; fp32 weights beside those of the computation from stage 1 on
    assert states(0, bf16=False) == {"weights": 4 * n, "gradients": 4 * n, "optimizer": 8 * n}
    assert states(0, bf16=True) == {"weights": 2 * n, "gradients": 6 * n, "optimizer": 12 * n}
    one, two, three = (states(stage, bf16=True) for stage in (1, 2, 3))
    assert one == {"weights": 2 * n, "gradients": 6 * n, "optimizer": 12 * n / 8, "communication": 4 * n}
    assert two == {"weights": 2 * n, "gradients": 4 * n / 8 + 2 * n, "optimizer": 12 * n / 8, "communication": 4 * n}
    assert (three["weights"], three["optimizer"]) == (2 * n / 8, 12 * n / 8)
    assert three["gathered weights"] == 2 * n


def test_offloaded_states_are_in_the_machines_memory() -> None:
    shape = tiny()
    settings = TrainingMemory(ranks=2, zero_stage=3, offload_optimizer=True, offload_params=True)
    found = model_states(shape, settings)
    assert found.host == {"weights": shape.parameters, "optimizer": 6 * shape.parameters}
    assert not {"weights", "optimizer"} & found.device.keys()


@pytest.mark.parametrize(("dtype", "stage"), [("fp32", 0), ("bf16", 0), ("fp32", 2), ("bf16", 2)])
def test_engines_hold_what_is_estimated(dtype: str, stage: int, world: World) -> None:
    config = EngineConfig(dtype=dtype, zero_stage=stage, lr=1e-3, warmup=0)  # type: ignore[arg-type]
    engine = build_engine(model(torch_dtype(config)), config, 2, world)
    ids = torch.arange(6)[None]
    backward(engine, engine(input_ids=ids, labels=ids).loss, world, last=True)
    optimizer_step(engine, True, world)
    parameters = {p.data_ptr(): p for p in engine.module.parameters()}
    inside = [each for state in engine.basic_optimizer.state.values() for each in state.values()]
    masters = [p for group in engine.basic_optimizer.param_groups for p in group["params"]]
    kept = {t.data_ptr(): t for t in [*inside, *masters] if isinstance(t, torch.Tensor) and t.numel() > 1}
    optimizer = sum(t.numel() * t.element_size() for at, t in kept.items() if at not in parameters)
    expected = model_states(tiny(), TrainingMemory(zero_stage=stage, bf16=dtype == "bf16")).device
    assert sum(p.numel() * p.element_size() for p in parameters.values()) == expected["weights"]
    assert optimizer == pytest.approx(expected["optimizer"], rel=0.01)  # ZeRO pads its partitions


@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_are_those_that_torch_saves(checkpointing: bool) -> None:
    settings = {**SETTINGS, "num_hidden_layers": 16}  # rotary tables and the last norm, which are once, are little
    shape, tokens = shape_from_settings({"model_type": "qwen3", **settings}, "tiny", "test"), 256
    net: Any = AutoModelForCausalLM.from_config(Qwen3Config(**settings), dtype=torch.float32)
    own = {p.data_ptr() for p in net.parameters()}
    if checkpointing:
        net.gradient_checkpointing_enable({"use_reentrant": False})
    net.train()
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in own:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = net.model(input_ids=torch.randint(0, 64, (1, tokens)), use_cache=False).last_hidden_state
    options = TrainingMemory(bf16=False, tokens=tokens, checkpointing=checkpointing, scalar_head=True)
    estimate = activations(shape, options)["activations"]
    if checkpointing:  # the inside of a layer is computed again in the backward pass, and not yet here
        estimate -= 4 * tokens * layer_elements(shape)
    assert hidden.requires_grad
    assert sum(saved.values()) == pytest.approx(estimate, rel=0.35)


def test_trained_parameters_of_adapters_and_above_frozen_layers() -> None:
    shape = tiny()
    adapters = ModelConfig(path="x/y", lora=LoraConfig(r=2, target_modules=["q_proj", "down_proj"]))
    assert trained_parameters(shape, adapters, scalar_head=False) == 4 * 2 * ((32 + 32) + (96 + 32))
    top = ModelConfig(path="x/y", freeze_layers=3)
    layer = 32 * (32 + 2 * 16) + 32 * 32 + 3 * 32 * 96 + 2 * 32 + 2 * 8
    assert trained_parameters(shape, top, scalar_head=True) == layer + 32 + 32  # the last norm and the score


def test_what_does_not_fit_a_gpu_is_refused_and_on_a_cpu_said() -> None:
    parts = {"update": Memory({"weights": 3e9, "activations": 9e9}), "rollout": Memory({"cache": 2e9})}
    fits = list(memory_lines(parts, Here("H100", 80e9, on_cpu=False, ranks=1)))
    assert any("total" in line and "12.00" in line and "of 80.0" in line for line in fits)
    with pytest.raises(
        ConfigError, match=r"needs 12.0 GB \(update; most of it activations: 9.0 GB\).*Lower max_tokens"
    ):
        list(memory_lines(parts, Here("RTX 3080", 10e9, on_cpu=False, ranks=1)))
    *_, last = memory_lines(parts, Here("this machine's memory", 10e9, on_cpu=True, ranks=1))
    assert last.startswith("warning: a rank needs 12.0 GB")


def test_the_runtime_is_added_on_a_gpu() -> None:
    found = overhead(Memory({"weights": 100e9}), on_cpu=False)
    assert found.total == pytest.approx(100e9 + 1.5 * 2**30 + 5e9)
    assert overhead(Memory({"weights": 100e9}), on_cpu=True).total == 100e9


def test_a_dry_run_estimates_a_new_model_and_says_what_it_cannot(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:  8000000 kB\n")
    monkeypatch.setattr(fit, "MEMORY_FILE", tmp_path / "meminfo")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    new = ModelConfig(config={"model_type": "qwen3", **SETTINGS})
    lines = list(training_lines(EngineConfig(dtype="fp32"), new, 64, scalar_head=True))
    assert "each of 4 ranks" in lines[0]
    assert any("of 4.1" in line for line in lines)  # 8,000,000 KiB for two ranks
    (line,) = training_lines(EngineConfig(), ModelConfig(config={"model_type": "bert"}), 64, scalar_head=True)
    assert line.startswith("memory: not estimated")
