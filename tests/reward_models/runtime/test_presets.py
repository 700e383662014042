"""The presets load, and those that bear the recipe's name hold its numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from reward_models.config import RewardModelConfig
from reward_models.data.batching import EpochSampler
from reward_models.dataset import default_span
from reward_models.runtime.config import ConfigError, dump_config, load_config, presets

PRESETS = Path(__file__).parents[3] / "configs" / "reward_model"


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_preset_loads_and_names_its_data(path: Path) -> None:
    config = load_config(RewardModelConfig, path)
    assert config.data.train
    assert config.data.eval
    assert config.output_dir == f"runs/{path.stem}"


@pytest.mark.parametrize(
    ("name", "task", "span", "examples", "steps"),
    [("helpful", "preference", "summary", 66_000, 258), ("safety", "safety", "full", 106_000, 415)],
)
def test_r1_presets_hold_the_reports_numbers(name: str, task: str, span: str, examples: int, steps: int) -> None:
    config = load_config(RewardModelConfig, PRESETS / f"{name}_r1.yaml")
    assert config.task == task
    assert (config.batch_size, config.engine.lr, config.epochs, config.max_steps) == (256, 6e-6, 1.0, None)
    assert config.data.max_length == 8192
    assert config.data.span == default_span(config.task) == span
    # 106,000 / 256 = 414.06: the last step holds what is left
    assert EpochSampler(examples, config.batch_size, 0).steps_per_epoch == steps


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["engine.leraning_rate=1"], "engine.leraning_rate"),
        (["batch_sizes=2"], "did you mean batch_size"),
        (["batch_size=many"], "batch_size"),
        (["model.path=x", "model.lora.rank=2"], "model.lora.rank"),
        (["task"], "not of the form key=value"),
        (["kind=helpful"], "unknown key kind; it is now called task"),
    ],
)
def test_a_wrong_key_or_value_is_named(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(RewardModelConfig, None, words)


def test_a_number_in_a_key_is_a_place_in_a_list() -> None:
    words = ["model.path=x", "data.train=[a.jsonl,b.jsonl]", "data.train.1=c.jsonl"]
    assert load_config(RewardModelConfig, None, words).data.train == ["a.jsonl", "c.jsonl"]
    with pytest.raises(ConfigError, match=r"data\.train\.2=d: the list has 2 elements"):
        load_config(RewardModelConfig, None, [*words, "data.train.2=d"])


def test_a_preset_is_known_by_its_name_wherever_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert presets(RewardModelConfig).keys() == {path.stem for path in PRESETS.glob("*.yaml")}
    assert load_config(RewardModelConfig, "helpful_r1") == load_config(RewardModelConfig, PRESETS / "helpful_r1.yaml")
    (tmp_path / "helpful_r1").write_text("task: safety\nmodel: {path: x/y}\n")  # a file by that name comes first
    assert load_config(RewardModelConfig, "helpful_r1").task == "safety"


@pytest.mark.parametrize("name", [str(PRESETS / "helpfull_r1.yaml"), "helpfull_r1", "helpful_r1.yml"])
def test_a_missing_file_or_preset_names_its_neighbours(name: str) -> None:
    with pytest.raises(ConfigError, match=r"no configuration file or preset .*; there are .*helpful_r1"):
        load_config(RewardModelConfig, name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a list\n", "holds a list or a bare value"),
        ("task: [unclosed\n", "is not YAML"),
        ("task: preferences\n", "task"),
        ("engine: {zero_stage: 9}\n", r"engine\.zero_stage=9"),
        ("engine: fast\n", "engine is a section of the keys .*zero_stage"),
        ("batch_size: null\n", "batch_size"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_the_reason_too(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        load_config(RewardModelConfig, file)
    assert "mine.yaml" in str(error.value)


def test_the_dumped_configuration_is_the_configuration(tmp_path: Path) -> None:
    config = load_config(RewardModelConfig, "helpful_one_gpu", ["data.columns={chosen: good}", "max_steps=3"])
    file = tmp_path / "resolved.yaml"
    file.write_text(dump_config(config))
    assert load_config(RewardModelConfig, file) == config


def test_overrides_win_over_the_file_and_the_file_over_the_defaults() -> None:
    config = load_config(
        RewardModelConfig, PRESETS / "helpful_r1.yaml", ["data.train=[a.jsonl, b.jsonl]", "data.span=null"]
    )
    assert config.data.train == ["a.jsonl", "b.jsonl"]
    assert config.data.span is None
    assert config.engine.zero_stage == 3
