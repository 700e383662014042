"""``keel run``: the plan and what it refuses; kills, signals, changes and failures in a small project."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from itertools import count
from pathlib import Path

import preloaded
import pytest
from preloaded import ROOT
from projects import keel_run, wait_for, wait_until_unlocked

from keel.pipeline.overview import write_overview
from keel.pipeline.project import ProjectConfig, load_project
from keel.pipeline.stage import Stage, StageConfig
from reward_models.runtime.config import load_config, presets

NUMBERS = count()
STAGES = ("helpful", "cold_start", "alignment")


@pytest.fixture(autouse=True)
def _stages_are_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stages of a project find their libraries imported."""
    monkeypatch.setattr(sys, "executable", preloaded.python())


def dry_run(file: Path | str, *words: str) -> tuple[int, str]:
    return keel_run(file, "--dry-run", *words)


def refused(file: Path, *words: str) -> str:
    status, said = keel_run(file, *words)
    assert status == 2, said
    return said


def start(file: Path) -> preloaded.Program:
    return preloaded.start(["run", str(file)], file.with_name(f"said-{next(NUMBERS)}.log"), module="keel.cli")


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
    ranks = load_project(str(project), ["stages.helpful.processes=4"])[1][0]
    assert ranks.shown_command.endswith("--config out/configs/helpful.yaml --processes 4")
    spread = load_project(str(project), ["stages.helpful.launcher='deepspeed --hostfile hosts'"])[1][0]
    assert spread.command == [
        *("deepspeed", "--hostfile", "hosts", "--module", "reward_models.train"),
        *("--config", "out/configs/helpful.yaml"),
    ]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["stages.helpful.settings.epoch=1"], "stages.helpful: settings: unknown key epoch; did you mean epochs?"),
        (["stages.helpful.confg=x"], "unknown key stages.helpful.confg; did you mean stages.helpful.config?"),
        (
            ["stages.helpful.config=helpful_dmo"],
            "stages.helpful: no configuration file or preset helpful_dmo; there are helpful_demo",
        ),
        (["stages.helpful.settings.output_dir=x"], "cannot be set in a stage: the project sets them"),
        (["stages.helpful.settings.data.train=[nothing.jsonl]"], "stages.helpful: data.train: no file 'nothing.jsonl'"),
        (["stages.helpful.settings.data.train=['demonstrations.jsonl']"], "demonstrations.jsonl:1: "),
        (["stages.cold_start.settings.data.train=[]"], "data.train is empty"),
        (
            ["stages.cold_start.settings.engine.sequence_parallel=2", "stages.cold_start.processes=3"],
            "stages.cold_start: engine.sequence_parallel=2 does not divide the 3 ranks of this job",
        ),
        (
            ["stages.alignment.settings.model.path=out/cold_strat"],
            "no stage before it is called cold_strat; did you mean cold_start?",
        ),
        (["stages.alignment.settings.model.path=out/helpful"], "which makes a helpful reward model"),
        (["stages.alignment.settings.model.path=./nothing"], "model.path: no directory ./nothing"),
        (
            ["stages.alignment.settings.rewards=[{term: safety, arguments: {model: out/helpful}}]"],
            "rewards.safety names stage helpful, which makes a helpful reward model",
        ),
        (["stages.alignment.settings.rewards=[{term: acuracy}]"], "no term 'acuracy'"),
        (["--only", "alignmnt"], "no stage is called alignmnt"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(words: list[str], reason: str, project: Path) -> None:
    status, said = dry_run(project, *words)
    assert (status, reason in said) == (2, True), said


def test_a_dry_run_refuses_what_a_run_refuses(project: Path) -> None:
    """A stage that was made with other settings, one of them a setting of an earlier version."""
    _, stages = load_project(str(project), [])
    helpful = Path("out/helpful")
    helpful.mkdir(parents=True)
    resolved = stages[0].resolved.replace("batch_size: 8", "batch_size: 4") + "kind: helpful\n"
    (helpful / "config.yaml").write_text(resolved)
    (helpful / "manifest.json").write_text("{}")
    status, said = dry_run(project)
    assert status == 2
    assert "helpful (finished)" in said
    told = "stages.helpful was started with other settings or data ("
    assert f"{told}batch_size: 4 there, 8 here; kind: helpful there, a setting of an earlier version, now task)" in said
    assert "This version cannot resume it, for it refuses its configuration: config.yaml: unknown key kind" in said
    assert refused(project)[-200:] == said[-200:]
    status, said = dry_run(project, "--only", "alignment")
    assert (status, "stages.alignment needs cold_start, which is not finished" in said) == (2, True), said


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
    # SIGKILL in the middle of one stage, a signal in the middle of the next.
    killed = start(project)
    wait_for(lambda: any((out / "helpful" / "checkpoints").glob("step-*")), killed)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.join(60)
    wait_until_unlocked(out)
    assert not (out / "helpful" / "manifest.json").exists()

    stopped = start(project)
    wait_for(lambda: any((out / "cold_start" / "checkpoints").glob("step-*")), stopped)
    stopped.send(signal.SIGINT)
    said = stopped.finish(128 + signal.SIGINT, 120)
    assert "helpful │ resuming from out/helpful/checkpoints/step-" in said
    assert "cold_start was stopped by a signal; the same command resumes it" in said
    assert not (out / "cold_start" / "policy.json").exists()

    status, said = keel_run(project)
    assert status == 0, said
    assert "helpful: finished before" in said
    assert "cold_start │ resuming from" in said
    assert (out / "alignment" / "policy.json").is_file()
    page = (out / "report.html").read_text()
    for place in ("alignment.html", "alignment/report.html", "helpful/README.md", "configs/cold_start.yaml"):
        assert f'href="{place}"' in page
        assert (out / place).is_file()
    assert "saved to out/helpful" in (out / "logs" / "helpful.log").read_text()
    assert all(each["seconds"] > 0 for each in json.loads((out / "project.json").read_text()).values())

    # Once more: nothing to do. Other settings or data: said, and nothing is touched.
    trained = (out / "alignment" / "policy.json").stat().st_mtime
    status, said = keel_run(project)
    assert (status, said.count(": finished before")) == (0, 3)
    said = refused(project, "stages.alignment.settings.temperature=0.5")
    assert "stages.alignment was started with other settings or data (temperature: 1.0 there, 0.5 here)" in said
    assert "delete out/alignment to train it again" in said
    assert keel_run(project, "stages.alignment.settings.save_every=2")[0] == 0  # how it is kept, not what it is
    with Path("demonstrations.jsonl").open("a") as file:
        file.write(json.dumps({"prompt": "1 + 1?", "response": "<think>easy</think><answer>2</answer>"}) + "\n")
    said = refused(project)
    assert "stages.cold_start was started with other settings or data (demonstrations.jsonl has changed)" in said
    assert "delete out/cold_start (and later stages that build on it: alignment)" in said
    assert keel_run(project, "--from", "alignment")[0] == 0  # what comes before is taken as it stands
    manifest = out / "cold_start" / "policy.json"
    manifest.write_text(manifest.read_text().replace('"steps": 6', '"steps": 7'))
    assert "stages.alignment was started with other settings or data (out/cold_start has changed)" in refused(
        project, "--only", "alignment"
    )
    assert (out / "alignment" / "policy.json").stat().st_mtime == trained


def test_what_a_stage_needs_and_nobody_makes_is_said_at_once(project: Path) -> None:
    assert "stages.alignment needs cold_start, helpful, which is not finished" in refused(
        project, "--only", "alignment"
    )
    assert "stages.alignment needs helpful, which is not finished" in refused(project, "--from", "cold_start")


def test_a_stage_that_fails_ends_the_run_with_its_last_words(project: Path) -> None:
    status, said = keel_run(project, "--only", "cold_start", "stages.cold_start.settings.engine.lr=1e30")
    assert status == 1
    assert "cold_start failed with status 1; out/logs/cold_start.log ends with" in said
    assert "not finite" in said
    assert not (Path("out") / "cold_start" / "policy.json").exists()


def test_a_launcher_that_leaves_no_model_is_an_error(project: Path) -> None:
    """``true`` ends with status 0 and starts nothing."""
    status, said = keel_run(project, "--only", "helpful", "stages.helpful.launcher='true'")
    assert status == 1
    assert "helpful ended with status 0 and without a model: there is no out/helpful/manifest.json" in said
    assert "the stage's launcher never started it; out/logs/helpful.log is empty" in said


def test_a_run_that_has_logged_nothing_yet_has_a_place_in_the_overview(project: Path) -> None:
    loaded, stages = load_project(str(project), [])
    stages[-1].directory.mkdir(parents=True)
    (stages[-1].directory / "metrics.jsonl").touch()
    page = write_overview(loaded.name, Path(loaded.output_dir), [(stage, "failed", None) for stage in stages])
    assert "alignment" in page.read_text()


def test_a_selection_of_an_earlier_version_has_its_figures_in_the_overview(tmp_path: Path) -> None:
    """They stood under another name, and before that nowhere."""
    tokens = {"rows": 3, "share": 1.0, "tokens_mean": 20.0, "r1_rows": 5, "r1_share": 0.5, "r1_tokens_mean": 100.0}
    figures = {"prompts": 2, "correct": 0.75, "reward_mean": None, "tokens_mean": 20.0, "truncated": 0.0}
    report = {
        "samples": 8,
        "kept": 3,
        "filters": [{"filter": "wrong", "dropped": 5, "left": 3}],
        "by_domain": {
            "reasoning": {"samples": 8, "kept": 3, "filters": [{"filter": "wrong", "dropped": 5, "left": 3}]}
        },
        "subjects": {"mathematics": tokens},
    }
    sets = {"selected": {"rows": 3_141, **figures}, "random": {"rows": 2_718, **figures}}
    folder = tmp_path / "selection"
    folder.mkdir()
    stage = Stage("selection", StageConfig(command="select"), None, folder, tmp_path / "x.yaml", tmp_path / "x.log")
    for entry in ({"sets": sets}, {"arms": sets}, {}):
        (folder / "report.json").write_text(json.dumps(report | entry))
        page = write_overview("old", tmp_path, [(stage, "finished", 1.0)]).read_text()
        assert "3 of 8" in page
        assert "Samples by filter" in page
        assert ("3,141" in page) == ("2,718" in page) == bool(entry)


def test_curves_are_drawn_anew_only_when_a_run_has_logged_more(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Path] = []

    def draw(runs: list[Path], page: Path) -> None:
        drawn.extend(runs)
        page.write_text("curves")

    monkeypatch.setattr("keel.pipeline.overview.alignment_report", draw)
    loaded, stages = load_project(str(project), [])
    log = stages[-1].directory / "metrics.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text('{"step": 1, "reward": 0.5}\n')
    rows = [(stage, "running", None) for stage in stages]
    for expected in (1, 1):
        write_overview(loaded.name, Path(loaded.output_dir), rows)
        assert len(drawn) == expected
    later = time.time() + 5
    os.utime(log, (later, later))
    write_overview(loaded.name, Path(loaded.output_dir), rows)
    assert drawn == [stages[-1].directory] * 2
