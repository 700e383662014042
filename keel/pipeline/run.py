"""``keel run``: run the stages of a project, each in its own process; a stopped project can be resumed."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from align.foreign import RUNS, foreign_code
from keel.failures import CommandFailed
from keel.pipeline.inputs import Input, check_rewards, inputs_of
from keel.pipeline.overview import write_overview
from keel.pipeline.programs import Ended, Line, Programs
from keel.pipeline.progress import Outcome, Page, Progress
from keel.pipeline.project import ProjectConfig
from keel.pipeline.stage import Stage
from reward_models.runtime.config import ConfigError
from reward_models.runtime.run import CONFIG_FILE, RunDirectory

STATE = "project.json"  # in the project's directory: inputs and seconds of every stage that was started


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

    def seconds(self, stage: Stage) -> float | None:
        return self.stages.get(stage.name, {}).get("seconds")

    def save(self) -> None:
        temporary = self.file.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.stages, indent=1), encoding="utf-8")
        temporary.replace(self.file)


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
            lines.append(f"   {RUNS}the launcher {stage.settings.launcher}")
        lines += [f"   {each}" for each in foreign_code(stage.config)]
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


def check(
    project: ProjectConfig, stages: Sequence[Stage], inputs: dict[str, list[Input]], todo: Sequence[Stage]
) -> None:
    """Compare the stages in ``todo`` with what is in the project's directory; nothing is written or imported.

    Raises:
        ConfigError: a stage was started with another configuration or other inputs, or needs a stage that is not
            finished.
    """
    state = State.load(Path(project.output_dir))
    for stage in todo:
        _check_unchanged(stage, inputs[stage.name], state, stages)
        _check_made(stage, inputs[stage.name], stages, todo)


def run(
    project: ProjectConfig,
    stages: Sequence[Stage],
    inputs: dict[str, list[Input]],
    todo: Sequence[Stage],
    console: Console,
    page: Page | None = None,
) -> dict[str, float]:
    """Run the stages in ``todo`` that are not finished, and write the report; returns each stage's seconds.

    Up to ``project.parallel`` stages run at the same time. A stage waits for those whose models and files it reads.

    Args:
        page: writes the report; default: an overview of the stages. It is called when a stage begins or ends, and now
            and then in between.

    Raises:
        ConfigError: a stage was started with another configuration or other inputs, or needs a stage that is not
            finished.
        StageFailed: a program failed. Others that were running have been told to save their state.
        Stopped: a signal stopped the programs, which have saved their state.
    """
    root = Path(project.output_dir)
    with _lock(root) as descriptor:
        state = State.load(root)
        for stage in todo:
            check_rewards(stage)
        check(project, stages, inputs, todo)
        outcomes = [Outcome(s, "finished before" if s.finished else "not reached", state.seconds(s)) for s in stages]
        progress = Progress(page or _overview(project), outcomes, console)
        try:
            with Programs(descriptor) as programs:
                _Runner(project, stages, inputs, state, programs, progress, console).run(todo)
        except BaseException:
            progress.write()
            progress.summary(project.name)
            raise
        progress.finish()
        progress.summary(project.name)
        return {outcome.stage.name: outcome.seconds or 0.0 for outcome in outcomes}


def _overview(project: ProjectConfig) -> Page:
    def write(outcomes: Sequence[Outcome]) -> Path:
        rows = [(each.stage, each.status, each.seconds_so_far) for each in outcomes]
        return write_overview(project.name, Path(project.output_dir), rows)

    return write


@dataclass
class _Runner:
    """Starts stages as soon as what they need is finished, and follows them to their end."""

    project: ProjectConfig
    stages: Sequence[Stage]
    inputs: dict[str, list[Input]]
    state: State
    programs: Programs
    progress: Progress
    console: Console
    failure: CommandFailed | None = None

    def run(self, todo: Sequence[Stage]) -> None:
        waiting, changed = list(todo), True
        while True:
            if self.failure is None and self.programs.received is None:
                self._start_what_can_run(waiting)
            if not self.programs.running:
                break
            if changed:  # after the next stages have been started, which do not wait for it
                self.progress.write()
            event = self.programs.next(self.progress.pause())
            if isinstance(event, Line):
                self.progress.tell(event.stage, event.text)
            changed = isinstance(event, Ended)
            if isinstance(event, Ended):
                self._end(event)
        if self.failure is not None:
            raise self.failure
        if waiting and self.programs.received is not None:
            raise Stopped("stopped by a signal; the same command goes on", self.programs.received)

    def _start_what_can_run(self, waiting: list[Stage]) -> None:
        for stage in list(waiting):
            running = {each.stage.name for each in self.progress.outcomes if each.began is not None}
            if {each.stage for each in self.inputs[stage.name]} & (running | {each.name for each in waiting}):
                continue
            if stage.finished:
                _check_unchanged(stage, self.inputs[stage.name], self.state, self.stages)
                self.console.print(f"{stage.name}: finished before, in {stage.directory}", markup=False)
                waiting.remove(stage)
            elif self.programs.running < self.project.parallel:
                _check_unchanged(stage, self.inputs[stage.name], self.state, self.stages)
                waiting.remove(stage)
                self._start(stage)

    def _start(self, stage: Stage) -> None:
        for file in (stage.file, stage.log):
            file.parent.mkdir(parents=True, exist_ok=True)
        stage.file.write_text(stage.resolved, encoding="utf-8")
        if not stage.program.keeps_config:
            stage.directory.mkdir(parents=True, exist_ok=True)
            (stage.directory / CONFIG_FILE).write_text(stage.resolved, encoding="utf-8")
        entry = self.state.stages.setdefault(stage.name, {"seconds": 0.0})
        entry["inputs"] = {f"{each.key} {each.value}": each.digest for each in self.inputs[stage.name]}
        self.state.save()
        self.console.print(f"{stage.name}: {stage.shown_command}", markup=False, soft_wrap=True)
        self._outcome(stage).begin()
        self.programs.start(stage, _threads(stage, self.project.parallel, self.inputs))

    def _end(self, ended: Ended) -> None:
        stage, received = ended.stage, self.programs.received
        failure: CommandFailed | None = None
        if stage.finished and ended.status == 0:
            status = "finished"
        elif received is not None:
            text = f"{stage.name} was stopped by a signal; the same command resumes it"
            status, failure = "stopped", Stopped(text, received)
        elif self.failure is not None:
            status = "stopped"
        else:
            status, failure = "failed", StageFailed(_reason(ended))
            self.programs.stop()
        if isinstance(failure, Stopped) and self.failure is not None:
            self.console.print(f"{failure}", markup=False, soft_wrap=True)
        self.failure = self.failure or failure
        self.state.stages[stage.name]["seconds"] += self._outcome(stage).end(status)
        self.state.save()

    def _outcome(self, stage: Stage) -> Outcome:
        return next(each for each in self.progress.outcomes if each.stage is stage)


def _threads(stage: Stage, parallel: int, inputs: dict[str, list[Input]]) -> dict[str, str]:
    """The threads of each of the stage's processes, as a variable, where stages share the cores of this machine.

    A stage has the cores to itself if every other one comes before or after it. The number does not depend on what is
    finished: with another number a resumed run would add up in another order.
    """
    beside = len(inputs) - len(_before(stage.name, inputs)) - len(_after(stage.name, inputs)) - 1
    share = min(parallel, 1 + beside) * stage.settings.processes
    if parallel == 1 or share == 1 or "OMP_NUM_THREADS" in os.environ or stage.settings.launcher is not None:
        return {}
    return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // share))}


def _before(name: str, inputs: dict[str, list[Input]]) -> set[str]:
    """The stages whose models this one needs, and those that these need."""
    direct = {each.stage for each in inputs[name] if each.stage is not None}
    return direct.union(*(_before(each, inputs) for each in direct))


def _after(name: str, inputs: dict[str, list[Input]]) -> set[str]:
    return {each for each in inputs if name in _before(each, inputs)}


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
    directory, schema = RunDirectory(stage.directory), stage.program.schema
    differs = directory.differences(stage.resolved, stage.program.may_change, schema)
    before = state.stages.get(stage.name, {}).get("inputs", {})
    for each in inputs:
        then, now = before.get(f"{each.key} {each.value}"), each.digest
        if (stage.directory / CONFIG_FILE).is_file() and None not in (then, now) and then != now:
            differs.append(f"{each.value} has changed")
    if differs:
        later = [s.name for s in stages[stages.index(stage) + 1 :] if s.directory.exists()]
        besides = f" (and later stages that build on it: {', '.join(later)})" if later else ""
        restore = directory.cannot_be_resumed(schema) or "Restore those to go on with it."
        raise ConfigError(
            f"stages.{stage.name} was started with other settings or data ({'; '.join(differs[:5])}). {restore} "
            f"Otherwise delete {stage.directory}{besides} to train it again, or choose another output_dir"
        )


def _check_made(stage: Stage, inputs: Sequence[Input], stages: Sequence[Stage], todo: Sequence[Stage]) -> None:
    """``ConfigError`` if the stage needs another one that is neither finished nor selected."""
    there = {each.name for each in stages if each.finished} | {each.name for each in todo}
    if missing := [each.stage for each in inputs if each.stage is not None and each.stage not in there]:
        raise ConfigError(f"stages.{stage.name} needs {', '.join(dict.fromkeys(missing))}, which is not finished")


def _reason(ended: Ended) -> str:
    stage = ended.stage
    output = f"{stage.log} ends with\n" + "\n".join(ended.last) if ended.last else f"{stage.log} is empty"
    if ended.status:
        text = f"{stage.name} failed with status {ended.status}; {output}"
        return f"{text}\nThe same command resumes from its last checkpoint"
    return (
        f"{stage.name} ended with status 0 and without {stage.program.product}: there is no "
        f"{stage.directory / stage.program.finished}. Either a signal stopped its program, and the same command "
        f"resumes from its last checkpoint, or the stage's launcher never started it; {output}"
    )
