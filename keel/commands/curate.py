"""``keel data curate``. It stands here and not in ``reward_models.data`` because a judge may be a reward model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from keel.commands.data import ColumnsOption, MaxBadOption, Specs, column_mapping, failures
from reward_models.data.sources import SourceError

if TYPE_CHECKING:
    from reward_models.data.curation.judging import Judge
    from reward_models.data.curation.pipeline import CurationReport, Plan


def curate_command(
    data: Specs,
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
    judgements: Annotated[
        int | None, typer.Option(min=1, help="Per pair; by default 4 of an endpoint, 1 of a reward model.")
    ] = None,
    min_valid: Annotated[
        int | None, typer.Option(min=1, help="How many of them must have a verdict; by default all but one.")
    ] = None,
    threshold: Annotated[
        float, typer.Option(help="Keep a pair if its mean verdict, between -2 and 2, is farther than this from 0.")
    ] = 1.0,
    balance_lengths: Annotated[
        bool, typer.Option(help="Leave out pairs until length does not tell which response was chosen.")
    ] = True,
    span: Annotated[
        Literal["summary", "full"],
        typer.Option(help="What is judged of a response: what follows its reasoning, or all of it."),
    ] = "summary",
    eval_fraction: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the prompts to hold out.")] = 0.05,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="DATA", help="Evaluation data whose prompts must not be trained on. Repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws which response is shown first, and which prompts are held out.")] = 0,
    temperature: Annotated[float, typer.Option(min=0.0, help="The endpoint's sampling temperature.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Room for the endpoint's reasoning and verdict.")] = 4096,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds the endpoint has for one answer.")] = 120.0,
    tries: Annotated[int, typer.Option(min=1, help="How often one question is tried at most.")] = 6,
    concurrency: Annotated[int, typer.Option(min=1, help="Calls in flight at a time.")] = 16,
    answers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where paid answers are kept; by default DIR/answers.jsonl.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, say what would be asked, stop.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Read at most so many rows of each source.")] = None,
    column: ColumnsOption = None,
    max_bad: MaxBadOption = 0,
) -> None:
    """Have pairs of responses judged, and keep those that are decided: the curation of DeepSeek-R1's preference data.

    Each pair is judged several times with the responses in both orders, the verdicts are averaged, and the average
    says which response is better and by how much. Then lengths are balanced. Labels in the data are not used; the
    report says how often the judge agrees with them.

    The same command goes on with a run that was stopped or killed, and pays for no answer twice. An endpoint's key is
    read from the environment variable KEEL_JUDGE_API_KEY.
    """
    from reward_models.data.curation.answers import AnswerFile
    from reward_models.data.curation.endpoint import KEY_VARIABLE, EndpointConfig, EndpointJudge
    from reward_models.data.curation.pipeline import ANSWERS, plan
    from reward_models.data.curation.selection import CurationConfig

    with failures():
        if judge.startswith(("http://", "https://")):
            if judge_model is None:
                raise typer.BadParameter("an endpoint serves several models; name one", param_hint="--judge-model")
            endpoint = EndpointConfig(
                base_url=judge,
                model=judge_model,
                temperature=temperature,
                max_tokens=max_tokens,
                timeout=timeout,
                tries=tries,
                concurrency=concurrency,
                span=span,
            )
            asked: Judge = EndpointJudge(endpoint, AnswerFile(answers or out / ANSWERS), os.environ.get(KEY_VARIABLE))
        else:
            asked = _reward_model(judge)
        try:
            config = CurationConfig(
                judgements=judgements or (1 if asked.deterministic else 4),
                min_valid=min_valid,
                threshold=threshold,
                balance_lengths=balance_lengths,
                span=span,
                eval_fraction=eval_fraction,
                seed=seed,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        planned = plan(
            data,
            out,
            asked,
            config,
            against=against or [],
            limit=limit,
            max_bad=max_bad,
            columns=column_mapping(column),
        )
        _run(planned, out, asked, dry_run)


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
        f"{pairs} pairs, {asked} judgements: {planned.calls} to ask for, {asked - planned.calls} answered already"
    )
    if planned.config.judgements == 1 and not judge.deterministic:
        console.print("one judgement shows one order only: a judge's preference for a position goes into the labels")
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
        typer.echo("stopped; the answers so far are kept, and the same command goes on from there", err=True)
        raise typer.Exit(130) from None
    _print(report, out, console)


def _reward_model(directory: str) -> Judge:
    if not Path(directory).is_dir():
        raise SourceError(f"the judge {directory!r} is neither an http(s) address nor the directory of a reward model")
    from reward_models.data.curation.judging import JudgeError
    from reward_models.inference.judge import RewardModelJudge
    from reward_models.inference.reward_model import RewardModel

    try:
        return RewardModelJudge(RewardModel.load(Path(directory)), directory)
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
