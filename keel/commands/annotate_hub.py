"""``keel annotate push`` and ``pull``: a project as a data set of the Hugging Face hub. Imports wait."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from keel.commands.annotate_options import CLI, DEFAULT_DB, DatabaseOption, ProjectOption
from keel.failures import failures

app = typer.Typer()


@app.command("push")
@failures("annotate")
def push_command(
    name: Annotated[str | None, typer.Argument(metavar="[OWNER/NAME]", help="On the Hugging Face hub.")] = None,
    project: ProjectOption = None,
    snapshot_name: Annotated[
        str | None, typer.Option("--snapshot", help="One taken before; without it a new one is taken now.")
    ] = None,
    names: Annotated[bool, typer.Option("--names", help="Keep annotators' names; default: pseudonyms.")] = False,
    public: Annotated[bool, typer.Option("--public", help="Make a new data set public; default: private.")] = False,
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the data set here, to look at it, and upload nothing.")
    ] = None,
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    """Upload a project as a data set: items, definition, labels to train on, every vote. Needs `hf auth login`.

    With --folder DIR the same files are written to a new directory, and nothing is uploaded. Written reasons are
    uploaded as people wrote them: read them before you make a data set public.
    """
    from annotation_ui.exchange.exporting import snapshot
    from annotation_ui.exchange.hub import check_folder, check_push, push_folder, write_folder
    from annotation_ui.store.database import open_database
    from annotation_ui.store.projects import find_project

    if name is None and folder is None:
        raise typer.BadParameter("name a data set, or --folder DIR to write the files only")
    if folder is not None:  # what cannot work is said before a snapshot is taken, which stays
        check_folder(folder)
    else:
        assert name is not None
        check_push(name, private=not public)
    database = open_database(db)
    with database.write() as session:
        found = find_project(session, project)
        if snapshot_name is None:
            snapshot_name = snapshot(session, found, None, author=CLI, now=time.time()).name
    with tempfile.TemporaryDirectory(prefix="keel-push-") as work:
        out = folder or Path(work)
        done = write_folder(database, project, out, snapshot_name, names=names)
        typer.echo(
            f"snapshot {snapshot_name}: {done.items} items ({done.gold} gold items left out), {done.judgements} "
            f"judgements, {done.labels} rows to train on"
        )
        if folder is None and name is not None:
            typer.echo(push_folder(out, name, private=not public))
            return
    target = name or "OWNER/NAME"
    options = f"--project {found.name} --snapshot {snapshot_name}"
    typer.echo(f"written to {out}, nothing uploaded; `keel annotate push {target} {options}` uploads it")


@app.command("pull")
@failures("annotate")
def pull_command(
    name: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="On the hub, or a directory that push wrote.")],
    project: Annotated[str, typer.Option(help="Made if there is none by that name.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.")] = None,
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    """Read the items and the definition of a data set that `keel annotate push` wrote. Votes stay there."""
    from annotation_ui.exchange.hub import pull_project
    from annotation_ui.store.database import open_database

    database = open_database(db)
    added = pull_project(database, name, project, revision=revision, author=CLI, now=time.time()).added
    typer.echo(f"{added.items} items added to {project}, {added.known} were there")
