"""What the commands share: options, and failures told in a line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

import typer

Kind = Literal["preference", "safety"]
CLI = "command line"
DEFAULT_DB = "annotations.db"
DatabaseOption = Annotated[
    str,
    typer.Option("--db", metavar="DB", envvar="KEEL_DATABASE", help="A SQLite file, or postgresql://USER@HOST/NAME."),
]
ProjectOption = Annotated[str | None, typer.Option("--project", help="Needed where there are several.")]


@contextmanager
def failures() -> Iterator[None]:
    """A known failure becomes its message and an exit status."""
    from annotation_ui.store.accounts import AccountError
    from annotation_ui.store.database import DatabaseError
    from annotation_ui.store.projects import ProjectError
    from reward_models.data.curation.judging import JudgeError
    from reward_models.data.sources import BadRowsError, SourceError

    try:
        yield
    except BadRowsError as error:
        typer.echo(str(error).replace("max_bad=", "--max-bad "), err=True)  # as it is called here
        raise typer.Exit(1) from None
    except (SourceError, DatabaseError, ProjectError, AccountError, JudgeError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
