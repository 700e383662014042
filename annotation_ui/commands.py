"""``keel annotate``: the app, its accounts, and the way in and out for data. Imports wait until a command runs."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from annotation_ui.database import Database

app = typer.Typer(
    help="Compare responses and label safety in the browser, over a real database.", invoke_without_command=True
)
user_app = typer.Typer(help="Accounts.", no_args_is_help=True)
app.add_typer(user_app, name="user")

Kind = Literal["preference", "safety"]
Role = Literal["annotator", "reviewer", "admin"]
Aggregate = Literal["majority", "dawid_skene"]
LOCAL = ("127.0.0.1", "localhost", "::1")
NOBODY = "you"
CLI = "command line"
DatabaseOption = Annotated[
    str,
    typer.Option("--db", metavar="DB", envvar="KEEL_DATABASE", help="A SQLite file, or postgresql://USER@HOST/NAME."),
]
ProjectOption = Annotated[str | None, typer.Option("--project", help="Needed where there are several.")]
DEFAULT_DB = "annotations.db"
TLS = (
    "Put TLS in front (a reverse proxy such as Caddy or nginx that forwards to 127.0.0.1) and start with "
    "--secure-cookie."
)


@app.callback()
def annotate(
    context: typer.Context,
    db: DatabaseOption = DEFAULT_DB,
    host: Annotated[str, typer.Option(help="Where to listen. Beyond this machine only with accounts.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 7860,
    secure_cookie: Annotated[bool, typer.Option(help="Behind TLS: send the cookie over HTTPS only.")] = False,
    demo: Annotated[bool, typer.Option(help="Try it on built-in data, in a database that is thrown away.")] = False,
) -> None:
    """Open the app. Without accounts it serves one user, on this machine only.

    `keel annotate import DATA... --project NAME --kind preference` first; `keel annotate user add NAME` for a team.
    """
    if context.invoked_subcommand is not None:
        return
    from annotation_ui.database import open_database

    with _failures():
        if demo:
            with tempfile.TemporaryDirectory(prefix="keel-annotate-") as directory:
                database = open_database(str(Path(directory) / "demo.db"))
                fill_demo(database)
                _serve(database, host, port, secure_cookie)
        else:
            _serve(open_database(db), host, port, secure_cookie)


def _serve(database: Database, host: str, port: int, secure_cookie: bool) -> None:
    import uvicorn

    from annotation_ui.accounts import add_user, anyone_can_log_in, find_user
    from annotation_ui.server import build

    with database.read() as session:
        alone = not anyone_can_log_in(session)
    if alone and host not in LOCAL:
        typer.echo(
            f"not listening on {host} without accounts; add one with `keel annotate user add NAME --role admin`. {TLS}",
            err=True,
        )
        raise typer.Exit(2)
    if alone:
        with database.write() as session:
            if find_user(session, NOBODY) is None:
                add_user(session, NOBODY, "admin", None, now=time.time())
    elif host not in LOCAL and not secure_cookie:
        typer.echo(f"warning: passwords travel in the clear. {TLS}", err=True)
    typer.echo(f"Keel annotate on http://{host}:{port} ({database}); Ctrl-C stops it")
    server = build(database, single_user=NOBODY if alone else None, secure_cookie=secure_cookie)
    uvicorn.run(server, host=host, port=port, log_level="warning", server_header=False, forwarded_allow_ips="127.0.0.1")


def fill_demo(database: Database, items: int = 60) -> None:
    """Two projects of synthetic items."""
    from annotation_ui.importing import import_items
    from annotation_ui.projects import Settings, create_project

    now = time.time()
    with database.write() as session:
        create_project(session, "helpful", "preference", Settings(gold_rate=0.0), author="demo", now=now)
        create_project(session, "safety", "safety", Settings(gold_rate=0.0), author="demo", now=now)
    for project in ("helpful", "safety"):
        import_items(database, project, [f"synthetic:{project}"], limit=items, author="demo", now=now)


@user_app.command("add")
def user_add(
    name: str,
    role: Annotated[Role, typer.Option()] = "annotator",
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    """Make an account. The password is asked for, or read from KEEL_PASSWORD."""
    from annotation_ui.accounts import add_user
    from annotation_ui.database import open_database

    with _failures():
        database = open_database(db)
        with database.write() as session:
            add_user(session, name, role, _password(), now=time.time())
    typer.echo(f"{name} may log in as {role}")


@user_app.command("password")
def user_password(name: str, db: DatabaseOption = DEFAULT_DB) -> None:
    """Give an account a new password and log it out everywhere."""
    from annotation_ui.accounts import set_password
    from annotation_ui.database import open_database

    with _failures():
        database = open_database(db)
        with database.write() as session:
            set_password(session, name, _password(), now=time.time())
    typer.echo(f"{name} has a new password")


@user_app.command("disable")
def user_disable(name: str, db: DatabaseOption = DEFAULT_DB) -> None:
    """Let an account act no more. What it said stays in the record."""
    from annotation_ui.accounts import disable
    from annotation_ui.database import open_database

    with _failures(), open_database(db).write() as session:
        disable(session, name, now=time.time())
    typer.echo(f"{name} is locked out")


def _password() -> str:
    return os.environ.get("KEEL_PASSWORD") or typer.prompt("Password", hide_input=True, confirmation_prompt=True)


@app.command("import")
def import_command(
    data: Annotated[list[str], typer.Argument(metavar="DATA...", help="Files, globs, hub data sets, synthetic:….")],
    project: Annotated[str, typer.Option(help="Made if there is none by that name.")],
    kind: Annotated[Kind | None, typer.Option(help="Of a new project.")] = None,
    votes: Annotated[int, typer.Option(min=1, help="Of a new project: annotators per item.")] = 1,
    gold: Annotated[bool, typer.Option(help="The labels are known answers; the items check annotators.")] = False,
    guideline: Annotated[Path | None, typer.Option(help="Of a new project; Markdown.")] = None,
    max_bad: Annotated[int, typer.Option(min=0, help="How many bad rows are accepted.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Read at most so many rows of each source.")] = None,
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    """Add items to judge, and votes made elsewhere. All of it or nothing: a bad row is named and stops the import."""
    from annotation_ui.database import open_database
    from annotation_ui.importing import import_items

    with _failures():
        database, now = open_database(db), time.time()
        text = guideline.read_text(encoding="utf-8") if guideline else None
        with database.write() as session:
            _prepare(session, project, kind, votes, text, now)
        done = import_items(
            database,
            project,
            data,
            gold=gold,
            max_bad=max_bad,
            limit=limit,
            author=CLI,
            now=now,
            on_progress=lambda rows: typer.echo(f"{rows} rows read", err=True),
        )
    for row in done.bad:
        typer.echo(f"left out {row.file}:{row.line}: {row.reason}", err=True)
    added = done.added
    typer.echo(
        f"{added.items} items added, {added.known} were there; {added.votes} votes by {len(added.annotators)} people "
        f"added, {added.known_votes} were there; {len(done.bad)} bad rows left out"
    )


def _prepare(session: Session, name: str, kind: Kind | None, votes: int, guideline: str | None, now: float) -> None:
    """Make the project, or see that the one there is is meant."""
    from annotation_ui.projects import ProjectError, Settings, create_project, find_project, has_project

    if has_project(session, name):
        found = find_project(session, name)
        if kind not in (None, found.kind):
            raise ProjectError(f"{name!r} is a {found.kind} project, not {kind}")
        if guideline is not None:
            raise ProjectError(f"{name!r} has a guideline; `keel annotate guideline FILE` gives it a new version")
        return
    if kind is None:
        raise ProjectError(f"there is no project {name!r} yet; make it with --kind preference or --kind safety")
    create_project(session, name, kind, Settings(votes_per_item=votes), guideline=guideline, author=CLI, now=now)


@app.command("guideline")
def guideline_command(
    file: Annotated[Path, typer.Argument(metavar="FILE.md")],
    project: ProjectOption = None,
    harm: Annotated[
        list[str] | None, typer.Option(help="A category of harm, in place of those there are. Repeatable.")
    ] = None,
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    """Give a project a new version of its guideline. Verdicts remember the version they were given by."""
    from annotation_ui.assignment import newest_guideline
    from annotation_ui.database import open_database
    from annotation_ui.projects import add_guideline, find_project

    with _failures():
        text = file.read_text(encoding="utf-8")
        with open_database(db).write() as session:
            found = find_project(session, project)
            harms = harm or newest_guideline(session, found).harms
            version = add_guideline(session, found, text, harms, author=CLI, now=time.time()).version
    typer.echo(f"guideline version {version} of {found.name}")


@app.command("export")
def export_command(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Where train, eval and report.json go.")],
    project: ProjectOption = None,
    snapshot_name: Annotated[
        str | None, typer.Option("--snapshot", help="One taken before; without it a new one is taken now.")
    ] = None,
    file_format: Annotated[Literal["jsonl", "csv", "parquet"], typer.Option("--format")] = "jsonl",
    aggregate: Annotated[Aggregate, typer.Option(help="How several votes become one label.")] = "majority",
    ties: Annotated[Literal["drop", "keep"], typer.Option()] = "drop",
    both_bad: Annotated[Literal["drop", "tie"], typer.Option()] = "drop",
    min_votes: Annotated[int, typer.Option(min=1)] = 1,
    min_agreement: Annotated[float, typer.Option(min=0.0, max=1.0)] = 0.0,
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    """Write a snapshot as TRL preference or unpaired preference data, split by prompt, and count what was left out."""
    from annotation_ui.database import open_database
    from annotation_ui.exporting import Policy, export, snapshot, write_export
    from annotation_ui.projects import find_project

    policy = Policy(aggregate=aggregate, ties=ties, both_bad=both_bad, min_votes=min_votes, min_agreement=min_agreement)
    with _failures():
        database = open_database(db)
        with database.write() as session:
            found = find_project(session, project)
            if snapshot_name is None:
                made = snapshot(session, found, None, author=CLI, now=time.time())
                snapshot_name = made.name
            result = export(session, found, snapshot_name, policy)
        files = write_export(result, out, file_format)
    for reason, count in result.counts.items():
        typer.echo(f"{count:6d} items {reason}")
    for path, rows in zip(files, result.rows.values(), strict=False):
        typer.echo(f"wrote {len(rows)} rows to {path}")
    typer.echo(f"snapshot {result.snapshot}; train on it with data.train=[annotations://{db}#{result.snapshot}]")


@app.command("items")
def items_command(
    out: Annotated[Path, typer.Argument(metavar="FILE.jsonl")],
    project: ProjectOption = None,
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    """Write the items of a project for a reward model to score; `keel annotate scores` takes the scores back."""
    from annotation_ui.database import open_database
    from annotation_ui.projects import find_project
    from annotation_ui.scoring import items_to_score

    with _failures():
        with open_database(db).read() as session:
            rows = list(items_to_score(session, find_project(session, project)))
        out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    typer.echo(f"wrote {len(rows)} items; score them with `keel score --model MODEL --data {out} --out SCORES.jsonl`")


@app.command("scores")
def scores_command(
    items: Annotated[Path, typer.Argument(metavar="ITEMS.jsonl", help="What `keel annotate items` wrote.")],
    scores: Annotated[Path, typer.Argument(metavar="SCORES.jsonl", help="A line for each line of it.")],
    scorer: Annotated[str, typer.Option(help="The name to show for the model.")],
    project: ProjectOption = None,
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    """Keep a reward model's scores: people judge next what it is least sure of, and see its margin after their vote."""
    from annotation_ui.database import open_database
    from annotation_ui.projects import find_project
    from annotation_ui.scoring import add_scores

    with _failures(), open_database(db).write() as session:
        found = find_project(session, project)
        rows = [_lines(items), _lines(scores)]
        count = add_scores(session, found, scorer, *rows, author=CLI, now=time.time())
    typer.echo(f"{count} items scored by {scorer}; the evaluation slice keeps its order")


def _lines(path: Path) -> list[dict[str, Any]]:
    from reward_models.data.files import BadRow, read_rows
    from reward_models.data.sources import BadRowsError

    rows: list[dict[str, Any]] = []
    for item in read_rows(path):
        if isinstance(item, BadRow):
            raise BadRowsError([item], 0)
        rows.append(item[1])
    return rows


@app.command()
def migrate(db: DatabaseOption = DEFAULT_DB) -> None:
    """Bring a database of an older version up to date; a SQLite file is copied first."""
    from annotation_ui.database import Database

    with _failures():
        backup = Database(db).migrate()
    typer.echo(f"up to date{f'; the file as it was is {backup}' if backup else ''}")


@contextmanager
def _failures() -> Iterator[None]:
    """A known failure becomes its message and an exit status."""
    from annotation_ui.accounts import AccountError
    from annotation_ui.database import DatabaseError
    from annotation_ui.projects import ProjectError
    from reward_models.data.sources import BadRowsError, SourceError

    try:
        yield
    except BadRowsError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    except (SourceError, DatabaseError, ProjectError, AccountError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
