"""The actions of admins on accounts, projects and tokens, and those of everybody on the own tokens.

Each checks the role of ``who``, the account behind the request; the command line calls the functions of the store that
stand behind them, with the right of the person who may open the database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation_ui.labelling.assignment import newest_guideline, take_back
from annotation_ui.labelling.forecast import Forecast, forecast
from annotation_ui.labelling.gold import missing_known_answers
from annotation_ui.labelling.progress import ProjectProgress, project_progress
from annotation_ui.store import accounts, definitions, membership, projects, tokens
from annotation_ui.store.accounts import ROLES, Account, Role, UnknownAccount, require
from annotation_ui.store.database import Database
from annotation_ui.store.forms import read_definition
from annotation_ui.store.privacy import forget
from annotation_ui.store.tables import Assignment, Event, Guideline, Item, Project, User

REVIEWERS: tuple[Role, ...] = ("reviewer", "admin")


@contextmanager
def _admin(database: Database, who: str | None) -> Iterator[tuple[Session, str]]:
    with database.write() as session:
        yield session, require(session, who, "admin").name


# Accounts


def list_users(database: Database, who: str | None) -> list[Account]:
    with database.read() as session:
        require(session, who, "admin")
        return accounts.list_accounts(session)


def add_user(database: Database, who: str | None, name: str, role: Role, password: str | None, *, now: float) -> None:
    """A new account; without a password nobody can log in as it until it is given one."""
    with _admin(database, who) as (session, by):
        accounts.add_user(session, name, role, password, by=by, now=now)


def change_user(
    database: Database,
    who: str | None,
    name: str,
    *,
    role: Role | None = None,
    active: bool | None = None,
    password: str | None = None,
    now: float,
) -> None:
    """Give an account another role, let it in or lock it out, or give it a new password.

    Raises:
        AccountError: there is no such account, or no admin that can log in would be left.
    """
    with _admin(database, who) as (session, by):
        if (role is not None and role != "admin") or active is False:
            accounts.require_another_admin(session, name)
        if role is not None:
            accounts.set_role(session, name, role, by=by, now=now)
        if password is not None:
            accounts.set_password(session, name, password, by=by, now=now)
        if active is not None:
            (accounts.enable if active else accounts.disable)(session, name, by=by, now=now)


def remove_name(database: Database, who: str | None, name: str, *, now: float) -> str:
    """Put a pseudonym in the place of a person's name, for good; returns the pseudonym."""
    with _admin(database, who) as (session, by):
        accounts.require_another_admin(session, name)
        return forget(session, name, by=by, now=now)


# Tokens of the API


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenInfo:
    """A token as lists show it, without its secret."""

    token: int
    user: str
    name: str
    scopes: tuple[str, ...]
    state: str
    created: float
    expires: float
    used: float | None


def make_token(
    database: Database, who: str | None, name: str, scopes: Sequence[str], *, days: float, now: float
) -> tuple[TokenInfo, str]:
    """A token of the own account, and its secret, which is shown this once."""
    with database.write() as session:
        user = require(session, who, *ROLES)
        made, secret = tokens.make_token(session, user.name, name, scopes, days=days, by=user.name, now=now)
        return _info(made, now), secret


def list_tokens(database: Database, who: str | None, *, everybody: bool = False, now: float) -> list[TokenInfo]:
    """The tokens of the own account; of all accounts for an admin who asks for ``everybody``."""
    with database.read() as session:
        user = require(session, who, *(("admin",) if everybody else ROLES))
        return [_info(token, now) for token in tokens.tokens_of(session, None if everybody else user.name)]


def revoke_token(database: Database, who: str | None, token: int, *, now: float) -> None:
    """End one of the own tokens; an admin may end any."""
    with database.write() as session:
        user = require(session, who, *ROLES)
        owner = None if user.role == "admin" else user.name
        tokens.revoke_token(session, token, owner=owner, by=user.name, now=now)


def _info(token: Any, now: float) -> TokenInfo:
    return TokenInfo(
        token=token.id,
        user=token.user.name if token.user else "",
        name=token.name,
        scopes=tuple(token.scopes),
        state=tokens.token_state(token, now=now),
        created=token.created,
        expires=token.expires,
        used=token.used,
    )


# Projects


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectInfo:
    """A project with its settings, the guideline and the definition (YAML) in force and, for reviewers, its members.

    ``warnings``: the settings that have no effect as yet, and the reason; for reviewers, and not in lists of projects.
    """

    name: str
    kind: str
    settings: Mapping[str, Any]
    members_only: bool
    archived: float | None
    created: float
    guideline: str
    guideline_version: int
    harms: tuple[str, ...]
    definition: str
    members: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def list_projects(database: Database, who: str | None) -> list[ProjectInfo]:
    """The projects that ``who`` may see, by name; an annotator only those that are not archived."""
    with database.read() as session:
        user = require(session, who, *ROLES)
        wanted = membership.visible(user).order_by(Project.name)
        if user.role == "annotator":
            wanted = wanted.where(Project.archived.is_(None))
        return [_project(session, user, project) for project in session.scalars(wanted)]


def project_info(database: Database, who: str | None, project_name: str | None) -> ProjectInfo:
    with database.read() as session:
        user = require(session, who, *ROLES)
        project = membership.find_visible(session, user, project_name)
        found = _project(session, user, project)
        if user.role == "annotator":
            return found
        return replace(found, warnings=missing_known_answers(session, project))


