"""``keel annotate import``, ``export`` and what else goes in and out. Imports wait until a command runs."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from keel.commands.annotate_options import (
    CLI,
    DEFAULT_DB,
    DatabaseOption,
    GoldRate,
    HourlyRate,
    Kind,
    LeaseMinutes,
    Pairs,
    PauseBelow,
    ProjectOption,
    RepeatRate,
    ShowScores,
    Training,
    Turns,
    Votes,
    changing,
    reading,
    refuse_database,
    settings_given,
    warn_of_known_answers,
)
from keel.failures import failures

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from annotation_ui.exchange.exporting import ExportRule
    from annotation_ui.exchange.importing import Imported, NewProject
    from annotation_ui.store.database import Database

app = typer.Typer()
Aggregate = Literal["majority", "dawid_skene", "plackett_luce"]
ANSWERS = Path("judge_answers.jsonl")


@app.command("import")
@failures("annotate")
def import_command(
    data: Annotated[list[str], typer.Argument(metavar="DATA...", help="Files, globs, hub data sets, synthetic:….")],
    project: Annotated[str, typer.Option(help="Made if there is none by that name.")],
    kind: Annotated[Kind | None, typer.Option(help="Of a new project.")] = None,
    votes: Votes = None,
    gold_rate: GoldRate = None,
    repeat_rate: RepeatRate = None,
    eval_fraction: Annotated[float | None, typer.Option(help="Share of the prompts kept for evaluation.")] = None,
    lease_minutes: LeaseMinutes = None,
    show_scores: ShowScores = None,
    training: Training = None,
    pause_below: PauseBelow = None,
    hourly_rate: HourlyRate = None,
    gold: Annotated[bool, typer.Option(help="The labels are known answers; the items check annotators.")] = False,
    guideline: Annotated[Path | None, typer.Option(help="Of a new project; Markdown.")] = None,
    definition: Annotated[
        Path | None,
        typer.Option(metavar="FILE.yaml", help="Of a new project; `keel annotate project` shows one."),
    ] = None,
    max_bad: Annotated[int, typer.Option(min=0, help="How many bad rows are accepted.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Read at most so many rows of each source.")] = None,
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    """Add items to judge, and votes made elsewhere. All of it or nothing: a bad row is named and stops the import.

    --votes to --hourly-rate are the settings of a new project; `keel annotate settings` changes them.
    """
    from annotation_ui.exchange.importing import import_items
    from annotation_ui.store.database import open_database
    from annotation_ui.store.projects import find_project

    database, now = open_database(db), time.time()
    text = guideline.read_text(encoding="utf-8") if guideline else None
    chosen = settings_given(
        *(votes, gold_rate, repeat_rate, lease_minutes, show_scores, training, pause_below, hourly_rate)
    )
    if eval_fraction is not None:
        chosen["eval_fraction"] = eval_fraction
    with database.read() as session:
        new = _new_project(session, project, kind, chosen, text, definition)
    done = import_items(
        database,
        project,
        data,
        new=new,
        gold=gold,
        max_bad=max_bad,
        limit=limit,
        author=CLI,
        now=now,
        on_progress=lambda rows: typer.echo(f"{rows} rows read", err=True),
    )
    _say_imported(done)
    if chosen.keys() & {"training_items", "gold_rate"}:
        with database.read() as session:
            warn_of_known_answers(session, find_project(session, project))


def _say_imported(done: Imported) -> None:
    for row in done.bad:
        typer.echo(f"left out {row.file}:{row.line}: {row.reason}", err=True)
    added = done.added
    typer.echo(
        f"{added.items} items added, {added.known} were there; {added.votes} votes by {len(added.annotators)} people "
        f"added, {added.known_votes} were there; {len(done.bad)} bad rows left out"
    )
    if added.ordinary:
        typer.echo(
            f"{added.ordinary} items that came with a known answer were there without one: they stay ordinary items, "
            "since a known answer is stored with new items only"
        )


def _new_project(
    session: Session,
    name: str,
    kind: Kind | None,
    chosen: dict[str, Any],
    guideline: str | None,
    definition: Path | None,
) -> NewProject | None:
    """The project to make; ``None`` if there is one by the name and the options agree with it."""
    from annotation_ui.exchange.importing import NewProject
    from annotation_ui.labelling.assignment import newest_guideline
    from annotation_ui.store.forms import read_definition
    from annotation_ui.store.projects import ProjectError, Settings, find_project, has_project

    if not has_project(session, name):
        if definition is not None:
            read = read_definition(definition.read_text(encoding="utf-8"), kind=kind)
            return NewProject(kind=read.kind, settings=Settings(**chosen), guideline=guideline, definition=read)
        if kind is None:
            raise ProjectError(f"there is no project {name!r} yet; make it with --kind {'|'.join(get_args(Kind))}")
        return NewProject(kind=kind, settings=Settings(**chosen), guideline=guideline)
    found = find_project(session, name)
    if definition is not None:
        raise ProjectError(f"{name!r} is there already; `keel annotate project FILE.yaml` gives it a new definition")
    if kind not in (None, found.kind):
        raise ProjectError(f"{name!r} is a {found.kind} project, not {kind}")
    if guideline is not None and guideline != newest_guideline(session, found).text:
        raise ProjectError(f"{name!r} has another guideline; `keel annotate guideline FILE` gives it a new version")
    other = [f"{key} is {getattr(found, key)}" for key, value in chosen.items() if getattr(found, key) != value]
    if other:
        raise ProjectError(f"{name!r} has other settings ({', '.join(other)}); `keel annotate settings` changes them")
    return None


@app.command("export")
@failures("annotate")
def export_command(
    out: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="Where train, eval and report.json go.")] = None,
    project: ProjectOption = None,
    snapshot_name: Annotated[
        str | None, typer.Option("--snapshot", help="One taken before; without it a new one is taken now.")
    ] = None,
    file_format: Annotated[Literal["jsonl", "csv", "parquet"], typer.Option("--format")] = "jsonl",
    aggregate: Annotated[Aggregate, typer.Option(help="How several votes become one label.")] = "majority",
    ties: Annotated[Literal["drop", "keep"], typer.Option()] = "drop",
    both_bad: Annotated[Literal["drop", "tie"], typer.Option()] = "drop",
    min_votes: Annotated[
        int | None, typer.Option(min=1, help="Default: more than half of the project's votes per item.")
    ] = None,
    min_agreement: Annotated[float, typer.Option(min=0.0, max=1.0)] = 0.0,
    pairs: Pairs = False,
    turns: Turns = False,
    votes: Annotated[
        Path | None,
        typer.Option(metavar="OUT", help="Every judgement, as NAME.jsonl, NAME.parquet or a directory (datasets)."),
    ] = None,
    votes_format: Annotated[
        Literal["jsonl", "parquet", "datasets"] | None, typer.Option(help="Of --votes, whatever the name ends in.")
    ] = None,
    pseudonyms: Annotated[
        bool, typer.Option("--pseudonyms", help="In --votes, stable pseudonyms in the place of names.")
    ] = False,
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    """Write a snapshot as TRL preference or unpaired preference data, split by prompt, and count what was left out.

    With --votes: one row for every judgement, of the project or of the --snapshot; DIR may then be left out.
    """
    from annotation_ui.exchange.exporting import ExportRule
    from annotation_ui.exchange.vote_files import vote_format, write_votes
    from annotation_ui.store.database import open_database

    if out is None and votes is None:
        raise typer.BadParameter("name a directory for the rows, or --votes OUT, or both")
    rule = ExportRule(
        aggregate=aggregate,
        ties=ties,
        both_bad=both_bad,
        min_votes=min_votes,
        min_agreement=min_agreement,
        pairs=pairs,
        turns=turns,
    )
    if votes is not None:
        refuse_database("--votes", [votes], db)
    if out is not None:
        names = (f"train.{file_format}", f"eval.{file_format}", "report.json")
        refuse_database("DIR", (out / name for name in names), db)
    database = open_database(db)
    if votes is not None:
        made = vote_format(votes, votes_format)
        count = write_votes(database, project, votes, made, snapshot_name=snapshot_name, pseudonyms=pseudonyms)
        typer.echo(f"wrote {count} judgements to {votes}")
    if out is not None:
        _export_rows(database, out, project, snapshot_name, rule, file_format)


def _export_rows(
    database: Database,
    out: Path,
    project: str | None,
    snapshot_name: str | None,
    rule: ExportRule,
    file_format: Literal["jsonl", "csv", "parquet"],
) -> None:
    from annotation_ui.exchange.exporting import export, snapshot, write_export
    from annotation_ui.store.projects import find_project

    with database.write() as session:
        found = find_project(session, project)
        if snapshot_name is None:
            snapshot_name = snapshot(session, found, None, author=CLI, now=time.time()).name
        result = export(session, found, snapshot_name, rule)
    files = write_export(result, out, file_format)
    for reason, number in result.counts.items():
        typer.echo(f"{number:6d} items {reason}")
    for path, rows in zip(files, result.rows.values(), strict=False):
        typer.echo(f"wrote {len(rows)} rows to {path}")
    part = ":turns" if rule.turns else ":pairs" if rule.pairs else ""
    source = f"annotations://{database.public_name}#{result.snapshot}{part}"
    typer.echo(f"snapshot {result.snapshot}; train on it with 'data.train=[{source}]'")


@app.command("items")
@failures("annotate")
def items_command(
    out: Annotated[Path, typer.Argument(metavar="FILE.jsonl")],
    project: ProjectOption = None,
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    """Write the items of a project for a reward model to score; `keel annotate scores` takes the scores back."""
    from annotation_ui.exchange.scoring import items_to_score
    from annotation_ui.store.projects import find_project

    refuse_database("FILE.jsonl", [out], db)
    with reading(db) as session:
        rows = list(items_to_score(session, find_project(session, project)))
    out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    typer.echo(f"wrote {len(rows)} items; score them with `keel score --model MODEL --data {out} --out SCORES.jsonl`")


@app.command("scores")
@failures("annotate")
def scores_command(
    items: Annotated[Path, typer.Argument(metavar="ITEMS.jsonl", help="What `keel annotate items` wrote.")],
    scores: Annotated[Path, typer.Argument(metavar="SCORES.jsonl", help="A line for each line of it.")],
    scorer: Annotated[str, typer.Option(help="The name to show for the model.")],
    project: ProjectOption = None,
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    """Keep a reward model's scores: people judge next what it is least sure of, and see its margin after their vote."""
    from annotation_ui.exchange.scoring import add_scores

    with changing(db, project) as (session, found):
        rows = [_lines(items), _lines(scores)]
        count = add_scores(session, found, scorer, *rows, author=CLI, now=time.time())
    typer.echo(f"{count} items scored by {scorer}; the evaluation slice keeps its order")


