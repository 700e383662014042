"""The dashboard's figures, which are kept for a while where they take long to compute."""

from __future__ import annotations

import logging
import threading
import time
from time import monotonic
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation_ui.labelling.forecast import Forecast, forecast
from annotation_ui.labelling.progress import ProjectProgress, project_progress
from annotation_ui.quality.statistics import Quality, quality
from annotation_ui.store.database import Database
from annotation_ui.store.tables import Project, User

SLOW = 1.0  # seconds; figures that take less are always those of now
REST = 20.0  # figures that took t seconds are kept for REST times t: the dashboards take a twentieth of a core at most
OLDEST = 3600.0  # seconds; older figures are not shown while new ones are computed


class Figures(NamedTuple):
    """All that the dashboard says of a project's votes, and when it was computed, in seconds since 1970."""

    quality: Quality
    progress: ProjectProgress
    forecast: Forecast
    made: float


class _Kept(NamedTuple):
    figures: Figures
    began: float
    until: float


_Key = tuple[str, int]  # database and project
_KEPT: dict[_Key, _Kept] = {}
_COMPUTING: dict[_Key, threading.Lock] = {}  # the figures of one project are computed by one thread at a time


def recent_figures(database: Database, session: Session, project: Project, *, now: float) -> Figures:
    """The figures of ``project``.

    Figures whose time is up are computed anew in the background, and the old ones are shown meanwhile, so that a page
    waits for them only the first time, or after an hour without one.
    """
    key = str(database), project.id
    computing = _COMPUTING.setdefault(key, threading.Lock())
    kept = _KEPT.get(key)
    if kept is not None and monotonic() < kept.began + OLDEST and _has_names_in_use(session, kept.figures):
        if monotonic() >= kept.until and not computing.locked():
            threading.Thread(target=_renew, args=(database, key, kept), daemon=True).start()
        return kept.figures
    with computing:
        if (other := _KEPT.get(key)) is not None and other is not kept:  # made while this one waited
            return other.figures
        return _compute(session, project, key, now=now)


def _has_names_in_use(session: Session, figures: Figures) -> bool:
    """False if the name of one of the annotators was replaced by a pseudonym after the figures were computed."""
    names = {person.name for person in figures.quality.people}
    return session.scalar(select(func.count(User.id)).where(User.name.in_(names))) == len(names)


def _renew(database: Database, key: _Key, kept: _Kept) -> None:
    with _COMPUTING[key]:
        if _KEPT.get(key) is not kept:
            return
        try:
            with database.read() as session:
                _compute(session, session.get_one(Project, key[1]), key, now=time.time())
        except Exception:  # the next page tries again
            logging.getLogger(__name__).exception("the dashboard shows old figures: those of now were not computed")


def _compute(session: Session, project: Project, key: _Key, *, now: float) -> Figures:
    began = monotonic()
    figures = figures_of(session, project, now=now)
    took = monotonic() - began
    _KEPT.pop(key, None)
    if took >= SLOW:
        _KEPT[key] = _Kept(figures, began, began + took + REST * took)
    return figures


def figures_of(session: Session, project: Project, *, now: float) -> Figures:
    """The figures of now."""
    progress = project_progress(session, project, now=now)
    return Figures(quality(session, project), progress, forecast(session, project, progress, now=now), now)
