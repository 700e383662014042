"""``keel run``: the plan and what it refuses; kills, signals, changes and failures in a small project."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from training_runs import ENVIRONMENT, ROOT
from typer.testing import CliRunner

from keel.cli import app
from keel.project import ProjectConfig, load_project
from reward_models.runtime.config import load_config, presets

STAGES = ("helpful", "safety", "cold_start", "alignment")


def dry_run(file: Path | str, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["run", str(file), "--dry-run", *words])
    return done.exit_code, done.output


def start(file: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "keel.cli", "run", str(file), *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    environment = os.environ | ENVIRONMENT | {"COLUMNS": "200"}
    return subprocess.Popen(command, env=environment, text=True, start_new_session=True, **pipes)  # type: ignore[call-overload, no-any-return]


def run(file: Path, *words: str, status: int = 0) -> str:
    process = start(file, *words)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == status, said
    return said


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


# --- the plan ---------------------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_be_done_and_leaves_nothing_behind(project: Path) -> None:
    status, said = dry_run(project)
    assert status == 0, said
    assert [line for line in said.splitlines() if line[:1].isdigit()] == [
        f"{n}. {name} → out/{name}" for n, name in enumerate(STAGES, start=1)
    ]
    assert "keel train sft --config out/configs/cold_start.yaml" in said
    assert "model.path: out/cold_start (stage cold_start)" in said
    assert "data.train: demonstrations.jsonl (file)" in said
    assert not Path("out").exists()


def test_stages_are_presets_with_what_the_project_says_over_them(project: Path) -> None:
    _, stages = load_project(
        str(project),
        ["output_dir=elsewhere", "stages.alignment.settings.steps=6", "stages.alignment.settings.phases=[]"],
    )
    by_name = {stage.name: stage.config for stage in stages}
    assert by_name["alignment"].model.path == "elsewhere/cold_start"
    assert by_name["alignment"].rewards[1].arguments["model"] == "elsewhere/helpful"
    assert (by_name["alignment"].steps, by_name["alignment"].engine.lr) == (6, 1e-4)  # the latter is the preset's
    assert (by_name["cold_start"].max_steps, by_name["cold_start"].model.chat_template) == (6, "r1")
    ranks = load_project(str(project), ["stages.safety.processes=4"])[1][1]
    assert ranks.shown_command.endswith("--config out/configs/safety.yaml --processes 4")
    spread = load_project(str(project), ["stages.safety.launcher='deepspeed --hostfile hosts'"])[1][1]
    assert spread.command == [
        *("deepspeed", "--hostfile", "hosts", "--module", "reward_models.train"),
        *("--config", "out/configs/safety.yaml"),
    ]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["stages.safety.settings.epoch=1"], "stages.safety: settings: unknown key epoch; did you mean epochs?"),
        (["stages.safety.confg=x"], "unknown key stages.safety.confg; did you mean stages.safety.config?"),
        (
            ["stages.safety.config=safety_dmo"],
            "stages.safety: no configuration file or preset safety_dmo; there are safety_demo",
        ),
        (["stages.safety.settings.output_dir=x"], "is the project's to say"),
        (["stages.safety.settings.data.train=[nothing.jsonl]"], "stages.safety: data.train: no file 'nothing.jsonl'"),
        (["stages.safety.settings.data.train=['demonstrations.jsonl']"], "demonstrations.jsonl:1: "),
        (["stages.cold_start.settings.data.train=[]"], "data.train is empty"),
        (
            ["stages.alignment.settings.model.path=out/cold_strat"],
            "no stage before it is called cold_strat; did you mean cold_start?",
        ),
        (["stages.alignment.settings.model.path=out/helpful"], "which makes a helpful reward model"),
        (["stages.alignment.settings.model.path=./nothing"], "model.path: no directory ./nothing"),
        (
            ["stages.alignment.settings.rewards=[{term: helpful, arguments: {model: out/safety}}]"],
            "which makes a safety reward model",
        ),
        (["stages.alignment.settings.rewards=[{term: acuracy}]"], "no term 'acuracy'"),
        (["--only", "alignmnt"], "no stage is called alignmnt"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(words: list[str], reason: str, project: Path) -> None:
    status, said = dry_run(project, *words)
    assert (status, reason in said) == (2, True), said


def test_an_absolute_directory_is_as_good(project: Path, tmp_path: Path) -> None:
    status, said = dry_run(project, f"output_dir={tmp_path}/there")
    assert status == 0, said
    assert f"model.path: {tmp_path}/there/cold_start (stage cold_start)" in said
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "projects").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_project_that_comes_with_the_package_passes(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert path.stem in presets(ProjectConfig)
    status, said = dry_run(path.stem)
    assert status == 0, said
    assert load_config(ProjectConfig, path.stem).output_dir == f"runs/{path.stem}"


# --- runs -------------------------------------------------------------------------------------------------------------


def test_killed_stopped_and_resumed_a_project_comes_to_its_end_and_notices_changes(project: Path) -> None:
    out = Path("out")
    # SIGKILL in the middle of the first stage; a signal in the middle of the last.
    killed = start(project)
    wait_for(lambda: any((out / "helpful" / "checkpoints").glob("step-*")), killed)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert not (out / "helpful" / "manifest.json").exists()

    stopped = start(project)
    wait_for(lambda: any((out / "alignment" / "checkpoints").glob("step-*")), stopped)
    stopped.send_signal(signal.SIGINT)
    said, _ = stopped.communicate(timeout=120)
    assert stopped.returncode == 128 + signal.SIGINT, said
    assert "helpful │ going on from out/helpful/checkpoints/step-" in said
    assert "alignment was stopped by a signal; the same command goes on from there" in said
    assert "finished before" not in said

    said = run(project)
    assert [f"{name}: finished before" in said for name in STAGES] == [True, True, True, False]
    assert "alignment │ going on from" in said
    assert (out / "alignment" / "policy.json").is_file()
    page = (out / "report.html").read_text()
    assert 'href="alignment.html"' in page
    assert 'href="alignment/report.html"' in page
    assert 'href="helpful/README.md"' in page
    assert (out / "alignment.html").is_file()
    assert "saved to out/safety" in (out / "logs" / "safety.log").read_text()

    # Once more: nothing to do. Other settings or data: said, and nothing is touched.
    trained = (out / "alignment" / "policy.json").stat().st_mtime
    assert run(project).count(": finished before") == 4
    said = run(project, "stages.alignment.settings.temperature=0.5", status=2)
    assert "stages.alignment was begun with other settings or data (temperature: 1.0 there, 0.5 here)" in said
    with Path("demonstrations.jsonl").open("a") as file:
        file.write('{"prompt": "1 + 1?", "response": "<think>easy</think><answer>2</answer>"}\n')
    said = run(project, status=2)
    assert "stages.cold_start was begun with other settings or data (demonstrations.jsonl has changed)" in said
    assert "delete out/cold_start (and later stages that build on it: alignment)" in said
    assert (out / "alignment" / "policy.json").stat().st_mtime == trained
    # As it says: without the folder the stage is trained anew, and what was built on the old one is found out.
    shutil.rmtree(out / "cold_start")
    said = run(project, status=2)
    assert "cold_start │ saved to out/cold_start" in said
    assert "stages.alignment was begun with other settings or data (out/cold_start has changed)" in said


def test_a_stage_that_fails_ends_the_run_with_its_last_words(project: Path) -> None:
    said = run(project, "--only", "alignment", status=2)
    assert "stages.alignment needs cold_start, helpful, safety, which is not finished" in said
    said = run(project, "--from", "cold_start", "stages.cold_start.settings.engine.lr=1e30", status=1)
    assert "cold_start failed with status 1; out/logs/cold_start.log ends with" in said
    assert "not finite" in said
    state = json.loads((Path("out") / "project.json").read_text())
    assert state.keys() == {"cold_start"}
    assert state["cold_start"]["seconds"] > 0
