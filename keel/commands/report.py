"""``keel report``: one page about runs of reinforcement learning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keel.commands.options import refuse_files
from keel.failures import failures


@failures()
def report_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Directories of runs of keel train align.")],
    out: Annotated[Path | None, typer.Option(help="The page; default: report.html in the first run.")] = None,
) -> None:
    """Write a page about runs of reinforcement learning, finished or not: curves, alarms, samples, a comparison."""
    from align.reporting.report import report as write

    if out is not None:  # a page of before may be written anew
        files = (file for run in runs if run.is_dir() for file in run.iterdir() if file.suffix != ".html")
        refuse_files("--out", [out], files)
    page = write(runs, out or runs[0] / "report.html")
    typer.echo(f"Report: {page}")
