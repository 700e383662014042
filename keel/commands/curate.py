"""``keel data curate``: have pairs judged by a language model or a reward model, and keep the clear ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from keel.commands.options import Columns, MaxBad, column_mapping, refuse_overwriting, setting, split_settings
from keel.failures import CommandFailed, failures

if TYPE_CHECKING:
    from reward_models.data.curation.judging import Judge
    from reward_models.data.curation.pipeline import CurationReport, Plan
    from reward_models.data.curation.selection import CurationConfig


@failures("models")
def curate_command(
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA... [key=value]...",
            help="Data to judge, and settings such as threshold=0.5 endpoint.tries=3 (`keel config curate` "
            "prints all of them).",
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="For train.jsonl, eval.jsonl, judgements.jsonl and report.json.")
    ],
    judge: Annotated[
        str,
        typer.Option(
            metavar="URL|DIR",
            help="An OpenAI-compatible endpoint (http://host/v1), or the directory of a helpful reward model.",
        ),
    ],
    judge_model: Annotated[str | None, typer.Option(help="The endpoint's name for the model that judges.")] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="DATA", help="Evaluation data whose prompts must not be trained on. Repeatable."),
    ] = None,
    answers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File of the endpoint's answers; default: DIR/answers.jsonl.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the number of questions, and stop.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Number of rows to read of each source at most.")] = None,
    column: Columns = None,
    max_bad: MaxBad = 0,
) -> None:
    """Have pairs of responses judged, and keep the clear ones: the curation of DeepSeek-R1's preference data.

    Each pair is judged several times, with the responses in both orders. The sign of the mean verdict is the label, its
    size the strength. Then lengths are balanced. Labels in the data are not used; the report counts how often the
    judge agrees with them.

    The same command resumes a run that was stopped or killed, and asks for no answer twice. An endpoint's key is
    read from the environment variable KEEL_JUDGE_API_KEY.
    """
    from reward_models.data.curation.pipeline import ANSWERS, plan

    sources, settings = split_settings(data)
    if not sources:
        raise ValueError("no data to judge: name a file, a glob or a hub data set")
    files = [out / name for name in ("train.jsonl", "eval.jsonl", "judgements.jsonl", "report.json", ANSWERS)]
    refuse_overwriting("--out", files, [*sources, *(against or [])])
    if judge.startswith(("http://", "https://")):
        asked, config = _endpoint(judge, judge_model, settings, answers or out / ANSWERS)
    else:
        asked, config = _reward_model(judge, settings)
    reading: dict[str, Any] = {"limit": limit, "max_bad": max_bad, "columns": column_mapping(column)}
    planned = plan(sources, out, asked, config, against=against or [], **reading)
    _run(planned, out, asked, dry_run)


def _endpoint(url: str, model: str | None, settings: list[str], answers: Path) -> tuple[Judge, CurationConfig]:
    from keel.commands.curate_settings import EndpointCuration
    from reward_models.data.curation.endpoint import EndpointJudge
    from reward_models.endpoint.answers import AnswerFile
    from reward_models.endpoint.client import KEY_VARIABLE
    from reward_models.runtime.config import load_config

    if model is None:
        raise ValueError("an endpoint serves several models: name the one that judges with --judge-model")
    words = [setting("endpoint.base_url", url), setting("endpoint.model", model), *settings]
    config = load_config(EndpointCuration, overrides=words)
    key = os.environ.get(KEY_VARIABLE)
    return EndpointJudge(config.endpoint, AnswerFile(answers), key, span=config.span), config.curation


def _run(planned: Plan, out: Path, judge: Judge, dry_run: bool) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from reward_models.data.curation.pipeline import curate

    console = Console(highlight=False, markup=False, soft_wrap=True)
    pairs, asked = len(planned.questions), len(planned.flat_questions)
    cleaned = planned.cleaned
    console.print(
        f"read {cleaned.read} rows: {len(cleaned.bad)} bad, {cleaned.duplicates} duplicates, "
        f"{sum(cleaned.contaminated.values())} in the evaluation, {planned.identical} with identical responses"
    )
    console.print(
        f"{pairs} pairs, {asked} judgements: {planned.calls} to ask for, {asked - planned.calls} already answered"
    )
    if planned.config.judgements == 1 and not judge.deterministic:
        console.print(
            "one judgement per pair shows one order only: the judge's preference for a position biases the labels"
        )
    if planned.calls:
        judge.check()
    if dry_run:
        return
    columns = (TextColumn("judging"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("judging", total=asked)
            report = curate(planned, out, judge, lambda done: progress.advance(task, done))
    except KeyboardInterrupt:
        raise CommandFailed("stopped; the answers so far are kept, and the same command resumes the run", 130) from None
    _print(report, out, console)


def _reward_model(directory: str, settings: list[str]) -> tuple[Judge, CurationConfig]:
    from reward_models.data.curation.selection import CurationConfig
    from reward_models.data.sources import SourceError
    from reward_models.endpoint.answers import JudgeError
    from reward_models.inference.judge import RewardModelJudge
    from reward_models.inference.reward_model import RewardModel
    from reward_models.runtime.config import load_config

    if not Path(directory).is_dir():
        raise SourceError(f"the judge {directory!r} is neither an http(s) address nor the directory of a reward model")
    # A deterministic judge gives the same answer each time: one judgement per pair is enough.
    config = load_config(CurationConfig, overrides=["judgements=1", *settings])

    try:
        return RewardModelJudge(RewardModel.load(Path(directory)), directory), config
    except (ValueError, OSError) as error:
        raise JudgeError(f"the judge {directory} cannot be loaded: {error}") from None


def _print(report: CurationReport, out: Path, console: Console) -> None:
    problems = {name: count for name, count in report.judgements.items() if name not in ("asked", "valid")}
    table = Table("curation", "", show_header=False, box=None)
    table.add_row("judgements without a verdict", _counted(problems))
    if report.verdicts:
        table.add_row("verdicts (A is shown first)", _counted(report.verdicts))
        table.add_row("mean verdict for what is shown first", _figure(report.position_bias, "+.2f"))
    table.add_row("pairs", _counted(report.fates))
    for name, lengths in report.lengths.items():
        table.add_row(
            f"lengths {name} the balance",
            f"chosen {_figure(lengths.chosen_mean, '.0f')}, rejected {_figure(lengths.rejected_mean, '.0f')}, "
            f"chosen longer {_figure(lengths.chosen_longer, '.1%')} of {lengths.pairs}",
        )
    agreement = report.agreement
    if agreement.labelled:
        table.add_row(
            f"agreement with {agreement.labelled} labels",
            f"first judgement {_figure(agreement.first_judgement, '.1%')}, average "
            f"{_figure(agreement.average, '.1%')}, kept pairs {_figure(agreement.kept, '.1%')}",
        )
    console.print(table)
    if failed := report.judgements.get("failed", 0):
        console.print(f"{failed} judgements failed; the same command asks for them again (see judgements.jsonl)")
    for name, count in report.written.items():
        console.print(f"wrote {count} comparisons on {report.prompts[name]} prompts to {out / name}.jsonl")


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _figure(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
