"""The definition of a project that is in force, and its replacement by another."""

from __future__ import annotations

from typing import cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation_ui.store.forms import Definition, Form, Kind
from annotation_ui.store.projects import ProjectError, add_guideline
from annotation_ui.store.tables import Guideline, Item, Judgement, Project


def definition_of(project: Project, guideline: Guideline) -> Definition:
    """A project as data, under one version of its guideline."""
    form = Form.from_dict(guideline.form)
    kind = cast(Kind, project.kind)
    return Definition(kind=kind, guideline=guideline.text, harms=tuple(guideline.harms), form=form)


def define(session: Session, project: Project, definition: Definition, *, author: str, now: float) -> Guideline:
    """Put ``definition`` into force, as the next version of the guideline.

    Raises:
        ProjectError: it is of another kind, the guideline is too long, or ratings were given on another scale.
    """
    if definition.kind != project.kind:
        raise ProjectError(f"{project.name!r} is a {project.kind} project; the definition is of kind {definition.kind}")
    _require_same_scale(session, project, definition.form)
    text, harms, form = definition.guideline, definition.harms, definition.form
    return add_guideline(session, project, text, harms, form=form, author=author, now=now)


def _require_same_scale(session: Session, project: Project, form: Form) -> None:
    """Refuse another scale where ratings were given: means of both would be of neither."""
    if project.kind != "attributes":
        return
    before = _newest_form(session, project)
    rated = select(Judgement.id).join(Item).where(Item.project_id == project.id, Judgement.label == "rated").limit(1)
    if form.scale != before.scale and session.scalar(rated) is not None:
        low, high = before.scale
        raise ProjectError(
            f"ratings were given on the scale {low} to {high}, and means over two scales say nothing; "
            "make a new project for another scale"
        )


def _newest_form(session: Session, project: Project) -> Form:
    """The form of the guideline in force."""
    stored = select(Guideline.form).where(Guideline.project_id == project.id).order_by(Guideline.version.desc())
    return Form.from_dict(session.scalar(stored.limit(1)))
