"""``keel average``: one reward model from the weights of several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keel.commands.options import MaxBad
from keel.failures import failures


@failures()
def average_command(
    model: Annotated[list[Path], typer.Option(help="Directory of a trained reward model. Two or more.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory of the new model.")],
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Labelled rows to calibrate on, which no model was trained on. Default: the models' own calibration "
            "split, if they were trained on the same data."
        ),
    ] = None,
    max_bad: MaxBad = 0,
) -> None:
    """Average the weights of reward models into one model (WARM), which costs at inference what one of them does.

    The models need the same base, tokenizer and beginning of the score head: train them with one `init_seed` and with
    different seeds. The calibration is fitted anew. Exits with 2 if the models do not fit together.
    """
    from reward_models.averaging import average

    made = average(model, out, data or [], max_bad=max_bad)
    for note in made.calibration.notes:
        typer.echo(note, err=True)
    typer.echo(f"Mean of {len(model)} models, calibrated on {made.calibration.n:,} records: {out}")
