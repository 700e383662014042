"""``keel annotate user``: accounts. Imports wait until a command runs."""

from __future__ import annotations

import os
import time
from typing import Annotated, Literal

import typer

from keel.commands.annotate_options import CLI, DEFAULT_DB, DatabaseOption, reading, writing
from keel.failures import failures

app = typer.Typer(help="Accounts.", no_args_is_help=True)
Role = Literal["annotator", "reviewer", "admin"]


@app.command("list")
@failures("annotate")
def list_users(db: DatabaseOption = DEFAULT_DB) -> None:
    """Show every account: name, role, state, and the judgements it gave."""
    from annotation_ui.store.accounts import list_accounts

    with reading(db) as session:
        for account in list_accounts(session):
            typer.echo(f"{account.name}\t{account.role}\t{account.state}\t{account.judgements} judgements")


@app.command("add")
@failures("annotate")
def add(name: str, role: Annotated[Role, typer.Option()] = "annotator", db: DatabaseOption = DEFAULT_DB) -> None:
    """Make an account. The password is asked for, or read from KEEL_PASSWORD."""
    from annotation_ui.store.accounts import add_user

    secret = _password()
    with writing(db) as session:
        add_user(session, name, role, secret, by=CLI, now=time.time())
    typer.echo(f"{name} may log in as {role}")


@app.command("role")
@failures("annotate")
def change_role(name: str, role: Role, db: DatabaseOption = DEFAULT_DB) -> None:
    """Give an account another role, from its next request on."""
    from annotation_ui.store.accounts import set_role

    with writing(db) as session:
        set_role(session, name, role, by=CLI, now=time.time())
    typer.echo(f"{name} is {role} now")


@app.command("password")
@failures("annotate")
def password(name: str, db: DatabaseOption = DEFAULT_DB) -> None:
    """Give an account a new password and log it out everywhere."""
    from annotation_ui.store.accounts import set_password

    secret = _password()
    with writing(db) as session:
        set_password(session, name, secret, by=CLI, now=time.time())
    typer.echo(f"{name} has a new password")


@app.command("disable")
@failures("annotate")
def lock_out(name: str, db: DatabaseOption = DEFAULT_DB) -> None:
    """Let an account act no more. What it said stays in the record."""
    from annotation_ui.store.accounts import disable

    with writing(db) as session:
        disable(session, name, by=CLI, now=time.time())
    typer.echo(f"{name} is locked out")


@app.command("enable")
@failures("annotate")
def let_in(name: str, db: DatabaseOption = DEFAULT_DB) -> None:
    """Let a disabled account log in again."""
    from annotation_ui.store.accounts import enable

    with writing(db) as session:
        enable(session, name, by=CLI, now=time.time())
    typer.echo(f"{name} may log in again")


@app.command("link")
@failures("annotate")
def link_identity(
    name: str,
    subject: Annotated[str, typer.Argument(help="The person's claim `sub` at the provider.")],
    issuer: Annotated[str, typer.Option(envvar="KEEL_OIDC_ISSUER", help="The provider's address.")],
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    """Let a person at the provider of single sign-on sign in as an account that exists."""
    from annotation_ui.store.identities import link

    with writing(db) as session:
        link(session, name, issuer, subject, by=CLI, now=time.time())
    typer.echo(f"{name} may sign in at {issuer}; the groups there give the role from then on")


@app.command("unlink")
@failures("annotate")
def unlink_identity(name: str, db: DatabaseOption = DEFAULT_DB) -> None:
    """End single sign-on as an account, and its log-ins. A password keeps working."""
    from annotation_ui.store.identities import unlink

    with writing(db) as session:
        unlink(session, name, by=CLI, now=time.time())
    typer.echo(f"nobody signs in as {name} by a provider any more")


@app.command("forget")
@failures("annotate")
def forget_name(
    name: str,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    db: DatabaseOption = DEFAULT_DB,
) -> None:
    """Put a pseudonym in the place of a person's name, for good, and close the account. The votes stay.

    The audit trail gets the pseudonym too, and a line that says so. Copies and exports made before keep the name.
    """
    from annotation_ui.store.privacy import forget

    if not yes:
        typer.confirm(f"Replace the name {name} for good?", abort=True)
    with writing(db) as session:
        pseudonym = forget(session, name, by=CLI, now=time.time())
    typer.echo(
        f"{name} is {pseudonym} now; delete copies of the database that hold the name when you need them no more"
    )


def _password() -> str:
    return os.environ.get("KEEL_PASSWORD") or typer.prompt("Password", hide_input=True, confirmation_prompt=True)
