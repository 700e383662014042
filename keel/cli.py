"""The root command. Each package brings its own sub-commands; heavy imports wait until a command runs."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from keel.commands import annotate as annotate_commands
from keel.commands import data as data_commands
from keel.commands.curate import curate_command
from keel.commands.serve import serve_command

app = typer.Typer(
    help="Preferences in, an aligned language model out.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,
)
train_app = typer.Typer(help="Train models.", no_args_is_help=True)
evaluate_app = typer.Typer(help="Evaluate models.", no_args_is_help=True)
data_commands.app.command("curate")(curate_command)
app.command("serve")(serve_command)
app.add_typer(annotate_commands.app, name="annotate")
app.add_typer(data_commands.app, name="data")
app.add_typer(train_app, name="train")
app.add_typer(evaluate_app, name="evaluate")

Dtype = Literal["fp32", "bf16", "fp16"]
ConfigOption = Annotated[
    str | None, typer.Option("--config", help="YAML file, or a preset: helpful_r1, safety_one_gpu, helpful_cpu, …")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[key=value]...", help="Settings over the file's, e.g. engine.lr=1e-5 data.train=[a.jsonl]"),
]
Processes = Annotated[int, typer.Option(min=1, help="Ranks on this machine, usually one per GPU.")]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", metavar="OURS=THEIRS", help="A column of ours under another name. Repeatable."),
]
MaxTokens = Annotated[
    int | None,
    typer.Option(min=1, help="Tokens of one forward pass; memory grows with it. Default: 16384, on a CPU 4096."),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; default: the GPU if there is one.")]
DtypeOption = Annotated[Dtype | None, typer.Option("--dtype", help="Of weights and computation; default: as saved.")]


@train_app.command("rm")
def train_rm(
    overrides: Overrides = None,
    config: ConfigOption = None,
    processes: Processes = 1,
) -> None:
    """Train a reward model: helpful (pairwise) or safety (point-wise), as the configuration's `kind` says.

    The same command goes on with a run that was stopped or killed. For several machines start
    `deepspeed --module reward_models.train --config FILE key=value ...`
    """
    _train("reward_models.train", config, overrides, processes)


@train_app.command("sft")
def train_sft(
    overrides: Overrides = None,
    config: Annotated[str | None, typer.Option("--config", help="YAML file, or a preset: sft_r1, sft_cpu")] = None,
    processes: Processes = 1,
) -> None:
    """Fine-tune a policy on demonstrations: the cold start of reinforcement learning.

    The same command goes on with a run that was stopped or killed. For several machines start
    `deepspeed --module align.train_sft --config FILE key=value ...`
    """
    _train("align.train_sft", config, overrides, processes)


@train_app.command("align")
def train_align(
    overrides: Overrides = None,
    config: Annotated[
        str | None, typer.Option("--config", help="YAML file, or a preset: r1_zero, r1_stage1, r1_stage2, cpu, …")
    ] = None,
    processes: Processes = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print every change that the schedule makes, and leave.")
    ] = False,
    shorten_to: Annotated[
        int | None,
        typer.Option(min=1, metavar="STEPS", help="The whole schedule in so many steps, everything in proportion."),
    ] = None,
) -> None:
    """Train a policy by reinforcement learning: GRPO with rule-based rewards, reward models, phases.

    The same command goes on with a run that was stopped or killed. For several machines start
    `deepspeed --module align.train --config FILE key=value ...`
    """
    options = [*(["--dry-run"] if dry_run else []), *(["--shorten-to", str(shorten_to)] if shorten_to else [])]
    _train("align.train", config, [*options, *(overrides or [])], processes)


def _train(module: str, config: str | None, overrides: list[str] | None, processes: int) -> None:
    words = [*(["--config", config] if config else []), *(overrides or [])]
    if processes == 1:
        raise typer.Exit(importlib.import_module(module).main(words))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    os.execv(sys.executable, [*launch, "--module", module, *words])  # signals reach the launcher itself


@app.command()
def score(
    model: Annotated[str, typer.Option(help="Directory of a trained reward model, or a hub name.")],
    data: Annotated[list[str], typer.Option(help="File, glob or hub data set with responses. Repeatable.")],
    out: Annotated[Path, typer.Option(help="JSONL file to write: a line for every row, in order.")],
    column: Columns = None,
    max_tokens: MaxTokens = None,
    device: Device = None,
    dtype: DtypeOption = None,
    max_bad: Annotated[int, typer.Option(min=0, help="Rows without a response that are all right.")] = 0,
    overwrite: Annotated[bool, typer.Option(help="Begin anew instead of going on after the last line.")] = False,
) -> None:
    """Score every response of files or data sets.

    A pair gives {"chosen": {"raw", "calibrated"}, "rejected": {...}}, a single response {"response": {...}}, a row that
    cannot be read {"error", "file", "line"}. The same command goes on with a file that was left unfinished. Exits with
    1 if there are more bad rows than --max-bad, with 2 if the model or a source cannot be read at all.
    """
    from reward_models.inference.reward_model import RewardModel
    from reward_models.inference.score_files import score_files

    with data_commands.failures(), _rows_bar("scoring") as advance:
        loaded = RewardModel.load(model, device=device, dtype=dtype, max_tokens=max_tokens)
        columns = data_commands.column_mapping(column)
        report = score_files(loaded, data, out, columns=columns, overwrite=overwrite, on_rows=advance)
    resumed = f", {report.resumed:,} of them there before" if report.resumed else ""
    cut = f"; {report.truncated:,} responses were too long for the model and cut" if report.truncated else ""
    typer.echo(f"{report.rows:,} rows in {out}{resumed}{cut}", err=True)
    if report.bad > max_bad:
        typer.echo(f"{report.bad} bad rows, {max_bad} allowed (--max-bad)", err=True)
        raise typer.Exit(1)


@evaluate_app.command("rm")
def evaluate_rm(
    model: Annotated[
        list[str], typer.Option(help="Directory of a trained reward model, or a hub name. Several are an ensemble.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where evaluation.json and report.html go.")],
    data: Annotated[
        list[str] | None, typer.Option(help="File, glob or hub data set of labelled rows, reported apart. Repeatable.")
    ] = None,
    best_of_n: Annotated[
        list[str] | None,
        typer.Option(help="Rows with lists of right (chosen) and wrong (rejected) responses, as RewardBench 2 has."),
    ] = None,
    rewardbench: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Rows of RewardBench or RewardBench 2, reported by its sections."),
    ] = None,
    k: Annotated[float, typer.Option(min=0, help="Standard deviations of an ensemble's lower bound.")] = 1.0,
    column: Columns = None,
    max_tokens: MaxTokens = None,
    device: Device = None,
    dtype: DtypeOption = None,
    max_bad: Annotated[int, typer.Option(min=0, help="How many bad rows of a file are left out.")] = 0,
) -> None:
    """Evaluate reward models on labelled data: figures in evaluation.json, plots and examples in report.html.

    A helpful model reads pairs, a safety model labelled responses. Exits with 1 if there are more bad rows than
    --max-bad, with 2 if a model or a source cannot be used at all.
    """
    from reward_models.evaluation.evaluate import assess, assess_ensemble, load_evaluation
    from reward_models.evaluation.report import write_evaluation
    from reward_models.inference.ensemble import Ensemble
    from reward_models.inference.reward_model import RewardModel

    columns = data_commands.column_mapping(column)
    with data_commands.failures():
        models = [RewardModel.load(path, device=device, dtype=dtype, max_tokens=max_tokens) for path in model]
        ensemble = Ensemble(models, k=k) if len(models) > 1 else None
        rows = load_evaluation(
            models[0].kind, data or [], best_of_n or [], rewardbench, columns=columns, max_bad=max_bad
        )
        assessment = assess(models[0], rows) if ensemble is None else assess_ensemble(ensemble, rows)
        report = write_evaluation(assessment, out)
    if rows.bad:
        typer.echo(f"{rows.bad:,} bad rows were left out", err=True)
    if cut := sum(each.truncated for each in models):
        typer.echo(f"{cut:,} responses were too long for the model and cut", err=True)
    typer.echo(f"Report: {report}")


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Directories of runs of keel train align.")],
    out: Annotated[Path | None, typer.Option(help="The page; default: report.html in the first run.")] = None,
) -> None:
    """One page about runs of reinforcement learning, finished or under way: curves, alarms, samples, a comparison."""
    from align.reporting.report import report as write

    with data_commands.failures():
        page = write(runs, out or runs[0] / "report.html")
    typer.echo(f"Report: {page}")


@app.command()
def run(
    file: Annotated[str, typer.Argument(metavar="FILE", help="YAML of a project, or a preset: hub_one_gpu, cpu.")],
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every stage, print what would be done, and leave.")
    ] = False,
    only: Annotated[str | None, typer.Option("--only", metavar="STAGE", help="This stage alone.")] = None,
    first: Annotated[str | None, typer.Option("--from", metavar="STAGE", help="This stage and those after it.")] = None,
) -> None:
    """From preferences to an aligned policy: the stages of a project, one after the other.

    The same command goes on where it was stopped or killed; what is finished is not trained again. Exits with 2 if the
    project cannot be run as it is, with 1 if a stage fails, with 128 + the signal's number where one stops it.
    """
    from rich.console import Console

    from keel.pipeline import run as projects
    from keel.pipeline.project import load_project

    console = Console(highlight=False)
    with data_commands.failures():
        project, stages = load_project(file, overrides or [])
        todo = projects.chosen(stages, only, first)
        inputs = projects.plan(stages, console)
        if dry_run:
            return
        try:
            projects.run(project, stages, inputs, todo, console)
        except projects.StageFailed as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from None
        except projects.Stopped as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(error.status) from None


@app.command()
def push(
    directory: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a finished reward model or policy.")],
    name: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="On the Hugging Face hub.")],
    public: Annotated[
        bool, typer.Option("--public", help="For everybody to see. Without it, a new one is private.")
    ] = False,
    evaluation: Annotated[
        Path | None, typer.Option(help="evaluation.json of keel evaluate rm, in the place of the model's own.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be uploaded, and leave.")] = False,
) -> None:
    """Upload a model, its card and its evaluation to the hub; needs `hf auth login` or HF_TOKEN.

    Checkpoints, samples and logs stay here. Exits with 2 if there is no model, or the hub refuses.
    """
    from keel.push import plan
    from keel.push import push as upload

    with data_commands.failures():
        planned = plan(directory, name, evaluation)
        typer.echo("\n".join(planned.lines(private=not public)), err=True)
        if not dry_run:
            typer.echo(upload(planned, private=not public))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where the models and the report go.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Of everything that is drawn at random.")] = 0,
) -> None:
    """From preferences to an aligned policy on built-in data: a CPU, no network, about ten minutes.

    Both reward models, a cold start, reinforcement learning in two phases, and a report of what became better.
    """
    from keel.pipeline.demo import run

    run(out, seed)


@contextmanager
def _rows_bar(title: str) -> Iterator[Callable[[int], None]]:
    """A count of rows and their rate on a terminal; gives the function that advances it."""
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


def main() -> None:
    app()


if __name__ == "__main__":
    main()
