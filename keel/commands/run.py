"""``keel run`` and ``keel demo``: the stages of a project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keel.commands.options import Overrides
from keel.failures import failures


@failures()
def run_command(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="YAML of a project, or a preset: cpu, r1_cpu, r1_one_gpu, r1, …")
    ],
    overrides: Overrides = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check every stage, print the plan, and stop.")] = False,
    only: Annotated[str | None, typer.Option("--only", metavar="STAGE", help="Run only this stage.")] = None,
    first: Annotated[
        str | None, typer.Option("--from", metavar="STAGE", help="Run this stage and those after it.")
    ] = None,
) -> None:
    """Run the stages of a project: from preferences to an aligned policy.

    The same command resumes a project that was stopped or killed; finished stages are not trained again. Exits with 2
    if the project cannot be run as it is, with 1 if a stage fails, with 128 + the signal's number where one stops it.
    """
    from rich.console import Console

    from keel.pipeline import run as projects
    from keel.pipeline.project import load_project

    console = Console(highlight=False)
    project, stages = load_project(file, overrides or [])
    todo = projects.chosen(stages, only, first)
    inputs = projects.plan(stages, console)
    if dry_run:
        projects.check(project, stages, inputs, todo)
        return
    projects.run(project, stages, inputs, todo, console)


@failures()
def demo_command(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[key=value]...", help="Settings of the project, e.g. stages.stage2.settings.steps=60"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Directory for the models and the report.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Seed of every random draw.")] = 0,
) -> None:
    """Train reward models and align a policy on built-in data: on a CPU, without network, in about five minutes.

    The project `demo`: both reward models and a cold start side by side, then reinforcement learning in two phases. The
    report is there from the beginning, and grows until it shows the figures before and after. The same command resumes
    the demo after a stop; finished stages are not trained again.
    """
    typer.echo("loading the libraries")
    from keel.pipeline.demo import run

    run(out, seed, overrides or [])
