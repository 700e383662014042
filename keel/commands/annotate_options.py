"""Options that the annotation commands share."""

from __future__ import annotations

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
