"""Values from the environment reach the run and are not written down."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from reward_models.runtime.config import ConfigError, dump_config, load_config
from reward_models.runtime.secrets import written_as


@dataclass(frozen=True, kw_only=True)
class Inner:
    """A section."""

    token: str = ""
    size: int = 1


@dataclass(frozen=True, kw_only=True)
class Outer:
    """A configuration."""

    output_dir: str = "runs/x"
    inner: Inner = field(default_factory=Inner)
    arguments: dict[str, Any] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)
    steps: int = 1


def written(config: Outer) -> Any:
    return yaml.safe_load(dump_config(config))


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SOME_SECRET", "hunter2")
    monkeypatch.setenv("SOME_SIZE", "7")
    path = tmp_path / "a.yaml"
    path.write_text(
        "inner: {token: '${oc.env:SOME_SECRET}', size: '${oc.env:SOME_SIZE}'}\n"
        "arguments: {headers: {key: 'Bearer ${oc.env:SOME_SECRET}'}, other: '${inner.token}', plain: hunter2}\n"
        "sources: ['db://me:${oc.env:SOME_SECRET}@host', a.jsonl]\n"
    )
    return path


def test_the_run_gets_the_value_and_the_file_the_name(file: Path) -> None:
    config = load_config(Outer, file, ["output_dir=runs/${oc.env:SOME_SIZE}"])
    assert config.inner == Inner(token="hunter2", size=7)
    assert config.arguments == {"headers": {"key": "Bearer hunter2"}, "other": "hunter2", "plain": "hunter2"}
    assert config.sources == ["db://me:hunter2@host", "a.jsonl"]
    assert config.output_dir == "runs/7"
    assert written_as("db://me:hunter2@host") == "db://me:${oc.env:SOME_SECRET}@host"
    assert written_as("a.jsonl") == "a.jsonl"
    assert written(config) == {
        "output_dir": "runs/${oc.env:SOME_SIZE}",
        "inner": {"token": "${oc.env:SOME_SECRET}", "size": "${oc.env:SOME_SIZE}"},
        # a text that was written out is left: it is no value from the environment
        "arguments": {
            "headers": {"key": "Bearer ${oc.env:SOME_SECRET}"},
            "other": "${oc.env:SOME_SECRET}",
            "plain": "hunter2",
        },
        "sources": ["db://me:${oc.env:SOME_SECRET}@host", "a.jsonl"],
        "steps": 1,
    }


def test_a_copy_is_written_alike_and_reads_back(file: Path, tmp_path: Path) -> None:
    config = replace(load_config(Outer, file), steps=5)
    again = tmp_path / "again.yaml"
    again.write_text(dump_config(config))
    assert "hunter2" not in again.read_text().replace("plain: hunter2", "")
    assert load_config(Outer, again) == config


def test_a_variable_that_is_not_set_is_an_error(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_SECRET")
    with pytest.raises(ConfigError, match="SOME_SECRET"):
        load_config(Outer, file)
    assert load_config(Outer, None, ["inner.token=${oc.env:SOME_SECRET,none}"]).inner.token == "none"


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A configuration that refuses some values."""

    steps: int = 1
    name: str = "a"

    def __post_init__(self) -> None:
        if self.steps < 1 or len(self.name) > 5:
            raise ValueError(f"steps={self.steps} and name={self.name!r} do not go together")


@pytest.mark.parametrize("value", ["hunter2", "it's", "two\nlines"])
@pytest.mark.parametrize("written", ["${oc.env:VARIABLE}", "x${oc.env:VARIABLE}", "${oc.decode:${oc.env:VARIABLE}}"])
def test_an_error_names_the_variable_and_not_its_value(
    value: str, written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VARIABLE", value)
    file = tmp_path / "a.yaml"
    file.write_text(yaml.safe_dump({"steps": written}))
    with pytest.raises(ConfigError, match="steps") as caught:
        load_config(Checked, file)
    shown = "".join(traceback.format_exception(caught.value))
    assert value.split("\n")[0] not in shown.replace('f"', "")
    assert "${oc.env:VARIABLE}" in str(caught.value)


def test_a_refusal_of_the_configuration_itself_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VARIABLE", "it's a secret")
    monkeypatch.setenv("STEPS", "-5")
    file = tmp_path / "a.yaml"
    file.write_text("steps: ${oc.env:STEPS}\nname: ${oc.env:VARIABLE}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(Checked, file)
    assert 'steps=${oc.env:STEPS} and name="${oc.env:VARIABLE}" do not go together' in str(caught.value)


def test_an_error_in_a_list_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VARIABLE", "{a: hunter2")
    file = tmp_path / "a.yaml"
    file.write_text("sources: [a.jsonl, '${oc.decode:${oc.env:VARIABLE}}']\n")
    with pytest.raises(ConfigError, match=r"sources\[1\]: .*\$\{oc.env:VARIABLE\}") as caught:
        load_config(Outer, file)
    assert "hunter2" not in str(caught.value)
