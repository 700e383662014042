"""The dashboard's figures, which are kept for a while where they take long to compute."""

from __future__ import annotations

from time import monotonic
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from annotation_ui.quality.statistics import Quality, quality
from annotation_ui.store.tables import Project

SLOW = 1.0  # seconds; figures that take less are always those of now
REST = 20.0  # figures that took t seconds are kept for REST times t: the dashboards take a twentieth of a core at most


class _Kept(NamedTuple):
    figures: Quality
    made: float
    until: float


_KEPT: dict[tuple[Any, int], _Kept] = {}  # by database and project


def recent_quality(session: Session, project: Project, *, now: float) -> tuple[Quality, float]:
    """The figures of ``project``, and when they were computed, in seconds since 1970."""
    key = session.connection().engine.url, project.id
    if (kept := _KEPT.get(key)) is not None and monotonic() < kept.until:
        return kept.figures, kept.made
    began = monotonic()
    figures = quality(session, project)
    took = monotonic() - began
    _KEPT.pop(key, None)
    if took >= SLOW:
        _KEPT[key] = _Kept(figures, now, began + took + REST * took)
    return figures, now
