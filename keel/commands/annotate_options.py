"""Options that the annotation commands share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from keel.commands.options import refuse_files

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from annotation_ui.store.tables import Project

Kind = Literal["preference", "safety", "ranking", "attributes", "rewrite"]
CLI = "command line"
DEFAULT_DB = "annotations.db"
DatabaseOption = Annotated[
    str,
    typer.Option("--db", metavar="DB", envvar="KEEL_DATABASE", help="A SQLite file, or postgresql://USER@HOST/NAME."),
]
ProjectOption = Annotated[str | None, typer.Option("--project", help="Needed where there are several.")]
Votes = Annotated[int | None, typer.Option(min=1, help="Annotators per item.")]
GoldRate = Annotated[float | None, typer.Option(help="Share of tasks with a known answer.")]
RepeatRate = Annotated[float | None, typer.Option(help="Share of one's own items, shown again the other way round.")]
LeaseMinutes = Annotated[float | None, typer.Option(help="How long an item waits for its annotator.")]
ShowScores = Annotated[
    bool | None,
    typer.Option("--show-scores/--hide-scores", help="Show models' scores after each vote, which is then final."),
]

Training = Annotated[
    int | None,
    typer.Option("--training", min=0, help="Items with a known answer that everybody begins with, shown afterwards."),
]
PauseBelow = Annotated[
    float | None,
    typer.Option(help="Accuracy on known answers below which an annotator is warned, then paused; 0 for never."),
]
Pairs = Annotated[
    bool, typer.Option("--pairs", help="Of attributes with a comparison: the pairs in the place of the ratings.")
]
Turns = Annotated[
    bool, typer.Option("--turns", help="The verdicts on single turns, a row for each, in the place of the others.")
]
HourlyRate = Annotated[float | None, typer.Option(help="Pay of an hour, for the forecast of the cost; 0 for none.")]


@contextmanager
def reading(db: str) -> Iterator[Session]:
    """A session of the database ``--db`` that changes nothing."""
    from annotation_ui.store.database import open_database

    with closing(open_database(db)) as database, database.read() as session:
        yield session


@contextmanager
def writing(db: str) -> Iterator[Session]:
    """A transaction of the database ``--db``: all of it or, after an error, nothing."""
    from annotation_ui.store.database import open_database

    with closing(open_database(db)) as database, database.write() as session:
        yield session


@contextmanager
def changing(db: str, name: str | None) -> Iterator[tuple[Session, Project]]:
    """A transaction, and the project ``--project`` in it."""
    from annotation_ui.store.projects import find_project

    with writing(db) as session:
        yield session, find_project(session, name)


def refuse_database(option: str, outputs: Iterable[Path], db: str) -> None:
    """Raise ``ValueError`` if a file that a command is going to write is the database that it reads."""
    if "://" not in db:
        refuse_files(option, outputs, [Path(f"{db}{suffix}") for suffix in ("", "-wal", "-shm")])


def settings_given(
    votes: int | None,
    gold_rate: float | None,
    repeat_rate: float | None,
    lease_minutes: float | None,
    show_scores: bool | None,
    training: int | None = None,
    pause_below: float | None = None,
    hourly_rate: float | None = None,
) -> dict[str, Any]:
    """The options that were given, as fields of ``Settings``."""
    chosen = {
        "votes_per_item": votes,
        "gold_rate": gold_rate,
        "repeat_rate": repeat_rate,
        "lease_seconds": None if lease_minutes is None else 60 * lease_minutes,
        "show_scores": show_scores,
        "training_items": training,
        "pause_below": pause_below,
        "hourly_rate": hourly_rate,
    }
    return {name: value for name, value in chosen.items() if value is not None}


def warn_of_known_answers(session: Session, project: Project) -> None:
    """Say on standard error which settings have no effect because too few items have a known answer."""
    from annotation_ui.labelling.gold import missing_known_answers

    for text in missing_known_answers(session, project):
        typer.echo(f"warning: {text}", err=True)
