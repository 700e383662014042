"""``keel run``: run the stages of a project in order, each in its own process; a stopped project can be resumed."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.table import Table

from keel.failures import CommandFailed
from keel.pipeline.foreign import foreign_code
from keel.pipeline.inputs import Input, check_rewards, inputs_of
from keel.pipeline.overview import figures_of, write_overview
from keel.pipeline.project import ProjectConfig, Stage
from reward_models.runtime.config import ConfigError
from reward_models.runtime.run import RunDirectory

STATE = "project.json"  # in the project's directory: inputs and seconds of every stage that was started
TAIL = 15  # lines of a failed stage's log that are shown


class StageFailed(CommandFailed):
    """A stage's program has failed; its log holds the error."""


class Stopped(CommandFailed):
    """A signal has stopped the project."""

    def __init__(self, text: str, number: int) -> None:
        super().__init__(text, 128 + number)


@dataclass
class State:
    """Digests of the inputs of started stages, and their seconds, kept between calls."""

    file: Path
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def load(cls, root: Path) -> State:
        file = root / STATE
        return cls(file, json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {})

    def save(self) -> None:
        temporary = self.file.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.stages, indent=1), encoding="utf-8")
        temporary.replace(self.file)


@dataclass
class Outcome:
    """The status of a stage: ``finished``, ``finished before``, ``failed``, ``stopped`` or ``not reached``."""

    stage: Stage
    status: str = "not reached"
    seconds: float | None = None


def plan(stages: Sequence[Stage], console: Console) -> dict[str, list[Input]]:
    """Check every stage, and print what it does, what it reads and whose code it runs; returns the inputs.

    Raises:
        ConfigError: an input is missing or cannot be used.
    """
    inputs = {stage.name: inputs_of(stage, stages) for stage in stages}
    lines = []
    for number, stage in enumerate(stages, start=1):
        done = " (finished)" if stage.finished else ""
        lines += [f"{number}. {stage.name}{done} → {stage.directory}", f"   {stage.shown_command}"]
        lines += [f"   {each.key}: {each.value} ({each.what})" for each in inputs[stage.name]]
        if stage.settings.launcher is not None:
            lines.append(f"   runs other code: the launcher {stage.settings.launcher}")
        lines += [f"   runs other code: {each}" for each in foreign_code(stage.config)]
    console.print("\n".join(lines), markup=False, soft_wrap=True)
    return inputs


def chosen(stages: Sequence[Stage], only: str | None, first: str | None) -> list[Stage]:
    """Select stages by ``--only`` and ``--from``.

    Raises:
        ConfigError: there is no such stage.
    """
    names = [stage.name for stage in stages]
    for name in (only, first):
        if name is not None and name not in names:
            raise ConfigError(f"no stage is called {name}; there are {', '.join(names)}")
    start = names.index(first) if first is not None else 0
    return [stage for stage in stages[start:] if only in (None, stage.name)]


def run(
    project: ProjectConfig,
    stages: Sequence[Stage],
    inputs: dict[str, list[Input]],
    todo: Sequence[Stage],
    console: Console,
) -> dict[str, float]:
    """Run the stages in ``todo`` that are not finished, and write the overview; returns each stage's seconds.

    Raises:
        ConfigError: a stage was started with another configuration or other inputs, or needs a stage that is not
            finished.
        StageFailed: a program failed.
        Stopped: a signal stopped the program, which has saved its state.
    """
    root = Path(project.output_dir)
    with _lock(root) as descriptor:
        state = State.load(root)
        for stage in todo:
            check_rewards(stage)
            _check_unchanged(stage, inputs[stage.name], state, stages)
            _check_made(stage, inputs[stage.name], stages, todo)
        outcomes = [Outcome(stage, "finished before" if stage.finished else "not reached") for stage in stages]
        try:
            for outcome in outcomes:
                stage = outcome.stage
                if stage not in todo:
                    continue
                _check_unchanged(stage, inputs[stage.name], state, stages)
                if stage.finished:
                    console.print(f"{stage.name}: finished before, in {stage.directory}", markup=False)
                    continue
                _run_stage(outcome, inputs[stage.name], state, descriptor, console)
        finally:
            for outcome in outcomes:
                outcome.seconds = state.stages.get(outcome.stage.name, {}).get("seconds")
            _summary(project, outcomes, console)
            if any(stage.finished for stage in stages):
                rows = [(o.stage, o.status, o.seconds) for o in outcomes]
                console.print(f"Report: {write_overview(project.name, root, rows)}", soft_wrap=True)
        return {outcome.stage.name: outcome.seconds or 0.0 for outcome in outcomes}


