"""``keel train``: one command per training program."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from typing import Annotated

import typer

from keel.commands.options import Overrides
from keel.failures import failures

app = typer.Typer(help="Train models.", no_args_is_help=True)

ConfigOption = Annotated[
    str | None, typer.Option("--config", help="YAML file, or a preset: helpful_r1, safety_one_gpu, helpful_cpu, …")
]
Processes = Annotated[int, typer.Option(min=1, help="Ranks on this machine, usually one per GPU.")]


@app.command("rm")
def train_rm(
    overrides: Overrides = None,
    config: ConfigOption = None,
    processes: Processes = 1,
) -> None:
    """Train a reward model: helpful (pairwise) or safety (point-wise), as the configuration's `task` says.

    The same command resumes a run that was stopped or killed. For several machines start
    `deepspeed --module reward_models.train --config FILE key=value ...`
    """
    _train("reward_models.train", config, overrides, processes)


@app.command("sft")
def train_sft(
    overrides: Overrides = None,
    config: Annotated[str | None, typer.Option("--config", help="YAML file, or a preset: sft_r1, sft_cpu")] = None,
    processes: Processes = 1,
) -> None:
    """Fine-tune a policy on demonstrations: the cold start of reinforcement learning.

    The same command resumes a run that was stopped or killed. For several machines start
    `deepspeed --module align.train_sft --config FILE key=value ...`
    """
    _train("align.train_sft", config, overrides, processes)


@app.command("align")
def train_align(
    overrides: Overrides = None,
    config: Annotated[
        str | None, typer.Option("--config", help="YAML file, or a preset: r1_zero, r1_stage1, r1_stage2, cpu, …")
    ] = None,
    processes: Processes = 1,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print every change of the schedule and the foreign code that would run, and stop."
        ),
    ] = False,
    shorten_to: Annotated[
        int | None,
        typer.Option(min=1, metavar="STEPS", help="Scale the whole schedule to this number of steps."),
    ] = None,
) -> None:
    """Train a policy by reinforcement learning: GRPO with rule-based rewards, reward models, phases.

    The same command resumes a run that was stopped or killed. For several machines start
    `deepspeed --module align.train --config FILE key=value ...`
    """
    if dry_run:
        _print_foreign_code(config, overrides or [])
    options = [*(["--dry-run"] if dry_run else []), *(["--shorten-to", str(shorten_to)] if shorten_to else [])]
    _train("align.train", config, [*options, *(overrides or [])], processes)


def _print_foreign_code(config: str | None, overrides: list[str]) -> None:
    """A configuration that cannot be loaded is left to the program, which says what is wrong with it."""
    from align.config import AlignConfig
    from keel.pipeline.foreign import foreign_code
    from reward_models.runtime.config import ConfigError, load_config

    with suppress(ConfigError):
        for each in foreign_code(load_config(AlignConfig, config, overrides)):
            typer.echo(f"runs other code: {each}")


def _train(module: str, config: str | None, overrides: list[str] | None, processes: int) -> None:
    words = [*(["--config", config] if config else []), *(overrides or [])]
    if processes == 1:
        with failures():
            program = importlib.import_module(module)
        raise typer.Exit(program.main(words))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    os.execv(sys.executable, [*launch, "--module", module, *words])  # signals reach the launcher itself
