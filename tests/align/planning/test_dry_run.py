"""Memory and checks of ``keel train align --dry-run`` before an earlier stage has made its model."""

from __future__ import annotations

from pathlib import Path

import pytest

from align.config import AlignConfig
from align.planning.dry_run import memory_of_run, offloaded_models
from align.planning.memory import run_memory
from align.planning.start import policy_shape, shape_to_be
from reward_models.backbone.config import ModelConfig
from reward_models.planning import fit
from reward_models.planning.shapes import read_shape
from reward_models.runtime.config import ConfigError, load_config


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # no runs/ of an earlier stage


def lines(preset: str, *overrides: str) -> list[str]:
    return list(memory_of_run(load_config(AlignConfig, preset, list(overrides))))


def test_a_dry_run_takes_the_sizes_of_the_model_that_the_chain_of_presets_begins_with() -> None:
    found = lines("r1_stage2", "rollout.engine=vllm", "engine.device_memory=800")
    assert "runs/r1_stage1 is not here, and is taken as made by the preset r1_stage1 from the preset sft_r1" in found[0]
    assert any(line.split()[:1] == ["total"] and line.endswith("of 800.0") for line in found)
    assert not any("not counted" in line or "not estimated" in line for line in found)
    with pytest.raises(ConfigError, match="and a device of 10 GiB"):
        lines("r1_stage2", "rollout.engine=vllm", "engine.device_memory=10")


def test_the_heads_of_a_model_that_is_not_made_yet_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"sequence_parallel=3: it does not divide the model's 28 attention heads"):
        lines("r1_stage1", "engine.sequence_parallel=3", "engine.device_memory=800")


def test_a_reward_model_that_is_not_made_yet_has_the_size_of_the_model_that_it_is_trained_from() -> None:
    assert shape_to_be(ModelConfig(path="runs/helpful_r1/")).parameters == read_shape("Qwen/Qwen3-8B").parameters


def test_offloaded_reward_models_are_on_the_device_only_while_they_score() -> None:
    config = load_config(AlignConfig, "r1_stage2", ["rollout.engine=vllm"])
    assert offloaded_models(config) == {"runs/helpful_r1", "runs/safety_r1"}
    shape, judge = policy_shape(config.model), read_shape("Qwen/Qwen3-8B")
    size = 2.0 * (judge.backbone + judge.hidden)  # bf16; the output layer is one row
    kept = run_memory(config, shape, ranks=8, prompt=200, reward_models=[judge])
    moved = run_memory(config, shape, ranks=8, prompt=200, offloaded=[judge])
    assert kept.update.device["reward models"] == kept.passes.device["reward models"] == size
    assert "reward models" not in moved.update.device
    assert (moved.passes.device["reward models"], moved.update.host["reward models"]) == (size, size)
    on_cpu = run_memory(config, shape, ranks=8, prompt=200, offloaded=[judge], on_cpu=True)
    assert on_cpu.update.device["reward models"] == size  # there is no other memory


def test_a_model_that_no_preset_makes_is_not_estimated() -> None:
    with pytest.raises(ConfigError, match="no directory"):
        lines("cpu", "model.path=./nowhere/at/all", "engine.device_memory=80")


def test_the_memory_of_a_machine_without_gpu_is_no_limit_for_a_model_that_is_not_made_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  8388608 kB\n")
    monkeypatch.setattr(fit, "MEMORY_FILE", tmp_path / "meminfo")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    *_, last = lines("r1_stage1", "rollout.engine=vllm")
    assert last.startswith("warning: a rank needs")
    with pytest.raises(ConfigError, match="a rank needs"):
        lines("r1_zero", "rollout.engine=vllm")  # its model is on the hub