@contextmanager
def _lock(root: Path) -> Iterator[int]:
    """Lock the project's directory against a second run. Stages inherit the lock: one may outlive this process."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{root} is locked: another keel run, or a stage that it started, works there") from None
        yield file.fileno()


def _check_unchanged(stage: Stage, inputs: Sequence[Input], state: State, stages: Sequence[Stage]) -> None:
    """``ConfigError`` if the stage was started with other settings or inputs."""
    differs = RunDirectory(stage.directory).differences(stage.resolved, stage.program.may_change)
    before = state.stages.get(stage.name, {}).get("inputs", {})
    for each in inputs:
        then, now = before.get(f"{each.key} {each.value}"), each.digest
        if (stage.directory / "config.yaml").is_file() and None not in (then, now) and then != now:
            differs.append(f"{each.value} has changed")
    if differs:
        later = [s.name for s in stages[stages.index(stage) + 1 :] if s.directory.exists()]
        besides = f" (and later stages that build on it: {', '.join(later)})" if later else ""
        raise ConfigError(
            f"stages.{stage.name} was started with other settings or data ({'; '.join(differs[:5])}). Restore those, "
            f"or delete {stage.directory}{besides} to train it again, or choose another output_dir"
        )


def _check_made(stage: Stage, inputs: Sequence[Input], stages: Sequence[Stage], todo: Sequence[Stage]) -> None:
    """``ConfigError`` if the stage needs another one that is neither finished nor selected."""
    there = {each.name for each in stages if each.finished} | {each.name for each in todo}
    if missing := [each.stage for each in inputs if each.stage is not None and each.stage not in there]:
        raise ConfigError(f"stages.{stage.name} needs {', '.join(dict.fromkeys(missing))}, which is not finished")


def _run_stage(outcome: Outcome, inputs: Sequence[Input], state: State, descriptor: int, console: Console) -> None:
    stage, began = outcome.stage, time.perf_counter()
    for file in (stage.file, stage.log):
        file.parent.mkdir(parents=True, exist_ok=True)
    stage.file.write_text(stage.resolved, encoding="utf-8")
    entry = state.stages.setdefault(stage.name, {"seconds": 0.0})
    entry["inputs"] = {f"{each.key} {each.value}": each.digest for each in inputs}
    state.save()
    console.print(f"{stage.name}: {stage.shown_command}", markup=False, soft_wrap=True)
    outcome.status = "failed"
    try:
        status, received, last = _follow(stage, descriptor, console)
    finally:
        entry["seconds"] += time.perf_counter() - began
        state.save()
    if stage.finished and status == 0:
        outcome.status = "finished"
    elif received is not None:
        outcome.status = "stopped"
        raise Stopped(f"{stage.name} was stopped by a signal; the same command resumes it", received)
    elif status == 0:
        raise StageFailed(
            f"{stage.name} ended with status 0 and without a model: there is no "
            f"{stage.directory / stage.program.finished}. Either a signal stopped its program, and the same command "
            f"resumes from its last checkpoint, or the stage's launcher never started it; {_ending(stage, last)}"
        )
    else:
        raise StageFailed(
            f"{stage.name} failed with status {status}; {_ending(stage, last)}\nThe same command resumes from its last "
            "checkpoint"
        )


def _ending(stage: Stage, last: Sequence[str]) -> str:
    return f"{stage.log} ends with\n" + "\n".join(last) if last else f"{stage.log} is empty"


def _follow(stage: Stage, descriptor: int, console: Console) -> tuple[int, int | None, list[str]]:
    """Run a stage's program, and copy its output to its log and to the console.

    Returns its exit status, the signal that was passed on to it, and its last lines.
    """
    last: deque[str] = deque(maxlen=TAIL)
    with stage.log.open("a", encoding="utf-8") as log, _program(stage, descriptor) as (process, received):
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            log.flush()
            if text := line.rstrip():
                last.append(text)
                console.print(f"{stage.name} │ {text}", markup=False, soft_wrap=True)
        return process.wait(), received[0] if received else None, list(last)


@contextmanager
def _program(stage: Stage, descriptor: int) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Start the program; yields it and the list of signals that were passed on to it.

    A terminal sends Ctrl-C to the program as well; the programs count both as one.
    """
    received: list[int] = []
    process: subprocess.Popen[str] | None = None

    def pass_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if process is not None and process.poll() is None:
            process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    pipes: dict[str, Any] = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "encoding": "utf-8",
        "errors": "replace",
    }
    try:
        process = subprocess.Popen(stage.command, env=environment, pass_fds=[descriptor], **pipes)
        if received:  # a signal arrived before the process was started
            process.send_signal(received[0])
        yield process, received
    finally:
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()
        for number, handler in before.items():
            signal.signal(number, handler)


def _summary(project: ProjectConfig, outcomes: Sequence[Outcome], console: Console) -> None:
    table = Table("stage", "status", "time", "figures", title=project.name)
    for outcome in outcomes:
        figures = "; ".join(f"{name} {value}" for name, value in figures_of(outcome.stage).items())
        table.add_row(outcome.stage.name, outcome.status, duration(outcome.seconds), figures)
    console.print(table)


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
