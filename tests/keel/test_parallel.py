"""Stages that run at the same time: who waits for whom, threads, signals, failures. Their programs are stand-ins."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from keel.cli import app
from keel.pipeline.inputs import inputs_of
from keel.pipeline.project import load_project
from keel.pipeline.run import _threads

# Takes the place of a training program: it notes when it ran and with how many threads, waits until a file that is
# called `go` exists, and leaves a model. SIGTERM and SIGINT end it early.
PROGRAM = """
import json, os, pathlib, signal, sys, time, yaml

def stop(number, frame):
    print("saved", flush=True)
    raise SystemExit(0)

signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
out = pathlib.Path(yaml.safe_load(pathlib.Path(sys.argv[sys.argv.index("--config") + 1]).read_text())["output_dir"])
out.mkdir(parents=True, exist_ok=True)
began = time.time()
print("begun", flush=True)
if (out.parent / f"fail-{out.name}").exists():
    raise SystemExit("no luck")
while not (out.parent / "go").exists():
    time.sleep(0.01)
page = (out.parent / "report.html").read_text()
(out / "seen.json").write_text(json.dumps({"began": began, "ended": time.time(), "page": page}))
(out / ("manifest.json" if out.name == "helpful" else "policy.json")).write_text("{}")
"""


@pytest.fixture
def words(project: Path) -> list[str]:
    """The command line of the project with stand-ins, two at a time."""
    Path("program.py").write_text(PROGRAM)
    Path("out").mkdir()
    launcher = f"{sys.executable} {Path('program.py').resolve()}"
    stages = ("helpful", "cold_start", "alignment")
    return ["run", str(project), "parallel=2", *(f"stages.{name}.launcher='{launcher}'" for name in stages)]


def run(words: list[str]) -> tuple[int, str]:
    done = CliRunner().invoke(app, words)
    return done.exit_code, done.output


def noted(stage: str) -> dict[str, Any]:
    """When the stage's program began and ended, and the report as it was then."""
    seen: dict[str, Any] = json.loads(Path(f"out/{stage}/seen.json").read_text())
    return seen


def when(happened: Path, act: str | int) -> threading.Thread:
    """A thread that waits for a file, and then creates the file ``go``, or sends this process a signal."""

    def watch() -> None:
        end = time.monotonic() + 60
        while not happened.is_file() and time.monotonic() < end:
            time.sleep(0.01)
        Path(act).touch() if isinstance(act, str) else os.kill(os.getpid(), act)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def begun(*stages: str) -> Path:
    """A file that is there once the programs of all these stages say that they have begun."""
    mark = Path("begun").resolve()
    logs = [Path("out/logs") / f"{stage}.log" for stage in stages]

    def watch() -> None:
        end = time.monotonic() + 60
        while not all(log.is_file() and "begun" in log.read_text() for log in logs) and time.monotonic() < end:
            time.sleep(0.01)
        mark.touch()

    threading.Thread(target=watch).start()
    return mark


def test_stages_run_side_by_side_and_after_those_that_they_need(words: list[str]) -> None:
    thread = when(begun("helpful", "cold_start"), "out/go")
    status, said = run(words)
    thread.join()
    assert status == 0, said
    seen = {name: noted(name) for name in ("helpful", "cold_start", "alignment")}
    assert seen["helpful"]["began"] < seen["cold_start"]["ended"]
    assert seen["cold_start"]["began"] < seen["helpful"]["ended"]
    assert seen["alignment"]["began"] > max(seen["helpful"]["ended"], seen["cold_start"]["ended"])
    # The report was there while they ran, and said so.
    for stage in seen.values():
        assert '<meta http-equiv="refresh"' in stage["page"]
        assert "running" in stage["page"]
    page = Path("out/report.html").read_text()
    assert '<meta http-equiv="refresh"' not in page
    assert "running" not in page
    assert page.count("finished") == 3


def test_a_signal_stops_all_and_the_same_command_goes_on(words: list[str]) -> None:
    thread = when(begun("helpful", "cold_start"), signal.SIGINT)
    status, said = run(words)
    thread.join()
    assert status == 128 + signal.SIGINT, said
    for name in ("helpful", "cold_start"):
        assert f"{name} │ saved" in said
        assert f"{name} was stopped by a signal; the same command resumes it" in said
    assert not Path("out/alignment").exists()
    Path("out/go").touch()
    assert run(words)[0] == 0
    assert Path("out/alignment/policy.json").is_file()


def test_where_one_fails_the_others_save_and_end(words: list[str]) -> None:
    Path("out/fail-cold_start").touch()
    status, said = run(words)
    assert status == 1
    assert "cold_start failed with status 1; out/logs/cold_start.log ends with" in said
    assert "no luck" in said
    output = Path("out/logs/helpful.log").read_text()
    assert "saved" in output or "begun" not in output  # a program that has only just been started ends at once
    assert re.search(r"helpful +│ stopped", said)
    assert not Path("out/alignment").exists()


def test_one_at_a_time_is_the_default(words: list[str]) -> None:
    Path("out/go").touch()
    status, said = run([word for word in words if word != "parallel=2"])
    assert status == 0, said
    assert noted("helpful")["ended"] < noted("cold_start")["began"]


def test_where_the_stages_are_silent_a_line_says_what_runs(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keel.pipeline.progress.QUIET_SECONDS", 0.2)
    mark = begun("helpful", "cold_start")

    def let_go() -> None:  # both are silent for a while, however long they took to begin
        while not mark.is_file():
            time.sleep(0.02)
        time.sleep(1.5)
        Path("out/go").touch()

    threading.Thread(target=let_go).start()
    _, said = run(words)
    assert "running: helpful (" in said
    assert "s), cold_start (" in said


def test_stages_that_may_run_side_by_side_share_the_cores(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    _, stages = load_project(str(project), ["stages.alignment.processes=2"])
    inputs = {stage.name: inputs_of(stage, stages) for stage in stages}
    shares = {stage.name: _threads(stage, 2, inputs) for stage in stages}
    # helpful and cold_start are beside each other; alignment has the machine to itself, for two ranks
    assert {name: int(each["OMP_NUM_THREADS"]) for name, each in shares.items()} == dict.fromkeys(shares, 4)
    assert [_threads(stage, 1, inputs) for stage in stages] == [{}] * 3
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert [_threads(stage, 2, inputs) for stage in stages] == [{}] * 3  # what the user has set stays


def test_parallel_is_at_least_one(project: Path) -> None:
    status, said = run(["run", str(project), "--dry-run", "parallel=0"])
    assert (status, "parallel=0 must be at least 1" in said) == (2, True)


def test_the_demo_trains_reward_models_beside_the_cold_start() -> None:
    """The ancestors of stage 2, none of which needs another."""
    project, stages = load_project("demo", ["output_dir=/tmp/nothing"])
    inputs = {stage.name: inputs_of(stage, stages) for stage in stages}
    needs = {name: {each.stage for each in found if each.stage} for name, found in inputs.items()}
    assert needs == {
        "cold_start": set(),
        "helpful_rm": set(),
        "safety_rm": set(),
        "stage2": {"cold_start", "helpful_rm", "safety_rm"},
    }
    assert project.parallel == 2
