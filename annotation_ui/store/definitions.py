"""The definition of a project that is in force, and its replacement by another."""

from __future__ import annotations

from typing import cast

from sqlalchemy.orm import Session

from annotation_ui.store.forms import Definition, Form, Kind
from annotation_ui.store.projects import ProjectError, add_guideline
from annotation_ui.store.tables import Guideline, Project


def definition_of(project: Project, guideline: Guideline) -> Definition:
    """A project as data, under one version of its guideline."""
    form = Form.from_dict(guideline.form)
    kind = cast(Kind, project.kind)
    return Definition(kind=kind, guideline=guideline.text, harms=tuple(guideline.harms), form=form)


def define(session: Session, project: Project, definition: Definition, *, author: str, now: float) -> Guideline:
    """Put ``definition`` into force, as the next version of the guideline.

    Raises:
        ProjectError: it is of another kind, or the guideline is too long.
    """
    if definition.kind != project.kind:
        raise ProjectError(f"{project.name!r} is a {project.kind} project; the definition is of kind {definition.kind}")
    text, harms, form = definition.guideline, definition.harms, definition.form
    return add_guideline(session, project, text, harms, form=form, author=author, now=now)
