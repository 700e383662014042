"""The presets load, and those that bear the recipe's name hold its numbers (arXiv:2501.12948v2)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from align import train as program
from align.config import AlignConfig, phases_of
from align.planning.memory import run_memory
from align.planning.start import policy_shape
from align.samples.config import SampleConfig
from align.samples.selection import SelectConfig
from align.sft.trainer import SftConfig
from reward_models.config import RewardModelConfig
from reward_models.planning.fit import shape_of
from reward_models.planning.memory import settings_of, training_memory
from reward_models.runtime.config import ConfigError, load_config, presets

PRESETS = Path(__file__).parents[2] / "configs" / "align"


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_preset_loads_and_names_its_data(path: Path) -> None:
    if path.stem.startswith(("sample", "select")):
        data: SampleConfig | SelectConfig = load_config(
            SampleConfig if path.stem.startswith("sample") else SelectConfig, path
        )
        assert data.out.startswith(("runs/samples", "runs/selected"))
        return
    if path.stem.startswith("sft"):
        sft = load_config(SftConfig, path)
        assert sft.data.train
        assert sft.output_dir in (f"runs/{path.stem}", "runs/demo/cold_start")
        return
    config = load_config(AlignConfig, path)
    assert config.prompts.train
    assert config.evaluation.data
    assert config.output_dir in (f"runs/{path.stem}", f"runs/align_{path.stem}", "runs/demo/stage2")
    assert phases_of(config)[-1].end == config.steps


def test_every_program_knows_its_own_presets() -> None:
    names = {path.stem for path in PRESETS.glob("*.yaml")}
    parts = {word: {name for name in names if name.startswith(word)} for word in ("sft", "sample", "select")}
    assert presets(SftConfig).keys() == parts["sft"]
    assert presets(SampleConfig).keys() == parts["sample"]
    assert presets(SelectConfig).keys() == parts["select"]
    assert presets(AlignConfig).keys() == names - set().union(*parts.values())
    assert not presets(RewardModelConfig).keys() & names


@pytest.mark.parametrize(
    ("name", "temperature", "rewards"),
    [
        ("r1_zero", 1.0, ["accuracy", "format"]),
        ("r1_stage1", 1.0, ["accuracy", "format", "language"]),
        ("r1_stage2", 0.7, ["accuracy", "format", "language", "helpful", "safety"]),
    ],
)
def test_r1_presets_hold_the_reports_numbers(name: str, temperature: float, rewards: list[str]) -> None:
    config = load_config(AlignConfig, name)
    assert (config.prompts_per_step, config.samples_per_prompt, config.steps_per_rollout) == (32, 16, 16)
    assert config.prompts_per_rollout * config.samples_per_prompt == 8192
    assert (config.engine.lr, config.loss.beta, config.ref_update_steps) == (3e-6, 0.001, 400)
    assert (config.loss.clip_low, config.loss.clip_high) == (10, 10)
    assert (config.loss.kind, config.loss.advantages) == ("token", "group")
    assert (config.temperature, config.max_new_tokens) == (temperature, 32768)
    assert [term.term for term in config.rewards] == rewards
    assert {term.weight for term in config.rewards} == {1.0}
    # R1-Zero's template asks for <answer> tags; R1 closes its thoughts and answers in plain text.
    form = next(term for term in config.rewards if term.term == "format")
    assert form.arguments == ({} if name == "r1_zero" else {"answer": "plain"})
    assert (config.engine.schedule, config.engine.warmup_steps(config.steps)) == ("constant", 0)


@pytest.mark.parametrize("name", ["r1_zero", "r1_stage1", "r1_stage2"])
def test_long_responses_of_the_r1_presets_fit_eight_gpus_of_80_gb_because_ranks_share_their_tokens(name: str) -> None:
    config = load_config(AlignConfig, name, ["rollout.engine=vllm"])
    shape = policy_shape(config.model)
    assert config.engine.sequence_parallel == 4
    assert shape.heads % 4 == 0
    memory, alone = (
        run_memory(each, shape, ranks=8, prompt=200).update
        for each in (config, replace(config, engine=replace(config.engine, sequence_parallel=1)))
    )
    assert memory.total < 45e9
    assert alone.device["activations"] > 3.9 * memory.device["activations"]


def test_r1_zero_doubles_its_length_after_step_8200() -> None:
    config = load_config(AlignConfig, "r1_zero")
    assert config.steps == 10_400
    first, second = phases_of(config)
    assert (first.max_new_tokens, second.max_new_tokens) == (32_768, 65_536)
    assert (config.phases[0].until, second.start) == (8_200, 8_208)  # with the next rollout


def test_r1_stage_2_brings_preference_rewards_into_the_last_400_of_1700_steps() -> None:
    config = load_config(AlignConfig, "r1_stage2")
    assert config.steps == 1700
    assert config.phases[0].until == 1300
    first, second = phases_of(config)
    assert first.mix.keys() == {"reasoning"}
    assert second.mix.keys() == {"reasoning", "helpfulness", "safety"}
    assert (first.end, second.start, second.end) == (1312, 1312, 1700)


def test_sft_r1_holds_the_reports_numbers_for_distillation() -> None:
    config = load_config(SftConfig, "sft_r1")
    assert (config.batch_size, config.data.max_length) == (64, 32_768)
    assert 2 <= config.epochs <= 3
    assert 2e-5 <= config.engine.lr <= 1e-4
    assert config.engine.schedule_options == {"min_lr_rate": 0.1}


STUDENTS = {  # base and learning rate of every student (supplement, table of the distilled models)
    "1.5b": ("Qwen/Qwen2.5-Math-1.5B", 1e-4),
    "7b": ("Qwen/Qwen2.5-Math-7B", 8e-5),
    "8b": ("meta-llama/Llama-3.1-8B", 5e-5),
    "14b": ("Qwen/Qwen2.5-14B", 7e-5),
    "32b": ("Qwen/Qwen2.5-32B", 6e-5),
    "70b": ("meta-llama/Llama-3.3-70B-Instruct", 2e-5),
}


@pytest.mark.parametrize(
    ("student", "ranks", "gigabytes"),
    [("1.5b", 8, 24), ("7b", 8, 80), ("8b", 8, 80), ("14b", 16, 80), ("32b", 32, 80), ("70b", 64, 80)],
)
def test_students_fit_the_gpus_that_their_presets_name(student: str, ranks: int, gigabytes: float) -> None:
    config = load_config(SftConfig, f"sft_distill_{student}")
    shape = shape_of(config.model)
    assert ranks % config.engine.sequence_parallel == shape.heads % config.engine.sequence_parallel == 0
    settings = settings_of(config.engine, config.model, shape, ranks=ranks, tokens=config.max_tokens)
    assert training_memory(shape, settings).total < 0.75 * gigabytes * 1e9


@pytest.mark.parametrize("student", STUDENTS)
def test_presets_of_distillation_hold_the_reports_numbers(student: str) -> None:
    config = load_config(SftConfig, f"sft_distill_{student}")
    assert (config.model.path, config.engine.lr) == STUDENTS[student]
    assert (config.batch_size, config.data.max_length) == (64, 32_768)
    assert 2 <= config.epochs <= 3
    assert (config.engine.schedule, config.engine.schedule_options) == ("cosine_with_min_lr", {"min_lr_rate": 0.1})


@pytest.mark.parametrize("student", ["1.5b", "7b"])
def test_students_of_a_base_with_4096_positions_get_those_of_the_released_students(student: str) -> None:
    assert load_config(SftConfig, f"sft_distill_{student}").model.config == {"max_position_embeddings": 131_072}


def test_sampling_has_the_reports_settings() -> None:
    config = load_config(SampleConfig, "sample_r1")
    assert (config.temperature, config.top_p, config.top_k, config.max_new_tokens) == (0.6, 0.95, 0, 32_768)
    assert load_config(SampleConfig).temperature == 0.6
    assert load_config(SampleConfig).top_p == 0.95


def test_a_dry_run_prints_the_schedule_without_a_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)  # as without a launcher; a run of this process sets it
    best = "keep_best={metric: eval/accuracy_greedy, mode: min}"
    assert program.main(["--config", "r1_stage2", "--dry-run", best]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        "best policy: kept by the lowest eval/accuracy_greedy, measured before the first step and every 48 steps"
        in lines
    )
    assert next(line for line in lines if "preference until" in line).startswith("step  1,312")
    assert sum("reference model" in line for line in lines) == 4
    assert sum(line.startswith("step") and "evaluation" in line for line in lines) == 1700 // 48
    assert [line for line in lines if line.startswith("step")][-1] == "step  1,700  end"


def test_a_model_that_was_not_made_yet_is_named_with_the_command_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    message = "model.path: no directory runs/sft_cpu here; `keel train sft --config sft_cpu` makes it"
    assert program.main(["--config", "cpu"]) == 1
    assert capsys.readouterr().err == f"error: {message}\n"
    assert list(tmp_path.iterdir()) == []
    assert program.main(["--config", "cpu", "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith(f"warning: {message}\n")
    (tmp_path / "runs" / "sft_cpu").mkdir(parents=True)
    assert program.main(["--config", "cpu", "--dry-run"]) == 0
    assert "warning" not in capsys.readouterr().out
    assert program.main(["--config", "cpu", "model.path=runs/other"]) == 1
    assert "no directory runs/other here; train that model first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("kind=reasoning", "it is now called prompts.domain"),
        ("prompts.kind=reasoning", "it is now called prompts.domain"),
        ("prompts.domain=helpful", "write prompts.domain=helpfulness"),
    ],
)
def test_former_names_of_the_prompts_domain_name_the_new_one(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(AlignConfig, None, [word])


def test_the_former_name_of_a_key_is_an_error_that_names_the_new_one() -> None:
    with pytest.raises(ConfigError, match=r"loss\.importance_correction; it is now called loss\.correction"):
        load_config(AlignConfig, None, ["loss.importance_correction=never"])
