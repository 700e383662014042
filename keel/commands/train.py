"""``keel train``: one command per training program."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Annotated

import typer

from keel.commands.options import Overrides, start_ranks
from keel.failures import failures

app = typer.Typer(help="Train models.", no_args_is_help=True)

Config = Annotated[str | None, typer.Option("--config", help="YAML file, or the name of a preset.")]
Processes = Annotated[int, typer.Option(min=1, help="Ranks on this machine, usually one per GPU.")]


def _help(does: str, presets: str, module: str) -> str:
    return f"""{does}

    Presets: {presets}. The same command resumes a run that was stopped or killed. For several machines start
    `deepspeed --module {module} --config FILE key=value ...`
    """


def _training(module: str) -> Callable[..., None]:
    """A command that has no options beside those of every program."""

    def command(
        overrides: Overrides = None,
        config: Config = None,
        processes: Processes = 1,
        dry_run: Annotated[
            bool, typer.Option("--dry-run", help="Print the memory that each rank needs, and stop.")
        ] = False,
    ) -> None:
        _train(module, config, [*(["--dry-run"] if dry_run else []), *(overrides or [])], processes)

    return command


RM = "Train a reward model: helpful (pairwise) or safety (point-wise), as the configuration's `task` says."
SFT = "Fine-tune a policy on demonstrations: the cold start of reinforcement learning."
ALIGN = "Train a policy by reinforcement learning: GRPO with rule-based rewards, reward models, phases."

app.command("rm", help=_help(RM, "helpful_r1, safety_one_gpu, helpful_cpu, …", "reward_models.train"))(
    _training("reward_models.train")
)
app.command("sft", help=_help(SFT, "sft_r1, sft_cpu", "align.train_sft"))(_training("align.train_sft"))


@app.command("align", help=_help(ALIGN, "r1_zero, r1_stage1, r1_stage2, cpu, …", "align.train"))
def train_align(
    overrides: Overrides = None,
    config: Config = None,
    processes: Processes = 1,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the schedule's changes, foreign code that would run, and the memory of a rank.",
        ),
    ] = False,
    shorten_to: Annotated[
        int | None,
        typer.Option(min=1, metavar="STEPS", help="Scale the whole schedule to this number of steps."),
    ] = None,
) -> None:
    options = [*(["--dry-run"] if dry_run else []), *(["--shorten-to", str(shorten_to)] if shorten_to else [])]
    _train("align.train", config, [*options, *(overrides or [])], processes)


def _train(module: str, config: str | None, overrides: list[str] | None, processes: int) -> None:
    if processes == 1:
        with failures():
            program = importlib.import_module(module)
            importlib.import_module("reward_models.runtime.program")  # loads what the extra holds; programs do so late
        raise typer.Exit(program.main([*(["--config", config] if config else []), *(overrides or [])]))
    start_ranks(module, config, overrides or [], processes)
