"""The dashboard's figures, which are kept for a while where they take long to compute."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from time import monotonic
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from annotation_ui.quality.statistics import Quality, quality
from annotation_ui.store.database import Database
from annotation_ui.store.tables import Project

SLOW = 1.0  # seconds; figures that take less are always those of now
REST = 20.0  # figures that took t seconds are kept for REST times t: the dashboards take a twentieth of a core at most
OLDEST = 3600.0  # seconds; older figures are not shown while new ones are computed


class _Kept(NamedTuple):
    figures: Quality
    made: float
    began: float
    until: float


_Key = tuple[Any, int]  # database and project
_KEPT: dict[_Key, _Kept] = {}
_COMPUTING: dict[_Key, threading.Lock] = defaultdict(threading.Lock)  # of one project, one computation at a time


def recent_quality(database: Database, session: Session, project: Project, *, now: float) -> tuple[Quality, float]:
    """The figures of ``project``, and when they were computed, in seconds since 1970.

    Figures whose time is up are computed anew in the background, and the old ones are shown meanwhile, so that a page
    waits for them only the first time, or after an hour without one.
    """
    key = database.url, project.id
    kept = _KEPT.get(key)
    if kept is not None and monotonic() < kept.began + OLDEST:
        if monotonic() >= kept.until and not _COMPUTING[key].locked():
            threading.Thread(target=_renew, args=(database, key, kept), daemon=True).start()
        return kept.figures, kept.made
    with _COMPUTING[key]:
        if (other := _KEPT.get(key)) is not None and other is not kept:  # made while this one waited
            return other.figures, other.made
        return _compute(session, project, key, now=now)


def _renew(database: Database, key: _Key, kept: _Kept) -> None:
    with _COMPUTING[key]:
        if _KEPT.get(key) is not kept:
            return
        try:
            with database.read() as session:
                _compute(session, session.get_one(Project, key[1]), key, now=time.time())
        except Exception:  # the next page tries again
            logging.getLogger(__name__).exception("the figures of the dashboard were not computed")


def _compute(session: Session, project: Project, key: _Key, *, now: float) -> tuple[Quality, float]:
    began = monotonic()
    figures = quality(session, project)
    took = monotonic() - began
    _KEPT.pop(key, None)
    if took >= SLOW:
        _KEPT[key] = _Kept(figures, now, began, began + took + REST * took)
    return figures, now
