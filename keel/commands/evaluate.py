"""``keel evaluate``: measure models on labelled data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from keel.commands.options import (
    Columns,
    Device,
    DtypeOption,
    MaxBad,
    MaxTokens,
    Overrides,
    column_mapping,
    refuse_overwriting,
    setting,
    start_ranks,
)
from keel.failures import CommandFailed, failures

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


@app.command("policy")
@failures()
def evaluate_policy(
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="For evaluation.json, report.html and samples.jsonl.")
    ] = None,
    overrides: Overrides = None,
    model: Annotated[
        str | None, typer.Option(metavar="DIR", help="The policy: a directory, a hub name, or a GGUF file.")
    ] = None,
    prompts: Annotated[
        list[str] | None, typer.Option(metavar="DATA", help="Prompts to answer, with reference answers. Repeatable.")
    ] = None,
    samples: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Samples of keel sample, in place of a model and prompts. Repeatable."),
    ] = None,
    against: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Another policy's samples on the same prompts. Repeatable.")
    ] = None,
    number: Annotated[
        int | None, typer.Option("-n", min=1, help="Responses to each prompt: 16 by default; DeepSeek-R1 takes 64.")
    ] = None,
    server: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="A vLLM server that holds the policy. Repeatable.")
    ] = None,
    config: Annotated[str | None, typer.Option("--config", help="YAML file, or a preset of keel sample")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Ranks on this machine, usually one per GPU.")] = 1,
    overwrite: Annotated[bool, typer.Option(help="Sample anew instead of continuing.")] = False,
) -> None:
    """Evaluate a policy by several responses to each prompt: pass@1, pass@k, consensus@k, scores, lengths.

    With --model and --prompts, or a --config that names them, it samples into DIR/samples.jsonl at DeepSeek-R1's
    settings (`keel config evaluate` prints them) and continues there after a kill. With --samples it reads files of
    keel sample.
    """
    if out is None and config is None:
        raise ValueError("--out is missing: name a directory")
    if out is not None:
        _refuse_overwriting("--out", out, [*(samples or []), *(against or []), *(prompts or [])])
    if samples:
        if model or prompts or overrides or server or config or number or processes > 1:
            raise ValueError("a model, prompts and settings do not go with --samples: these were sampled already")
        if overwrite:
            raise ValueError("--overwrite samples anew, and does not go with --samples: these were sampled already")
        assert out is not None
        _measure(samples, against or [], out)
        return
    if config is None and not (model and prompts):
        raise ValueError("give either --samples, or --model and --prompts")
    words = [
        *([setting("model.path", model)] if model else []),
        *([setting("prompts.train", prompts)] if prompts else []),
        *([setting("out", str(out / "samples.jsonl"))] if out is not None else []),
        *([setting("against", against)] if against else []),
        *([setting("servers", server)] if server else []),
        *([f"samples={number}"] if number is not None else []),
        *(["overwrite=true"] if overwrite else []),
        *(overrides or []),
    ]
    _evaluate(config, words, processes)


def _measure(samples: list[str], against: list[str], out: Path) -> None:
    from align.samples.evaluate import measure
    from align.samples.evaluation_report import print_figures

    print_figures(measure(samples, against, out), str(out / "samples.jsonl"))


def _refuse_overwriting(option: str, out: Path, inputs: Sequence[str]) -> None:
    """Raise ``ValueError`` if a file that an evaluation writes into ``out`` is one that it reads."""
    refuse_overwriting(option, [out, *(out / name for name in ("evaluation.json", "report.html"))], inputs)


def _evaluate(config: str | None, words: list[str], processes: int) -> None:
    from align.samples.config import EvaluateConfig
    from reward_models.runtime.config import load_config

    settings = load_config(EvaluateConfig, config, words)
    samples, inputs = Path(settings.out), [*settings.against, *settings.prompts.train]
    refuse_overwriting("out", [samples], inputs)
    _refuse_overwriting("out", samples.parent, inputs)
    if processes > 1:
        start_ranks("align.evaluate", config, words, processes)
    from align.samples.evaluate import evaluate_policy
    from align.samples.evaluation_report import print_figures

    if (figures := evaluate_policy(settings)) is None:
        raise CommandFailed("stopped by a signal; the same command goes on", 130)
    print_figures(figures, settings.out)
