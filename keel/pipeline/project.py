"""A project: the stages from preferences to an aligned policy, each a run of one of the programs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from keel.pipeline.stage import POLICIES, PROGRAMS, SAMPLES, SET_BY_THE_PROJECT, Stage, StageConfig
from reward_models.runtime.config import ConfigError, dump_config, load_config
from reward_models.runtime.training_config import check_divisible

EVALUATE = "evaluate_"  # beginning of the name of a policy's evaluation
BASE = "base"


@dataclass(frozen=True, kw_only=True)
class PolicyEvaluation:
    """The evaluation of the base model and of every policy by ``keel evaluate policy``, on the same held-out prompts.

    Each is a stage of its own, ``evaluate_base`` and ``evaluate_NAME``; the report compares them in one table.

    Attributes:
        config: YAML file or preset of ``keel sample``. ``settings``: settings that differ from it. The project names
            the models.
        policies: stages whose policies are evaluated; empty: all of ``sft`` and ``align``. ``base_model`` is evaluated
            besides in either case, if the project names one.
        processes, launcher: as of a stage.
    """

    config: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    policies: list[str] = field(default_factory=list)
    processes: int = 1
    launcher: str | None = None

    def __post_init__(self) -> None:
        if taken := sorted((SET_BY_THE_PROJECT | {"against"}) & self.settings.keys()):
            raise ValueError(f"evaluation.settings: {', '.join(taken)} cannot be set: the project sets them")


@dataclass(frozen=True, kw_only=True)
class ProjectConfig:
    """A whole project; ``keel run FILE key=value …``.

    Attributes:
        name: name of the project, and title of its report.
        output_dir: directory of the project; every stage has a folder with its name in it.
        base_model: a model that stages may name as ``${base_model}``.
        seed: seed of every stage that sets none; ``null``: the stages' own defaults.
        parallel: how many stages may run at the same time. A stage waits for those whose models and files it reads.
            Stages that can run beside one another share the cores of the machine equally, unless ``OMP_NUM_THREADS`` is
            set; GPUs are not divided among them.
        evaluation: how the base model and the policies are evaluated; ``null``: they are not.
        stages: name → stage, in the order in which they run; with ``parallel``, in which they are started.
    """

    name: str = "project"
    output_dir: str = "runs/${name}"
    base_model: str | None = None
    seed: int | None = None
    parallel: int = 1
    evaluation: PolicyEvaluation | None = None
    stages: dict[str, StageConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.parallel < 1:
            raise ValueError(f"parallel={self.parallel} must be at least 1")
        if not self.stages:
            raise ValueError(
                "stages is empty: name at least one, e.g. stages: {helpful: {train: rm, config: helpful_cpu}}"
            )
        for name in self.stages:
            if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", name) or name in ("logs", "configs"):
                raise ValueError(
                    f"stages: {name!r} must be a name of small letters, digits and _ . -, not logs or configs"
                )
            if self.evaluation is not None and name == BASE:
                raise ValueError(f"stages: {name!r} is the name under which evaluation holds the base model")
            if self.evaluation is not None and name.startswith(EVALUATE):
                raise ValueError(f"stages: {name!r} begins with {EVALUATE}, as the names of evaluation's stages do")


def load_project(file: str, overrides: Sequence[str]) -> tuple[ProjectConfig, list[Stage]]:
    """Load a project from a file or preset, with the configuration of every stage resolved.

    Raises:
        ConfigError: the project, or a stage's configuration, cannot be used.
    """
    project = load_config(ProjectConfig, file, overrides)
    root = Path(project.output_dir)
    written = yaml.safe_load(dump_config(project))  # values from the environment stay ${oc.env:…}
    stages = {name: stage for name, stage in project.stages.items() if stage.enabled}
    if not stages:
        raise ConfigError(f"{file}: no stage is enabled")
    settings = {name: written["stages"][name]["settings"] for name in stages}
    _check_enabled(project, settings, file)
    if project.evaluation is not None:
        stages, settings = _with_evaluations(project, written["evaluation"]["settings"], stages, settings, file)
    with _folders([root / name for name in stages]):
        return project, [_stage(name, stage, settings[name], project, file) for name, stage in stages.items()]


def _check_enabled(project: ProjectConfig, settings: Mapping[str, dict[str, Any]], file: str) -> None:
    """``ConfigError`` if a stage names the directory of one that is left out."""
    left_out = [name for name, stage in project.stages.items() if not stage.enabled]
    for name, given in settings.items():
        if read := [other for other in left_out if _names(given, project.output_dir, other)]:
            raise ConfigError(f"{file}: stages.{name} reads stage {read[0]}, which has enabled: false")


def _names(settings: Any, root: str, stage: str) -> bool:
    """True if settings name the directory of a stage, or a file in it."""
    return (
        re.search(rf"{re.escape(root)}/{re.escape(stage)}(?![\w.-])", json.dumps(settings, ensure_ascii=False))
        is not None
    )


Described = tuple[dict[str, StageConfig], dict[str, dict[str, Any]]]  # stages and their settings, by name


def _with_evaluations(
    project: ProjectConfig,
    common: dict[str, Any],
    stages: Mapping[str, StageConfig],
    settings: Mapping[str, dict[str, Any]],
    file: str,
) -> Described:
    """The stages with an evaluation behind each policy, as soon as the stages that its settings name are done."""
    evaluation = project.evaluation
    assert evaluation is not None
    root, names = project.output_dir, list(stages)
    policies = evaluation.policies or [name for name in names if stages[name].train in POLICIES]
    if wrong := [name for name in policies if name not in stages or stages[name].train not in POLICIES]:
        raise ConfigError(f"{file}: evaluation.policies: {wrong[0]} is no enabled stage that trains sft or align")
    needed = max((names.index(name) + 1 for name in names if _names(common, root, name)), default=0)
    placed: dict[int, list[str]] = {}
    if project.base_model is not None:
        placed.setdefault(needed, []).append(BASE)
    for name in policies:
        placed.setdefault(max(needed, names.index(name) + 1), []).append(name)
    found: Described = ({}, {})
    for place in range(len(names) + 1):
        for policy in placed.get(place, []):
            path = project.base_model if policy == BASE and policy not in stages else f"{root}/{policy}"
            given = common | {"model": common.get("model", {}) | {"path": path}}
            if project.base_model is not None and path != project.base_model:
                given["against"] = [f"{root}/{EVALUATE}{BASE}/{SAMPLES}"]
            found[0][EVALUATE + policy] = StageConfig(
                command="evaluate",
                config=evaluation.config,
                settings=given,
                processes=evaluation.processes,
                launcher=evaluation.launcher,
            )
            found[1][EVALUATE + policy] = given
        for name in names[place : place + 1]:
            found[0][name], found[1][name] = stages[name], settings[name]
    return found


def _stage(name: str, stage: StageConfig, written: dict[str, Any], project: ProjectConfig, file: str) -> Stage:
    root, program = Path(project.output_dir), PROGRAMS[stage.program]
    given = ({} if project.seed is None else {"seed": project.seed}) | written
    words = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in given.items()]
    key, out = program.out
    words.append(f"{key}={json.dumps(str(root / name / out), ensure_ascii=False)}")
    try:
        config: Any = load_config(program.schema, stage.config, words)
        if stage.train is not None and stage.launcher is None:  # a launcher's ranks are known to the launcher
            check_divisible(stage.processes, config.engine.sequence_parallel)
    except ValueError as error:
        said = str(error).replace("the command line", "settings")
        raise ConfigError(f"{file}: stages.{name}: {said}") from error
    return Stage(name, stage, config, root / name, root / "configs" / f"{name}.yaml", root / "logs" / f"{name}.log")


@contextmanager
def _folders(folders: Sequence[Path]) -> Iterator[None]:
    """Create folders, and remove those that stay empty: a configuration refuses a model's folder that is missing."""
    missing = [path for folder in folders for path in (*reversed(folder.parents), folder) if not path.exists()]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for path in reversed(list(dict.fromkeys(missing))):
            if not any(path.iterdir()):
                path.rmdir()
