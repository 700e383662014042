"""Values from the environment reach the run and are not written down."""

from __future__ import annotations

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
