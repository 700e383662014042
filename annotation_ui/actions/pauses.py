"""Annotators whose answers on known items are below the bound of a project, and a reviewer who lets them go on."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation_ui.labelling.gold import GoldRecord, clear, gold_record
from annotation_ui.store.accounts import Role, UnknownAccount, find_user, require
from annotation_ui.store.database import Database
from annotation_ui.store.membership import find_visible
from annotation_ui.store.projects import ProjectError
from annotation_ui.store.tables import Assignment, Item, Project, User

REVIEWERS: tuple[Role, ...] = ("reviewer", "admin")


def held_back(session: Session, project: Project) -> list[tuple[str, GoldRecord]]:
    """The annotators of a project who are warned or paused, by name, each with the record."""
    if not project.pause_below:
        return []
    had = select(Assignment.user_id).join(Item).where(Item.project_id == project.id)
    people = session.scalars(select(User).where(User.id.in_(had)).order_by(User.name)).all()
    records = ((user.name, gold_record(session, user, project)) for user in people)
    return [(name, record) for name, record in records if record.warned or record.paused]


def list_held_back(database: Database, who: str | None, project_name: str | None) -> list[tuple[str, GoldRecord]]:
    with database.read() as session:
        return held_back(session, find_visible(session, require(session, who, *REVIEWERS), project_name))


def let_go_on(database: Database, who: str | None, project_name: str | None, name: str, *, now: float) -> None:
    """Let a paused annotator go on, with a clean record.

    Raises:
        Forbidden: ``who`` is no reviewer.
        UnknownAccount: there is no such annotator.
        ProjectError: the annotator is not paused, or is ``who`` and no admin.
    """
    with database.write() as session:
        reviewer = require(session, who, *REVIEWERS)
        project = find_visible(session, reviewer, project_name)
        resume(session, project, name, by=reviewer.name, own=reviewer.role == "admin", now=now)


def resume(session: Session, project: Project, name: str, *, by: str, own: bool = True, now: float) -> None:
    """Let the annotator ``name`` go on; ``own``: ``by`` may do that for the own account."""
    user = find_user(session, name, lock=True)
    if user is None:
        raise UnknownAccount(f"there is no user {name[:40]!r}")
    if user.name == by and not own:
        raise ProjectError("another reviewer must let you go on")
    if not project.pause_below or not gold_record(session, user, project).paused:
        raise ProjectError(f"{user.name!r} is not paused in {project.name!r}")
    clear(session, user, project, by=by, now=now)
