"""Memory and checks of ``keel train align --dry-run`` before an earlier stage has made its model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from align.config import AlignConfig
from align.planning.dry_run import (
    check_run,
    idle_weights,
    memory_of_run,
    offloaded_models,
    reward_model_paths,
    unwatched,
)
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


# --- what the run refuses ---------------------------------------------------------------------------------------------


def check(preset: str, *overrides: str) -> None:
    check_run(load_config(AlignConfig, preset, list(overrides)))


def save_model(folder: str, **facts: object) -> str:
    """A directory that is a trained reward model as far as a dry run reads it."""
    Path(folder).mkdir(parents=True)
    (Path(folder) / "config.json").write_text(json.dumps({"keel": facts}))
    return folder


def term(name: str, model: str, more: str = "") -> str:
    return f"rewards=[{{term: {name}, arguments: {{model: {model}{more}}}}}]"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("engine.sequence_parallel=2", "model.layout=padded"), "padded batches are not shared between ranks"),
        (("engine.sequence_parallel=3",), "does not divide the model's 28 attention heads"),
        (("model.freeze_layers=28",), "the model has 28 layers, and at least one must be trained"),
    ],
)
def test_the_architecture_of_a_model_that_is_not_made_yet_is_checked(words: tuple[str, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check("r1_stage1", *words)


def test_the_architecture_of_a_model_that_is_here_is_checked() -> None:
    Path("experts").mkdir()
    (Path("experts") / "config.json").write_text(json.dumps({"model_type": "qwen3_moe"}))
    check("cpu", "model.path=./experts")
    with pytest.raises(ValueError, match="the MLPs of qwen3_moe models are not divided"):
        check("cpu", "model.path=./experts", "model.mlp_tiles=4")


def test_a_reward_model_must_have_the_value_that_its_term_takes() -> None:
    calibration = {"n": 40, "mean": 0.3, "std": 2.0}
    whole = save_model("runs/whole", task="preference", calibration={**calibration, "temperature": 1.5})
    bare = save_model("runs/bare", task="preference", calibration=calibration)
    none = save_model("runs/none", task="preference", calibration={"n": 1})
    for words in (
        term("helpful", whole),
        term("helpful", bare, ", value: raw"),
        term("helpful", f"[{whole}, {bare}]"),
        term("helpful", "runs/not_made_yet"),
    ):
        check("cpu", words)
    for words, reason in (
        (term("helpful", bare), r"rewards: helpful: runs/bare has no calibration, .*; take value: raw, or train"),
        (term("helpful", f"[{whole}, {none}]"), "runs/none has no score statistics"),
        (term("safety", whole), "runs/whole is no model of the task safety"),
        (term("helpful", "runs/not_made_yet", ", value: mean"), r"'mean' is none of calibrated, raw \(1 model\)"),
        (term("helpful", f"[{whole}, runs/not_made_yet]", ", value: raw"), "none of mean, minimum, lower_bound"),
    ):
        with pytest.raises(ConfigError, match=reason):
            check("cpu", words)


def test_guards_whose_metric_is_not_logged_are_named() -> None:
    def told(*overrides: str) -> list[str]:
        return [line.partition("no step logs ")[2] for line in unwatched(load_config(AlignConfig, "cpu", [*overrides]))]

    assert list(unwatched(load_config(AlignConfig, "r1_stage2"))) == []
    rules = "{watch: kl, above: 1}, {watch: term/accuracy_math, falls: 1, while_rises: term/repetition}"
    guards = f"guards=[{{watch: eval/pass@2, falls: 0.1}}, {rules}, {{watch: entropy, below: 0}}]"
    assert told(guards) == ["kl: loss.beta is 0", "term/repetition: rewards has no entry repetition"]
    assert told(guards, "evaluation.data=[]", "loss.beta=0.1", "rewards=[{term: 'mine:Own'}]") == [
        "eval/pass@2: evaluation.data is empty"
    ]


def test_judges_and_models_behind_servers_take_no_memory_here() -> None:
    entries = (
        "{term: judge, arguments: {url: http://host:8000/v1, model: Qwen3-32B}}",
        "{term: helpful, arguments: {urls: [http://host:8001], model: helpful}}",
        "{term: safety, arguments: {model: runs/my_safety}}",
    )
    config = load_config(AlignConfig, "cpu", [f"rewards=[{', '.join(entries)}]"])
    assert set(reward_model_paths(config)) == {"runs/my_safety"}
    assert "memory: a reward model is not counted: there is no runs/my_safety here" in list(memory_of_run(config))


@pytest.mark.parametrize(
    ("weights", "warnings"),
    [
        ("[[0, 0.0], [40, 1.0]]", ["the weight of accuracy has a point at step 40, behind the last one"]),
        ("[[0, 0.0], [20, 1.0]]", []),
        ("0", ["every weight is 0 at every step"]),
        ("[[0, 0.0], [20, 0.0]]", ["every weight is 0 at every step"]),
        ("-1", []),
    ],
)
def test_weights_that_do_nothing_are_named(weights: str, warnings: list[str]) -> None:
    config = load_config(AlignConfig, "cpu", ["steps=20", f"rewards=[{{term: accuracy, weight: {weights}}}]"])
    found = list(idle_weights(config))
    assert len(found) == len(warnings)
    assert all(f"warning: rewards: {start}" in line for start, line in zip(warnings, found, strict=True))
    if "40" in weights:
        assert found[0].endswith("ends at 0.5 and not at 1")