def _project(session: Session, user: User, project: Project) -> ProjectInfo:
    guideline = newest_guideline(session, project)
    return ProjectInfo(
        name=project.name,
        kind=project.kind,
        settings={name: getattr(project, name) for name in projects.Settings.__slots__},
        members_only=project.members_only,
        archived=project.archived,
        created=project.created,
        guideline=guideline.text,
        guideline_version=guideline.version,
        harms=tuple(guideline.harms),
        definition=definitions.definition_of(project, guideline).to_yaml(),
        members=() if user.role == "annotator" else tuple(membership.members_of(session, project)),
    )


def create_project(
    database: Database,
    who: str | None,
    name: str,
    kind: Any,
    settings: Mapping[str, Any],
    *,
    guideline: str | None = None,
    now: float,
) -> None:
    with _admin(database, who) as (session, by):
        chosen = projects.Settings(**settings)
        projects.create_project(session, name, kind, chosen, guideline=guideline, author=by, now=now)


def change_project(
    database: Database,
    who: str | None,
    project_name: str | None,
    *,
    settings: Mapping[str, Any] | None = None,
    members_only: bool | None = None,
    archived: bool | None = None,
    now: float,
) -> None:
    """Change settings, restrict the project to members or open it, archive or restore it.

    Raises:
        ProjectError: there is no such project, or a setting makes no sense.
    """
    with _admin(database, who) as (session, by):
        project = projects.find_project(session, project_name)
        if settings:
            projects.change_settings(session, project, settings, author=by, now=now)
        if members_only is not None:
            membership.set_members_only(session, project, members_only, by=by, now=now)
        if archived is not None:
            (membership.archive if archived else membership.restore)(session, project, by=by, now=now)


def add_guideline(
    database: Database,
    who: str | None,
    project_name: str | None,
    text: str,
    harms: Sequence[str] | None = None,
    *,
    now: float,
) -> int:
    """The next version of the guideline, with the harms of the one before unless given; returns its number."""
    with _admin(database, who) as (session, by):
        project = projects.find_project(session, project_name)
        return projects.add_guideline(session, project, text, harms, author=by, now=now).version


def define(database: Database, who: str | None, project_name: str | None, definition: str, *, now: float) -> int:
    """Put a definition in YAML into force, as the next version of the guideline; returns its number.

    Raises:
        DefinitionError: it makes no sense, or is of another kind.
    """
    with _admin(database, who) as (session, by):
        project = projects.find_project(session, project_name)
        read = read_definition(definition, kind=project.kind)
        return definitions.define(session, project, read, author=by, now=now).version


def guidelines(database: Database, who: str | None, project_name: str | None) -> list[dict[str, Any]]:
    """Every version of the guideline, newest first."""
    with database.read() as session:
        project = membership.find_visible(session, require(session, who, *ROLES), project_name)
        found = session.scalars(
            select(Guideline).where(Guideline.project_id == project.id).order_by(Guideline.version.desc())
        )
        return [{"version": g.version, "text": g.text, "harms": list(g.harms), "created": g.created} for g in found]


def change_member(
    database: Database, who: str | None, project_name: str | None, name: str, member: bool, *, now: float
) -> None:
    with _admin(database, who) as (session, by):
        project = projects.find_project(session, project_name)
        (membership.add_member if member else membership.remove_member)(session, project, name, by=by, now=now)


def progress_of(
    database: Database, who: str | None, project_name: str | None, *, now: float
) -> tuple[ProjectProgress, Forecast]:
    with database.read() as session:
        project = membership.find_visible(session, require(session, who, *REVIEWERS), project_name)
        progress = project_progress(session, project, now=now)
        return progress, forecast(session, project, progress, now=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leases:
    """The open leases of one annotator: how many, and when the first of them was taken."""

    annotator: str
    count: int
    since: float


def leases(database: Database, who: str | None, project_name: str | None) -> list[Leases]:
    """The items that are in annotators' hands, by annotator."""
    with database.read() as session:
        require(session, who, "admin")
        project = projects.find_project(session, project_name)
        rows = session.execute(
            select(User.name, func.count(), func.min(Assignment.leased_at))
            .join(User, User.id == Assignment.user_id)
            .join(Item, Item.id == Assignment.item_id)
            .where(Item.project_id == project.id, Assignment.state == "leased")
            .group_by(User.name)
            .order_by(User.name)
        )
        return [Leases(annotator=name, count=count, since=since) for name, count, since in rows.all()]


def release_leases(
    database: Database, who: str | None, project_name: str | None, annotator: str | None = None, *, now: float
) -> int:
    """Give the items that are in one annotator's hands, or in everybody's, back to the queue; returns how many."""
    with _admin(database, who) as (session, by):
        return release_open(session, projects.find_project(session, project_name), annotator, by=by, now=now)


def release_open(session: Session, project: Project, annotator: str | None = None, *, by: str, now: float) -> int:
    wanted = select(Assignment).join(Item).where(Item.project_id == project.id, Assignment.state == "leased")
    if annotator is not None:
        user = accounts.find_user(session, annotator)
        if user is None:
            raise UnknownAccount(f"there is no user {annotator!r}")
        wanted = wanted.where(Assignment.user_id == user.id)
    found = session.scalars(wanted.order_by(Assignment.item_id).with_for_update(of=Assignment)).all()
    for assignment in found:
        take_back(session, project, assignment)
    if found:
        detail = {"items": len(found)}
        session.add(Event(at=now, actor=by, kind="leases released", project=project.name, detail=detail))
    return len(found)
