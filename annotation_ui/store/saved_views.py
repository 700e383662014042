"""Saved views: filters of the item browser under a name, each of one person, some shared within the project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from annotation_ui.store.projects import ProjectError
from annotation_ui.store.service_tables import SavedView
from annotation_ui.store.tables import Project, User

MOST = 50  # of one person in one project
LONGEST_NAME = 60


class UnknownView(ProjectError):
    """There is no view by this number that the person may remove."""


def views_for(session: Session, project: Project, user: User) -> list[SavedView]:
    """The person's own views of a project, and those that others share, by name."""
    wanted = select(SavedView).where(
        SavedView.project_id == project.id, or_(SavedView.user_id == user.id, SavedView.shared)
    )
    return list(session.scalars(wanted.order_by(SavedView.name, SavedView.id)))


def save_view(
    session: Session, project: Project, user: User, name: str, fields: Mapping[str, Any], *, shared: bool, now: float
) -> SavedView:
    """Keep a filter under a name, in place of the person's own view of that name.

    Raises:
        ProjectError: the name is unusable, or the person has too many.
    """
    if not name or len(name) > LONGEST_NAME or name != name.strip() or not name.isprintable():
        raise ProjectError(f"a view's name has 1 to {LONGEST_NAME} printable characters")
    own = (SavedView.project_id == project.id, SavedView.user_id == user.id)
    kept = session.scalar(select(SavedView).where(*own, SavedView.name == name).with_for_update())
    if kept is None:
        if (session.scalar(select(func.count(SavedView.id)).where(*own)) or 0) >= MOST:
            raise ProjectError(f"you have {MOST} views of this project; remove one first")
        kept = SavedView(project_id=project.id, user_id=user.id, name=name, created=now)
        session.add(kept)
    kept.fields, kept.shared = dict(fields), shared
    session.flush()
    return kept


def remove_view(session: Session, project: Project, user: User, number: int) -> str:
    """Remove an own view, or as an admin a shared one; its name.

    Raises:
        UnknownView: there is none that this person may remove.
    """
    found = session.get(SavedView, number)
    may = found is not None and (found.user_id == user.id or (found.shared and user.role == "admin"))
    if found is None or found.project_id != project.id or not may:
        raise UnknownView("there is no such view of yours")
    session.delete(found)
    return found.name
