"""Saved views of the item browser, for reviewers and admins."""

from __future__ import annotations

from dataclasses import dataclass, fields

from annotation_ui.actions.browsing import REVIEWERS, find_items
from annotation_ui.actions.item_filter import ItemFilter, given
from annotation_ui.store import saved_views
from annotation_ui.store.accounts import require
from annotation_ui.store.database import Database
from annotation_ui.store.membership import find_visible
from annotation_ui.store.projects import ProjectError
from annotation_ui.store.service_tables import SavedView
from annotation_ui.store.tables import User


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A saved view; ``removable`` by the person who asked for it."""

    view: int
    name: str
    author: str
    shared: bool
    own: bool
    removable: bool
    wanted: ItemFilter


def list_views(database: Database, who: str | None, project_name: str | None) -> list[View]:
    """The own views of a project, and those that others share."""
    with database.read() as session:
        user = require(session, who, *REVIEWERS)
        project = find_visible(session, user, project_name)
        return [_view(found, user) for found in saved_views.views_for(session, project, user)]


def _view(found: SavedView, user: User) -> View:
    own = found.user_id == user.id
    return View(
        view=found.id,
        name=found.name,
        author=found.user.name,
        shared=found.shared,
        own=own,
        removable=own or user.role == "admin",
        wanted=_filter(found.name, found.fields),
    )


def save_view(
    database: Database,
    who: str | None,
    project_name: str | None,
    name: str,
    wanted: ItemFilter,
    *,
    shared: bool,
    now: float,
) -> View:
    """Keep a filter that finds something or nothing, but no error; in place of the own view of that name.

    Raises:
        ProjectError, SearchError: the filter or the name makes no sense.
    """
    find_items(database, who, project_name, wanted, limit=1)
    with database.write() as session:
        user = require(session, who, *REVIEWERS, lock=True)  # one request at a time: their number is limited
        project = find_visible(session, user, project_name)
        saved = saved_views.save_view(session, project, user, name, given(wanted), shared=shared, now=now)
        return _view(saved, user)


def remove_view(database: Database, who: str | None, project_name: str | None, number: int) -> str:
    """Remove an own view, or as an admin a shared one; its name.

    Raises:
        UnknownView: there is none that this person may remove.
    """
    with database.write() as session:
        user = require(session, who, *REVIEWERS)
        return saved_views.remove_view(session, find_visible(session, user, project_name), user, number)


def _filter(name: str, kept: dict[str, object]) -> ItemFilter:
    unknown = kept.keys() - {part.name for part in fields(ItemFilter)}
    if unknown:
        raise ProjectError(f"the view {name!r} was saved by a newer Keel: it filters by {', '.join(sorted(unknown))}")
    return ItemFilter(**kept)  # type: ignore[arg-type]
