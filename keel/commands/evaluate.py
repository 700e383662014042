"""``keel evaluate``: measure models on labelled data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keel.commands.options import Columns, Device, DtypeOption, MaxBad, MaxTokens, column_mapping, refuse_overwriting
from keel.failures import failures

app = typer.Typer(help="Evaluate models.", no_args_is_help=True)


@app.command("rm")
@failures()
def evaluate_rm(
    model: Annotated[
        list[str], typer.Option(help="Directory of a trained reward model, or a hub name. Several are an ensemble.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory for evaluation.json and report.html.")],
    data: Annotated[
        list[str] | None,
        typer.Option(help="File, glob or hub data set of labelled rows; each is reported separately. Repeatable."),
    ] = None,
    best_of_n: Annotated[
        list[str] | None,
        typer.Option(help="Rows with lists of right (chosen) and wrong (rejected) responses, as in RewardBench 2."),
    ] = None,
    rewardbench: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Rows of RewardBench or RewardBench 2, reported by its sections."),
    ] = None,
    k: Annotated[
        float, typer.Option(min=0, help="Number of standard deviations below the mean in an ensemble's lower bound.")
    ] = 1.0,
    column: Columns = None,
    max_tokens: MaxTokens = None,
    device: Device = None,
    dtype: DtypeOption = None,
    max_bad: MaxBad = 0,
) -> None:
    """Evaluate reward models on labelled data: figures in evaluation.json, plots and examples in report.html.

    A helpful model needs pairs, a safety model labelled responses. Exits with 1 if there are more bad rows than
    --max-bad, with 2 if a model or a source cannot be used.
    """
    from reward_models.evaluation.evaluate import assess, assess_ensemble, load_evaluation
    from reward_models.evaluation.report import write_evaluation
    from reward_models.inference.ensemble import Ensemble
    from reward_models.inference.reward_model import RewardModel

    inputs = [*(data or []), *(best_of_n or []), *([rewardbench] if rewardbench else [])]
    refuse_overwriting("--out", [out, out / "evaluation.json", out / "report.html"], inputs)
    columns = column_mapping(column)
    models = [RewardModel.load(path, device=device, dtype=dtype, max_tokens=max_tokens) for path in model]
    ensemble = Ensemble(models, k=k) if len(models) > 1 else None
    rows = load_evaluation(models[0].task, data or [], best_of_n or [], rewardbench, columns=columns, max_bad=max_bad)
    assessment = assess(models[0], rows) if ensemble is None else assess_ensemble(ensemble, rows)
    report = write_evaluation(assessment, out)
    if rows.bad:
        typer.echo(f"{rows.bad:,} bad rows were left out", err=True)
    if cut := sum(each.truncated for each in models):
        typer.echo(f"{cut:,} responses were longer than the model's limit and were cut", err=True)
    typer.echo(f"Report: {report}")
