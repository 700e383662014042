"""Memory of a rank: by hand for every ZeRO stage, and against DeepSpeed's engines and torch's saved tensors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, Qwen3Config

from reward_models.backbone import tree_attention
from reward_models.backbone.config import LoraConfig, ModelConfig
from reward_models.backbone.tree_attention import TREE_ATTENTION, tree_hidden_states
from reward_models.data.tree_batches import pack
from reward_models.data.trees import PromptTree
from reward_models.planning import fit
from reward_models.planning.devices import GIB
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
from reward_models.runtime import sequence
from reward_models.runtime.config import ConfigError
from reward_models.runtime.distributed import World
from reward_models.runtime.engine import backward, build_engine, optimizer_step, torch_dtype
from reward_models.runtime.sequence import SequenceGroup
from reward_models.runtime.training_config import EngineConfig

IN_LAYER = "gradients in a layer"
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


LLAMA_8B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
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


def id_of(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


class Fused(torch.autograd.Function):
    """Keeps what a fused attention keeps: query, key, value and output."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        output = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, output)
        return output


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


def test_what_does_not_fit_is_refused_with_the_settings_that_help() -> None:
    parts = {"update": Memory({"weights": 3 * GIB, "activations": 9 * GIB}), "rollout": Memory({"cache": 2 * GIB})}
    fits = list(memory_lines(parts, Here("H100", 80 * GIB, on_cpu=False, ranks=1)))
    assert any("total" in line and "12.00" in line and "of 80.0" in line for line in fits)
    with pytest.raises(
        ConfigError,
        match=r"needs 12.0 GiB \(update; most of it activations: 9.0 GiB\).*Lower max_tokens.*mlp_tiles=8.*"
        r"engine\.sequence_parallel=N\.$",
    ):
        list(memory_lines(parts, Here("RTX 3080", 10 * GIB, on_cpu=False, ranks=1)))
    with pytest.raises(ConfigError, match=r"this machine has 10.0 GiB.*give the GiB of one: engine\.device_memory"):
        list(memory_lines(parts, Here("this machine", 10 * GIB, on_cpu=True, ranks=1)))


def test_the_memory_of_other_devices_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    model = ModelConfig(path="Qwen/Qwen3-8B", gradient_checkpointing=True)
    engine = EngineConfig(zero_stage=3, device_memory=80, sequence_parallel=8)
    *_, total = training_lines(engine, model, 32_768, scalar_head=False)
    assert total.endswith("of 80.0")
    first = next(training_lines(engine, model, 32_768, scalar_head=False))
    assert "each of 8 ranks" in first  # the fewest that can share the tokens
    with pytest.raises(ConfigError, match=r"a device of 20 GiB \(engine.device_memory\) has 20.0 GiB"):
        list(training_lines(replace(engine, device_memory=20), model, 32_768, scalar_head=False))
    monkeypatch.setenv("WORLD_SIZE", "12")
    with pytest.raises(ValueError, match="sequence_parallel=8 does not divide the 12 ranks"):
        list(training_lines(engine, model, 32_768, scalar_head=False))
    with pytest.raises(
        ConfigError,
        match=r"sequence_parallel=6: it does not divide the model's 32 .*; 1, 2, 4, 8, 16, 32 do \(Qwen/Qwen3-8B\)",
    ):
        list(training_lines(replace(engine, sequence_parallel=6), model, 32_768, scalar_head=False))


