"""A stage of a project: a run of one program, its configuration, its files, and the command that starts it."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from align.config import AlignConfig
from align.reporting.manifest import MANIFEST as POLICY
from align.run import MAY_CHANGE as ALIGN_MAY_CHANGE
from align.samples.config import MAY_CHANGE as SAMPLE_MAY_CHANGE
from align.samples.config import EvaluateConfig, SampleConfig
from align.samples.evaluation_report import EVALUATION
from align.samples.manifest import manifest_of
from align.samples.selection import SelectConfig
from align.samples.selection_report import RANDOM, REPORT, TRAIN
from align.sft.trainer import MAY_CHANGE as SFT_MAY_CHANGE
from align.sft.trainer import SftConfig
from reward_models.config import MAY_CHANGE as RM_MAY_CHANGE
from reward_models.config import RewardModelConfig
from reward_models.data.manifest import MANIFEST
from reward_models.runtime.config import dump_config

SAMPLES = "samples.jsonl"  # in the directory of a stage that samples
POLICIES = ("sft", "align")  # programs that make a policy
SET_BY_THE_PROJECT = {"output_dir", "out", "overwrite"}


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """One stage of a project; it has either ``train`` or ``command``.

    Attributes:
        train: the training program: ``rm``, ``sft`` or ``align``, as in ``keel train``.
        command: a command that trains nothing: ``sample`` (``keel sample``), ``select`` (``keel data select``) or
            ``evaluate`` (``keel evaluate policy``).
        config: its YAML file or preset; without one, the program's defaults.
        settings: settings that differ from it, as a tree of keys. ``${output_dir}/NAME`` is the directory of stage
            NAME; sampling writes ``samples.jsonl`` there, and selection ``train.jsonl`` and ``random.jsonl``.
        processes: ranks on this machine, usually one per GPU.
        launcher: the command that starts the program on several machines: ``deepspeed --hostfile hosts``.
        enabled: false leaves the stage out.
    """

    train: Literal["rm", "sft", "align"] | None = None
    command: Literal["sample", "select", "evaluate"] | None = None
    config: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    processes: int = 1
    launcher: str | None = None
    enabled: bool = True

    def __post_init__(self) -> None:
        if (self.train is None) == (self.command is None):
            raise ValueError("a stage has either train (rm, sft, align) or command (sample, select, evaluate)")
        if self.processes < 1 or (self.launcher is not None and self.processes > 1):
            raise ValueError("processes must be at least 1, and a launcher starts its own")
        if self.command == "select" and (self.processes > 1 or self.launcher is not None):
            raise ValueError("command: select is one process: it takes neither processes nor a launcher")
        if taken := sorted(SET_BY_THE_PROJECT & self.settings.keys()):
            raise ValueError(f"settings: {', '.join(taken)} cannot be set in a stage: the project sets them")

    @property
    def program(self) -> str:
        """The name of the program in :data:`PROGRAMS`."""
        return self.train or self.command or ""


@dataclass(frozen=True, slots=True)
class Program:
    """A program that stages run.

    Attributes:
        words: the ``keel`` command that starts it. ``module``: what a launcher starts.
        schema: dataclass of its configuration. ``may_change``: keys that a resumed run may set differently.
        finished: the file that it writes last. ``product``: the word for what it leaves.
        out: the key that names its output, and the file in the stage's directory; empty: the directory itself.
        files: data files that it leaves for later stages.
        keeps_config: it writes ``config.yaml`` into its directory itself.
    """

    words: tuple[str, ...]
    module: str
    schema: type
    may_change: tuple[str, ...]
    finished: str
    product: str = "a model"
    out: tuple[str, str] = ("output_dir", "")
    files: tuple[str, ...] = ()
    keeps_config: bool = True


PROGRAMS = {
    "rm": Program(("train", "rm"), "reward_models.train", RewardModelConfig, RM_MAY_CHANGE, MANIFEST),
    "sft": Program(("train", "sft"), "align.train_sft", SftConfig, SFT_MAY_CHANGE, POLICY),
    "align": Program(("train", "align"), "align.train", AlignConfig, ALIGN_MAY_CHANGE, POLICY),
    "sample": Program(
        ("sample",),
        "align.sample",
        SampleConfig,
        SAMPLE_MAY_CHANGE,
        manifest_of(Path(SAMPLES)).name,
        "samples",
        ("out", SAMPLES),
        (SAMPLES,),
        keeps_config=False,
    ),
    "select": Program(
        ("data", "select"),
        "",
        SelectConfig,
        ("out", "examples"),
        REPORT,
        "a selection",
        ("out", ""),
        (TRAIN, RANDOM),
    ),
    "evaluate": Program(
        ("evaluate", "policy"),
        "align.evaluate",
        EvaluateConfig,
        SAMPLE_MAY_CHANGE,
        EVALUATION,
        "an evaluation",
        ("out", SAMPLES),
        (SAMPLES,),
        keeps_config=False,
    ),
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
        return PROGRAMS[self.settings.program]

    @property
    def resolved(self) -> str:
        return dump_config(self.config)

    @property
    def end(self) -> Path:
        """The file that is there once the stage is finished."""
        return self.directory / self.program.finished

    @property
    def finished(self) -> bool:
        return self.end.is_file()

    @property
    def command(self) -> list[str]:
        """The command line that starts the program."""
        if self.settings.launcher is not None:
            words = shlex.split(self.settings.launcher)
            return [*words, "--module", self.program.module, "--config", str(self.file)]
        ranks = ["--processes", str(self.settings.processes)] if self.settings.processes > 1 else []
        return [sys.executable, "-m", "keel.cli", *self.program.words, "--config", str(self.file), *ranks]

    @property
    def shown_command(self) -> str:
        return shlex.join(self.command).replace(shlex.join([sys.executable, "-m", "keel.cli"]), "keel")
