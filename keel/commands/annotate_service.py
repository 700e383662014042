"""``keel annotate token``, ``webhook`` and ``member``; ``archive``, ``restore`` and ``release``. Imports wait."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from keel.commands.annotate_options import CLI, DEFAULT_DB, DatabaseOption, ProjectOption, changing, reading, writing
from keel.failures import failures

tokens = typer.Typer(help="Tokens of the REST interface.", no_args_is_help=True)
hooks = typer.Typer(help="Addresses that are told of events.", no_args_is_help=True)
members = typer.Typer(help="Who sees a project.", no_args_is_help=True)
projects = typer.Typer()


@tokens.command("create")
@failures("annotate")
def create_token(
    user: Annotated[str, typer.Argument(help="The account that the token acts as.")],
    scope: Annotated[list[str], typer.Option(help="read, import, export or admin. Repeatable.")],
    name: Annotated[str, typer.Option(help="To know it by in the list.")] = "command line",
    days: Annotated[float, typer.Option(help="How long it holds; at most 366.")] = 90.0,
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    """Make a token and print it. It is not stored and cannot be shown again."""
    from annotation_ui.store.tokens import make_token

    with writing(db) as session:
        _, secret = make_token(session, user, name, scope, days=days, by=CLI, now=time.time())
    typer.echo(secret)


@tokens.command("list")
@failures("annotate")
def list_tokens(
    user: Annotated[str | None, typer.Option(help="Of this account only.")] = None, db: DatabaseOption = DEFAULT_DB
) -> None:
    """Show tokens without their secrets: number, account, name, scopes, state, end."""
    from annotation_ui.store.tokens import token_state, tokens_of

    with reading(db) as session:
        for token in tokens_of(session, user):
            end = time.strftime("%Y-%m-%d", time.gmtime(token.expires))
            state = token_state(token, now=time.time())
            fields = (token.id, token.user.name, token.name, ",".join(token.scopes), state, end)
            typer.echo("\t".join(map(str, fields)))


@tokens.command("revoke")
@failures("annotate")
def revoke_token(number: int, db: DatabaseOption = DEFAULT_DB) -> None:
    """End a token at once."""
    from annotation_ui.store.tokens import revoke_token

    with writing(db) as session:
        revoke_token(session, number, by=CLI, now=time.time())
    typer.echo(f"token {number} is revoked")


@hooks.command("add")
@failures("annotate")
def add_hook(
    url: str,
    event: Annotated[list[str], typer.Option(help="judged, edited, imported, snapshot taken, … Repeatable.")],
    project: Annotated[str | None, typer.Option(help="Events of this project only.")] = None,
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    """Tell an address of events, and print the secret that signs what it is sent, which cannot be shown again."""
    from annotation_ui.store.webhooks import add_webhook, private_note

    with writing(db) as session:
        made = add_webhook(session, url, event, project=project, by=CLI, now=time.time())
    typer.echo(f"webhook {made.id}\n{made.secret}")
    if note := private_note(url):
        typer.echo(f"warning: {note}", err=True)


@hooks.command("list")
@failures("annotate")
def list_hooks(db: DatabaseOption = DEFAULT_DB) -> None:
    """Show every webhook with the state of its last delivery."""
    from annotation_ui.store.webhooks import delivery_state, outbox, webhooks

    with reading(db) as session:
        for hook in webhooks(session):
            last = outbox(session, hook.id, limit=1)
            state = f"{delivery_state(last[0])} {last[0].problem}".strip() if last else "nothing sent yet"
            state = state if hook.active else f"disabled; {state}"
            typer.echo(f"{hook.id}\t{hook.url}\t{hook.project or 'every project'}\t{', '.join(hook.events)}\t{state}")


@hooks.command("disable")
@failures("annotate")
def disable_hook(number: int, db: DatabaseOption = DEFAULT_DB) -> None:
    """Tell a webhook of nothing until it is enabled again. What waits to be sent is dropped."""
    from annotation_ui.store.webhooks import set_active

    with writing(db) as session:
        set_active(session, number, False, by=CLI, now=time.time())
    typer.echo(f"webhook {number} is disabled")


@hooks.command("enable")
@failures("annotate")
def enable_hook(number: int, db: DatabaseOption = DEFAULT_DB) -> None:
    """Tell a disabled webhook of events again, from now on."""
    from annotation_ui.store.webhooks import set_active

    with writing(db) as session:
        set_active(session, number, True, by=CLI, now=time.time())
    typer.echo(f"webhook {number} is enabled")


@hooks.command("test")
@failures("annotate")
def try_hook(number: int, db: DatabaseOption = DEFAULT_DB) -> None:
    """Send a webhook a message that is a test; a running app sends it within seconds."""
    from annotation_ui.store.webhooks import send_test

    with writing(db) as session:
        send_test(session, number, by=CLI, now=time.time())
    typer.echo(f"the test waits to be sent; `keel annotate webhook deliveries {number}` shows what came of it")


@hooks.command("deliveries")
@failures("annotate")
def list_deliveries(number: int, db: DatabaseOption = DEFAULT_DB) -> None:
    """Show the last messages of a webhook: event, state, attempts, last problem."""
    from annotation_ui.store.tables import Event
    from annotation_ui.store.webhooks import delivery_state, find_webhook, outbox

    with reading(db) as session:
        find_webhook(session, number)
        for sent in outbox(session, number):
            event = session.get_one(Event, sent.event_id)
            typer.echo(f"{event.kind}\t{delivery_state(sent)}\t{sent.attempts} attempts\t{sent.problem}")


@hooks.command("remove")
@failures("annotate")
def remove_hook(number: int, db: DatabaseOption = DEFAULT_DB) -> None:
    """Tell a webhook of nothing more."""
    from annotation_ui.store.webhooks import remove_webhook

    with writing(db) as session:
        remove_webhook(session, number, by=CLI, now=time.time())
    typer.echo(f"webhook {number} is removed")


@members.command("list")
@failures("annotate")
def list_members(project: ProjectOption = None, db: DatabaseOption = DEFAULT_DB) -> None:
    """Show the members of a project, and whether it is for members only."""
    from annotation_ui.store.membership import members_of
    from annotation_ui.store.projects import find_project

    with reading(db) as session:
        found = find_project(session, project)
        typer.echo(f"{found.name}: {'for members only' if found.members_only else 'for every account'}")
        for name in members_of(session, found):
            typer.echo(name)


@members.command("add")
@failures("annotate")
def add_one(name: str, project: ProjectOption = None, db: DatabaseOption = DEFAULT_DB) -> None:
    """Let an account see a project that is for members only."""
    from annotation_ui.store.membership import add_member

    with changing(db, project) as (session, found):
        add_member(session, found, name, by=CLI, now=time.time())
        note = "" if found.members_only else f"; every account sees {found.name} until `keel annotate member only`"
    typer.echo(f"{name} is a member of {found.name}{note}")


@members.command("remove")
@failures("annotate")
def remove_one(name: str, project: ProjectOption = None, db: DatabaseOption = DEFAULT_DB) -> None:
    """End a membership. What the member judged stays."""
    from annotation_ui.store.membership import remove_member

    with changing(db, project) as (session, found):
        remove_member(session, found, name, by=CLI, now=time.time())
    typer.echo(f"{name} is no member of {found.name} any more")


@members.command("only")
@failures("annotate")
def only_members(
    project: ProjectOption = None,
    everybody: Annotated[bool, typer.Option("--everybody", help="Open it to every account again.")] = False,
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    """Show a project to its members and to admins only."""
    from annotation_ui.store.membership import set_members_only

    with changing(db, project) as (session, found):
        set_members_only(session, found, not everybody, by=CLI, now=time.time())
    typer.echo(f"{found.name} is for {'every account' if everybody else 'its members only'}")


@projects.command("archive")
@failures("annotate")
def archive_project(project: ProjectOption = None, db: DatabaseOption = DEFAULT_DB) -> None:
    """End the work on a project: it takes no more votes, and everything in it stays readable."""
    from annotation_ui.store.membership import archive

    with changing(db, project) as (session, found):
        archive(session, found, by=CLI, now=time.time())
    typer.echo(f"{found.name} is archived; `keel annotate restore` opens it again")


@projects.command("restore")
@failures("annotate")
def restore_project(project: ProjectOption = None, db: DatabaseOption = DEFAULT_DB) -> None:
    """Open an archived project again."""
    from annotation_ui.store.membership import restore

    with changing(db, project) as (session, found):
        restore(session, found, by=CLI, now=time.time())
    typer.echo(f"{found.name} takes votes again")


@projects.command("release")
@failures("annotate")
def release_leases(
    project: ProjectOption = None,
    annotator: Annotated[str | None, typer.Option(help="Only what this account holds.")] = None,
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    """Give the items on annotators' screens back to the queue. What they send of them afterwards is refused."""
    from annotation_ui.actions.administration import release_open

    with changing(db, project) as (session, found):
        count = release_open(session, found, annotator, by=CLI, now=time.time())
    typer.echo(f"{count} items of {found.name} are in the queue again")


@projects.command("backup")
@failures("annotate")
def back_up_command(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")], db: DatabaseOption = DEFAULT_DB
) -> None:
    """Copy a SQLite database, as it is at one moment, while the app goes on. The copy is checked."""
    from annotation_ui.store.backup import back_up
    from annotation_ui.store.database import open_database

    count = back_up(open_database(db), out)
    typer.echo(f"{out} holds {count} judgements; `keel annotate restore-backup {out} --db NEW.db` reads it back")


@projects.command("restore-backup")
@failures("annotate")
def restore_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A copy that `keel annotate backup` made.")],
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    """Make the database --db, which must not be there, from a copy, and bring it up to date."""
    from annotation_ui.store.backup import restore
    from annotation_ui.store.database import DatabaseError, open_database

    if "://" in db:
        raise DatabaseError("a copy of a SQLite database is read back into a SQLite file")
    count = restore(file, Path(db))
    open_database(db).close()
    typer.echo(f"{db} holds {count} judgements")
