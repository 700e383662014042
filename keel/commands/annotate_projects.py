"""``keel annotate project``, ``guideline``, ``settings`` and ``resume``. Imports wait until a command runs."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from keel.commands.annotate_options import (
    CLI,
    DEFAULT_DB,
    DatabaseOption,
    GoldRate,
    HourlyRate,
    LeaseMinutes,
    PauseBelow,
    ProjectOption,
    RepeatRate,
    ShowScores,
    Training,
    Votes,
    changing,
    reading,
    settings_given,
    warn_of_known_answers,
)
from keel.failures import failures

app = typer.Typer()


@app.command("project")
@failures("annotate")
def project_command(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE.yaml]", help="The new definition; without it the present one.")
    ] = None,
    project: ProjectOption = None,
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    """Show the definition of a project as YAML (kind, instructions, guideline, labels, scale), or replace it.

    A new definition is a new version of the guideline: verdicts that were given keep the one they were given by.
    """
    from annotation_ui.labelling.assignment import newest_guideline
    from annotation_ui.store.definitions import define, definition_of
    from annotation_ui.store.forms import read_definition
    from annotation_ui.store.projects import find_project

    if file is None:
        with reading(db) as session:
            found = find_project(session, project)
            typer.echo(definition_of(found, newest_guideline(session, found)).to_yaml(), nl=False)
        return
    with changing(db, project) as (session, found):
        read = read_definition(file.read_text(encoding="utf-8"), kind=found.kind)
        version = define(session, found, read, author=CLI, now=time.time()).version
    typer.echo(f"guideline version {version} of {found.name}")


@app.command("guideline")
@failures("annotate")
def guideline_command(
    file: Annotated[Path, typer.Argument(metavar="FILE.md")],
    project: ProjectOption = None,
    harm: Annotated[
        list[str] | None, typer.Option(help="A category of harm, in place of those there are. Repeatable.")
    ] = None,
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    """Give a project a new version of its guideline. Verdicts remember the version they were given by."""
    from annotation_ui.store.projects import add_guideline

    text = file.read_text(encoding="utf-8")
    with changing(db, project) as (session, found):
        version = add_guideline(session, found, text, harm or None, author=CLI, now=time.time()).version
    typer.echo(f"guideline version {version} of {found.name}")


@app.command("settings")
@failures("annotate")
def settings_command(
    project: ProjectOption = None,
    votes: Votes = None,
    gold_rate: GoldRate = None,
    repeat_rate: RepeatRate = None,
    lease_minutes: LeaseMinutes = None,
    show_scores: ShowScores = None,
    training: Training = None,
    pause_below: PauseBelow = None,
    hourly_rate: HourlyRate = None,
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    """Show the settings of a project, or change them. Votes that were given stay as they are."""
    from annotation_ui.store.projects import change_settings, settings_of

    changes = settings_given(
        *(votes, gold_rate, repeat_rate, lease_minutes, show_scores, training, pause_below, hourly_rate)
    )
    with changing(db, project) as (session, found):
        if changes:
            change_settings(session, found, changes, author=CLI, now=time.time())
        for name, value in asdict(settings_of(found)).items():
            typer.echo(f"{name}: {value}")
        warn_of_known_answers(session, found)


@app.command("resume")
@failures("annotate")
def resume_command(
    name: Annotated[str, typer.Argument(help="An annotator who is paused.")],
    project: ProjectOption = None,
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    """Let an annotator go on who was paused by too many wrong answers on gold items; the record begins anew."""
    from annotation_ui.actions.pauses import resume

    with changing(db, project) as (session, found):
        resume(session, found, name, by=CLI, now=time.time())
    typer.echo(f"{name} may go on")


@app.command("progress")
@failures("annotate")
def progress_command(project: ProjectOption = None, db: DatabaseOption = DEFAULT_DB) -> None:
    """Print as JSON what is done and what is left of a project, with a forecast of the end and the cost."""
    from annotation_ui.labelling.forecast import forecast
    from annotation_ui.labelling.progress import project_progress
    from annotation_ui.store.projects import find_project

    with reading(db) as session:
        found, now = find_project(session, project), time.time()
        progress = project_progress(session, found, now=now)
        typer.echo(
            json.dumps(asdict(progress) | {"forecast": asdict(forecast(session, found, progress, now=now))}, indent=2)
        )