def test_shared_tokens_and_tiles_by_hand() -> None:
    shape = tiny()

    def found(**settings: Any) -> dict[str, float]:
        return activations(shape, TrainingMemory(bf16=False, tokens=30, scalar_head=True, **settings))

    inner, keys = 4 * 96, 2 * 2 * 8  # of a token
    outside, exchanged = layer_elements(shape) - inner, 4 * 8 + keys
    gradients = 2 * 32 + (3 - 1) * 96  # of hidden states, and of gate, other half and product, which itself is gone
    tile = (3 - 1) * 96 // 3 + 32  # its inputs have gradients of their own
    attention = 2 * 4 * 8 + 2 * 2 * 8 - inner / 30  # the inside of the tile is gone
    assert attention > (3 - 1) * 96 / 30 + 32
    whole = found(checkpointing=True)
    assert whole == {"activations": 4 * 30 * (4 * 32 + outside + inner), IN_LAYER: 4 * 30 * gradients}
    in_tiles = {IN_LAYER: 4 * 30 * (2 * 32 + tile)}
    tiled = found(checkpointing=True, mlp_tiles=3)
    assert tiled == {"activations": 4 * 30 * (4 * 32 + outside + inner / 3)} | in_tiles
    assert found(mlp_tiles=3) == {"activations": 4 * 30 * (4 * outside + inner / 3)} | in_tiles
    assert found(mlp_tiles=30)[IN_LAYER] == pytest.approx(4 * 30 * (2 * 32 + attention))
    two = found(checkpointing=True, sequence_parallel=2)
    assert two == {name: size / 2 for name, size in whole.items()} | {"exchange": 4 * 15 * 2 * exchanged}
    # four ranks do not divide two key-value heads: each exists twice; the last rank's stretch is padded to 8 tokens
    four = found(checkpointing=True, sequence_parallel=4)
    assert four == {
        "activations": 4 * 8 * (4 * 32 + outside + inner + keys),
        IN_LAYER: 4 * 8 * gradients,
        "exchange": 4 * 8 * 2 * (exchanged + keys),
    }


@pytest.mark.parametrize("ranks", [1, 8])
def test_one_long_response_of_an_8b_model_on_a_meta_device(ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch keeps for the backward pass of 32,768 tokens, per rank, against the estimate."""
    monkeypatch.setattr(sequence, "_exchanged", lambda values, _: torch.empty_like(values))
    monkeypatch.setattr(tree_attention, "_path_by_path", lambda q, k, v, *_: Fused.apply(q, k, v))
    monkeypatch.setattr("transformers.masking_utils.find_packed_sequence_indices", lambda *_: None)  # reads values
    settings = dict(LLAMA_8B)
    with torch.device("meta"):
        net: Any = AutoModelForCausalLM.from_config(
            AutoConfig.for_model("llama", **settings), dtype=torch.bfloat16, attn_implementation=TREE_ATTENTION
        )
    tree = pack([PromptTree(np.zeros(0, np.int32), (np.zeros(32_768, np.int32),))])
    own, kept = {id_of(p) for p in net.parameters()}, {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if id_of(tensor) not in own:
            kept[id_of(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    group = SequenceGroup(0, ranks, None, None) if ranks > 1 else None
    net.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = tree_hidden_states(net.model, tree.to("meta"), torch.arange(1), group)
    assert hidden.requires_grad
    shape = shape_from_settings({"model_type": "llama", **settings}, "8B", "test")
    estimate = activations(shape, TrainingMemory(tokens=32_768, sequence_parallel=ranks, scalar_head=True))
    assert sum(kept.values()) == pytest.approx(estimate["activations"], rel=0.35)


def test_the_runtime_is_added_on_a_gpu() -> None:
    found = overhead(Memory({"weights": 100e9}), on_cpu=False)
    assert found.total == pytest.approx(100e9 + 1.5 * 2**30 + 5e9)
    assert overhead(Memory({"weights": 100e9}), on_cpu=True).total == 100e9


def test_a_dry_run_estimates_a_new_model_and_says_what_it_cannot(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  8388608 kB\nMemAvailable:  9 kB\n")
    monkeypatch.setattr(fit, "MEMORY_FILE", tmp_path / "meminfo")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    new = ModelConfig(config={"model_type": "qwen3", **SETTINGS})
    lines = list(training_lines(EngineConfig(dtype="fp32"), new, 64, scalar_head=True))
    assert "each of 4 ranks" in lines[0]
    assert any(line.endswith("of 4.0") for line in lines)  # 8 GiB for two ranks, in use or not
    (line,) = training_lines(EngineConfig(), ModelConfig(config={"model_type": "bert"}), 64, scalar_head=True)
    assert line.startswith("memory: not estimated")
