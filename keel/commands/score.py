"""``keel score``: score files of responses with a reward model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from keel.commands.options import Columns, Device, DtypeOption, MaxBad, MaxTokens, column_mapping, output_file
from keel.failures import CommandFailed, failures


@failures("models")
def score_command(
    model: Annotated[str, typer.Option(help="Directory of a trained reward model, or a hub name.")],
    data: Annotated[list[str], typer.Option(help="File, glob or hub data set with responses. Repeatable.")],
    out: Annotated[Path, typer.Option(help="JSONL file to write: one line per row, in order.")],
    column: Columns = None,
    max_tokens: MaxTokens = None,
    device: Device = None,
    dtype: DtypeOption = None,
    max_bad: MaxBad = 0,
    overwrite: Annotated[bool, typer.Option(help="Replace the file instead of resuming after its last line.")] = False,
) -> None:
    """Score every response of files or data sets.

    A pair gives {"chosen": {"raw", "calibrated"}, "rejected": {...}}, a single response {"response": {...}}, a row that
    cannot be read {"error", "file", "line"}. The same command resumes a file that was left unfinished. Exits with
    1 if there are more bad rows than --max-bad, with 2 if the model or a source cannot be read.
    """
    from reward_models.inference.reward_model import RewardModel
    from reward_models.inference.score_files import score_files

    output_file("--out", out, data)
    with _rows_bar("scoring") as advance:
        loaded = RewardModel.load(model, device=device, dtype=dtype, max_tokens=max_tokens)
        columns = column_mapping(column)
        report = score_files(loaded, data, out, columns=columns, overwrite=overwrite, on_rows=advance)
    resumed = f", {report.resumed:,} of them from an earlier run" if report.resumed else ""
    cut = (
        f"; {report.truncated:,} responses were longer than the model's limit and were cut" if report.truncated else ""
    )
    typer.echo(f"{report.rows:,} rows in {out}{resumed}{cut}", err=True)
    if report.bad > max_bad:
        raise CommandFailed(f"{report.bad} bad rows, {max_bad} allowed (--max-bad)")


@contextmanager
def _rows_bar(title: str) -> Iterator[Callable[[int], None]]:
    """Show the number of rows and their rate on a terminal; yields the function that adds rows."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    text = TextColumn(f"{title}: {{task.completed:,.0f}} rows, {{task.fields[rate]}}")
    columns = (SpinnerColumn(), text, TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None, rate="")

        def advance(rows: int) -> None:
            bar.update(task, advance=rows)
            if speed := bar.tasks[0].speed:
                bar.update(task, rate=f"{speed:,.0f} a second")

        yield advance
