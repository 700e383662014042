"""``keel annotate``: the app and its accounts. Imports wait until a command runs."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from keel.commands import annotate_data as data_commands
from keel.commands import annotate_hub as hub_commands
from keel.commands import annotate_projects as project_commands
from keel.commands import annotate_service as service_commands
from keel.commands import annotate_users as user_commands
from keel.commands.annotate_options import CLI, DEFAULT_DB, DatabaseOption, Kind
from keel.failures import failures

if TYPE_CHECKING:
    from fastapi import FastAPI

    from annotation_ui.store.database import Database
    from annotation_ui.web.oidc_settings import OidcSettings

app = typer.Typer(
    help="Compare responses and label safety in the browser, over a real database.", invoke_without_command=True
)
app.add_typer(user_commands.app, name="user")
app.add_typer(data_commands.app)
app.add_typer(hub_commands.app)
app.add_typer(project_commands.app)
app.add_typer(service_commands.projects)
app.add_typer(service_commands.members, name="member")
app.add_typer(service_commands.tokens, name="token")
app.add_typer(service_commands.hooks, name="webhook")

LOCAL = ("127.0.0.1", "localhost", "::1")
NOBODY = "you"
TOKEN_VARIABLE = "KEEL_ANNOTATE_TOKEN"  # in the place of a random one
RUNS = Path("runs/annotation")
KEEL = (sys.executable, "-m", "keel.cli")  # the command line in a process of its own
TLS = (
    "Put TLS in front (a reverse proxy such as Caddy or nginx that forwards to 127.0.0.1) and start with "
    "--secure-cookie."
)


@app.callback()
@failures("annotate")
def annotate(
    context: typer.Context,
    db: DatabaseOption = DEFAULT_DB,
    host: Annotated[str, typer.Option(help="Where to listen. Beyond this machine only with accounts.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 7860,
    secure_cookie: Annotated[bool, typer.Option(help="Behind TLS: send the cookie over HTTPS only.")] = False,
    demo: Annotated[bool, typer.Option(help="Try it on built-in data, in a database that is thrown away.")] = False,
    runs: Annotated[Path, typer.Option(metavar="DIR", help="Where models trained from the dashboard go.")] = RUNS,
    preference_config: Annotated[
        str, typer.Option(help="Preset or YAML file to train a reward model with, of all kinds but safety.")
    ] = "helpful_cpu",
    safety_config: Annotated[str, typer.Option(help="The same for a safety project.")] = "safety_cpu",
    sft_config: Annotated[
        str, typer.Option(help="Preset or YAML file to fine-tune a policy with, from a project of rewrites.")
    ] = "sft_rewrites_cpu",
    reward_model: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Score the items of its kind by this model, in the background. Repeatable."),
    ] = None,
    private_webhooks: Annotated[
        bool, typer.Option("--private-webhooks", help="Also send webhooks to loopback and private addresses.")
    ] = False,
) -> None:
    """Open the app. Without accounts it serves one user, on this machine only, at the address with the token that it
    prints (or KEEL_ANNOTATE_TOKEN).

    `keel annotate import DATA... --project NAME --kind preference` first; `keel annotate user add NAME` for a team.
    """
    if context.invoked_subcommand is not None:
        return
    from annotation_ui.store.database import open_database

    if demo:
        for name in ("db", "runs", "preference_config", "safety_config", "sft_config", "reward_model"):
            if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE":
                option = f"--{name.replace('_', '-')}"
                raise typer.BadParameter(f"--demo has a database, runs and models of its own; leave out {option}")
        with tempfile.TemporaryDirectory(prefix="keel-annotate-") as directory:
            database = open_database(str(Path(directory) / "demo.db"))
            fill_demo(database)
            configs: dict[Kind, str] = {
                "preference": "helpful_demo",
                "safety": "safety_demo",
                "rewrite": "sft_rewrites_cpu",
            }
            _serve(database, host, port, secure_cookie, Path(directory) / "runs", configs, private_webhooks)
    else:
        database = open_database(db)
        _ask_for_scores(database, reward_model or [])
        configs = {"preference": preference_config, "safety": safety_config, "rewrite": sft_config}
        _serve(database, host, port, secure_cookie, runs, configs, private_webhooks)


def _ask_for_scores(database: Database, models: list[Path]) -> None:
    """A background job for each model and each project of its kind."""
    from sqlalchemy import select

    from annotation_ui.actions.jobs import model_kind, request_scoring
    from annotation_ui.store.tables import Project

    for model in models:
        kind = model_kind(model)
        with database.write() as session:
            for project in session.scalars(select(Project).where(Project.kind == kind)):
                request_scoring(session, project, model.absolute(), author=CLI, now=time.time())


def _serve(
    database: Database,
    host: str,
    port: int,
    secure_cookie: bool,
    runs: Path,
    configs: Mapping[Kind, str],
    private_webhooks: bool,
) -> None:
    from annotation_ui.actions.jobs import JobRunner
    from annotation_ui.actions.webhooks import WebhookSender
    from annotation_ui.store.accounts import add_user, anyone_can_log_in, find_user
    from annotation_ui.web.server import build

    log_format = _log_format()
    oidc = _single_sign_on(host, port)
    with database.read() as session:
        alone = oidc is None and not anyone_can_log_in(session)
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
    token = (os.environ.get(TOKEN_VARIABLE) or secrets.token_urlsafe(24)) if alone else None
    server = build(
        database,
        single_user=NOBODY if alone else None,
        token=token,
        secure_cookie=secure_cookie,
        oidc=oidc,
        metrics_token=os.environ.get("KEEL_METRICS_TOKEN", ""),
    )
    address = f"http://{host}:{port}/{f'?token={quote(token)}' if token else ''}"
    typer.echo(f"Keel annotate on {address} ({database}); Ctrl-C stops it")
    if oidc is not None:
        typer.echo(f"single sign-on at {oidc.issuer}, which sends browsers back to {oidc.redirect}")
    jobs = JobRunner(database, command=KEEL, runs=runs, configs=configs)
    sender = WebhookSender(database, allow_private=private_webhooks)
    jobs.start()
    sender.start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that what follows is done: uvicorn hands it on to us
    try:
        _listen(server, host, port, log_format)
    finally:
        sender.stop()
        jobs.stop()


def _single_sign_on(host: str, port: int) -> OidcSettings | None:
    """The settings of single sign-on, with a warning if its provider does not answer: passwords work without it."""
    from annotation_ui.web.oidc_settings import read_settings

    oidc = read_settings(os.environ, local=f"http://{host}:{port}" if host in LOCAL else None)
    if oidc is not None:
        from annotation_ui.web.oidc_client import OidcClient, ProviderError  # Authlib is an extra

        try:
            OidcClient(oidc).metadata()
        except ProviderError as error:
            typer.echo(
                f"warning: the provider of single sign-on cannot be used now ({error}); it is asked again at every "
                "sign-in",
                err=True,
            )
    return oidc


def _listen(server: FastAPI, host: str, port: int, log_format: str) -> None:
    """Serve until a signal ends it."""
    import uvicorn

    uvicorn.run(
        server,
        host=host,
        port=port,
        log_level="warning",
        server_header=False,
        forwarded_allow_ips="127.0.0.1",
        access_log=False,
        log_config=None if log_format == "json" else uvicorn.config.LOGGING_CONFIG,
    )


def _log_format() -> str:
    """Set up the log as KEEL_LOG_FORMAT says."""
    from annotation_ui.web.observing import log_as

    chosen = os.environ.get("KEEL_LOG_FORMAT", "text")
    if chosen not in ("text", "json"):
        raise ValueError(f"KEEL_LOG_FORMAT is text or json, not {chosen[:40]!r}")
    log_as("json" if chosen == "json" else "text")
    return chosen


def fill_demo(database: Database, items: int = 60) -> None:
    """Two projects of synthetic items."""
    from annotation_ui.exchange.importing import import_items
    from annotation_ui.store.projects import Settings, create_project

    now = time.time()
    with database.write() as session:
        create_project(session, "helpful", "preference", Settings(gold_rate=0.0), author="demo", now=now)
        create_project(session, "safety", "safety", Settings(gold_rate=0.0), author="demo", now=now)
    for project in ("helpful", "safety"):
        import_items(database, project, [f"synthetic:{project}"], limit=items, author="demo", now=now)


@app.command()
@failures("annotate")
def migrate(db: DatabaseOption = DEFAULT_DB) -> None:
    """Bring a database of an older version up to date; a SQLite file is copied first."""
    from annotation_ui.store.database import Database

    backup = Database(db).migrate()
    typer.echo(f"up to date{f'; the file as it was is {backup}' if backup else ''}")
