"""The stages that the benchmark of DeepSeek-R1's stages repeats with other seeds."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import real_rl

from align.config import AlignConfig
from align.samples.config import EvaluateConfig
from reward_models.runtime.config import load_config


def test_the_reasoning_stage_is_repeated_with_the_settings_of_this_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of an earlier version in the project's folder, with keys that are no longer there, are not read."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> None:
        commands.append(command)

    monkeypatch.setattr(subprocess, "run", run)
    project = tmp_path / "r1_cpu"
    (project / "configs").mkdir(parents=True)
    (project / "configs" / "reasoning.yaml").write_text("loss: {importance_correction: always}\n")
    (project / "cold_start").mkdir()
    (tmp_path / "r1_cpu_reasoning_7").mkdir()
    out = real_rl.repeat_reasoning(project, ["stages.reasoning.settings.steps=12"], 7)
    assert out == tmp_path / "r1_cpu_reasoning_7"
    read = []
    for command, program, schema in zip(
        commands, ("align.train", "align.evaluate"), (AlignConfig, EvaluateConfig), strict=True
    ):
        assert program in command
        file, *words = command[command.index("--config") + 1 :]
        read.append(load_config(schema, file, words))
    training, evaluation = read
    assert (training.seed, training.steps, training.output_dir) == (7, 12, str(out))
    assert training.model.path == f"{project}/cold_start"
    assert (evaluation.model.path, evaluation.out) == (str(out), str(out / "evaluation" / "samples.jsonl"))


def test_a_repeat_that_is_evaluated_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("it began a program"))
    made = tmp_path / "p_reasoning_2" / "evaluation"
    made.mkdir(parents=True)
    (made / "evaluation.json").touch()
    assert real_rl.repeat_reasoning(tmp_path / "p", [], 2) == made.parent
