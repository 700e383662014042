"""A project: the stages from preferences to an aligned policy, each a training run of one of the programs."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from align.config import AlignConfig
from align.reporting.manifest import MANIFEST as POLICY
from align.run import MAY_CHANGE as ALIGN_MAY_CHANGE
from align.sft.trainer import MAY_CHANGE as SFT_MAY_CHANGE
from align.sft.trainer import SftConfig
from reward_models.config import MAY_CHANGE as RM_MAY_CHANGE
from reward_models.config import RewardModelConfig
from reward_models.data.manifest import MANIFEST
from reward_models.runtime.config import ConfigError, dump_config, load_config


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """One stage of a project.

    Attributes:
        train: the training program: ``rm``, ``sft`` or ``align``, as in ``keel train``.
        config: its YAML file or preset.
        settings: settings that differ from it, as a tree of keys. ``${output_dir}/NAME`` is the directory of stage
            NAME.
        processes: ranks on this machine, usually one per GPU.
        launcher: the command that starts the program on several machines: ``deepspeed --hostfile hosts``.
    """

    train: Literal["rm", "sft", "align"]
    config: str
    settings: dict[str, Any] = field(default_factory=dict)
    processes: int = 1
    launcher: str | None = None

    def __post_init__(self) -> None:
        if self.processes < 1 or (self.launcher is not None and self.processes > 1):
            raise ValueError("processes must be at least 1, and a launcher starts its own")
        if taken := sorted({"output_dir", "overwrite"} & self.settings.keys()):
            raise ValueError(f"settings: {', '.join(taken)} cannot be set in a stage: the project sets them")


@dataclass(frozen=True, kw_only=True)
class ProjectConfig:
    """A whole project; ``keel run FILE key=value …``.

    Attributes:
        name: name of the project, and title of its report.
        output_dir: directory of the project; every stage has a folder with its name in it.
        base_model: a model that stages may name as ``${base_model}``.
        seed: seed of every stage that sets none; ``null``: the stages' own defaults.
        parallel: how many stages may run at the same time. A stage waits for those whose models it reads. Stages that
            can run beside one another share the cores of the machine equally, unless ``OMP_NUM_THREADS`` is set; GPUs
            are not divided among them.
        stages: name → stage, in the order in which they run; with ``parallel``, in which they are started.
    """

    name: str = "project"
    output_dir: str = "runs/${name}"
    base_model: str | None = None
    seed: int | None = None
    parallel: int = 1
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


@dataclass(frozen=True, slots=True)
class Program:
    """A training program.

    Attributes:
        schema: dataclass of its configuration. ``may_change``: keys that a resumed run may set differently.
        finished: the file that it writes last.
    """

    module: str
    schema: type
    may_change: tuple[str, ...]
    finished: str


PROGRAMS = {
    "rm": Program("reward_models.train", RewardModelConfig, RM_MAY_CHANGE, MANIFEST),
    "sft": Program("align.train_sft", SftConfig, SFT_MAY_CHANGE, POLICY),
    "align": Program("align.train", AlignConfig, ALIGN_MAY_CHANGE, POLICY),
}


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage with its resolved configuration.

    Attributes:
        config: configuration of its program. ``directory``: the program's output directory.
        file: file of the resolved configuration. ``log``: file of the program's output.
    """

    name: str
    settings: StageConfig
    config: Any
    directory: Path
    file: Path
    log: Path

    @property
    def program(self) -> Program:
        return PROGRAMS[self.settings.train]

    @property
    def resolved(self) -> str:
        return dump_config(self.config)

    @property
    def finished(self) -> bool:
        return (self.directory / self.program.finished).is_file()

    @property
    def command(self) -> list[str]:
        """The command line that starts the program."""
        if self.settings.launcher is not None:
            words = shlex.split(self.settings.launcher)
            return [*words, "--module", self.program.module, "--config", str(self.file)]
        ranks = ["--processes", str(self.settings.processes)] if self.settings.processes > 1 else []
        return [sys.executable, "-m", "keel.cli", "train", self.settings.train, "--config", str(self.file), *ranks]

    @property
    def shown_command(self) -> str:
        return shlex.join(self.command).replace(shlex.join([sys.executable, "-m", "keel.cli"]), "keel")


def load_project(file: str, overrides: Sequence[str]) -> tuple[ProjectConfig, list[Stage]]:
    """Load a project from a file or preset, with the configuration of every stage resolved.

    Raises:
        ConfigError: the project, or a stage's configuration, cannot be used.
    """
    project = load_config(ProjectConfig, file, overrides)
    root = Path(project.output_dir)
    with _folders([root / name for name in project.stages]):
        written = yaml.safe_load(dump_config(project))["stages"]  # values from the environment stay ${oc.env:…}
        return project, [_stage(name, project, written[name]["settings"], file) for name in project.stages]


def _stage(name: str, project: ProjectConfig, written: dict[str, Any], file: str) -> Stage:
    settings, root = project.stages[name], Path(project.output_dir)
    given = ({} if project.seed is None else {"seed": project.seed}) | written
    words = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in given.items()]
    words.append(f"output_dir={json.dumps(str(root / name), ensure_ascii=False)}")
    try:
        config: Any = load_config(PROGRAMS[settings.train].schema, settings.config, words)
    except ConfigError as error:
        said = str(error).replace("the command line", "settings")
        raise ConfigError(f"{file}: stages.{name}: {said}") from error
    return Stage(name, settings, config, root / name, root / "configs" / f"{name}.yaml", root / "logs" / f"{name}.log")


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