@app.command("judge")
@failures("annotate")
def judge_command(
    endpoint: Annotated[
        str, typer.Argument(metavar="URL", help="Of a chat model, up to /v1: http://127.0.0.1:8000/v1")
    ],
    model: Annotated[str, typer.Option(help="The endpoint's name for the model that judges.")],
    answers: Annotated[Path, typer.Option(help="Where answers are kept, so that none is paid for twice.")] = ANSWERS,
    judgements: Annotated[int, typer.Option(min=1, help="Of each item; an even number shows both orders alike.")] = 2,
    seed: Annotated[int, typer.Option(help="Of the draw of which response is shown first.")] = 0,
    project: ProjectOption = None,
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    """Have a judge model compare the responses of every item. What it says is kept apart from people's votes.

    Annotators see it after their own vote, reviewers where it is sure of the opposite. A key for the endpoint is read
    from KEEL_JUDGE_API_KEY. The same command goes on where it was stopped.
    """
    from annotation_ui.actions.judging import label_by_model, questions_about
    from annotation_ui.store.database import open_database
    from reward_models.data.curation.endpoint import EndpointJudge
    from reward_models.endpoint.answers import AnswerFile
    from reward_models.endpoint.client import KEY_VARIABLE, EndpointConfig

    database = open_database(db)
    judge = EndpointJudge(
        EndpointConfig(base_url=endpoint, model=model), AnswerFile(answers), os.environ.get(KEY_VARIABLE)
    )
    questions = questions_about(database, project, draws=judgements, seed=seed)
    calls = judge.calls(questions)
    typer.echo(f"{len(questions)} judgements, {calls} to ask for", err=True)
    if calls:
        judge.check()
    done = label_by_model(database, project, questions, judge, model, author=CLI, now=time.time())
    typer.echo(f"{done.items} items judged by {model}; {done.without} without a verdict")


def _lines(path: Path) -> list[dict[str, Any]]:
    from reward_models.data.files import BadRow, read_rows
    from reward_models.data.sources import BadRowsError

    rows: list[dict[str, Any]] = []
    for item in read_rows(path):
        if isinstance(item, BadRow):
            raise BadRowsError([item], 0)
        rows.append(item[1])
    return rows
