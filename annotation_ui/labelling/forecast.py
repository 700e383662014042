"""The forecast of a project: the work that is left, when it is done at the present pace, and its cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Integer, Select, case, cast, func
from sqlalchemy.orm import Session

from annotation_ui.labelling.judgements import in_force
from annotation_ui.labelling.progress import ProjectProgress
from annotation_ui.store.tables import Assignment, Item, Judgement, Project

DAY, HOUR = 86400.0, 3600.0
RECORD = 14 * DAY  # the pace is that of so long ago until now
FEWEST_DAYS = 5  # with a shorter record the pace is taken by the hour
MIN_BINS, MIN_TIMES = 6, 10  # with fewer an interval would promise more than it holds
ROUNDS = 1000
LONGEST = 100 * 365 * DAY  # a later end is no end


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A value with its interval at 95 %; ``None`` where there is too little to compute one from, or no upper end."""

    value: float
    low: float | None = None
    high: float | None = None

    def times(self, factor: float) -> Range:
        ends = [None if end is None else end * factor for end in (self.low, self.high)]
        return Range(value=self.value * factor, low=ends[0], high=ends[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The rest of a project's work.

    Args:
        items, votes: that are left.
        per_hour: votes in an hour of work; the time of checks and skips counts as work.
        hours: of work that are left. ``end``: when the last vote is in, in seconds since the epoch.
        spent, rest: the cost so far and of what is left, in the unit of the hourly rate; ``None`` without a rate.
    """

    items: int
    votes: int
    per_hour: float | None
    hours: Range | None
    end: Range | None
    spent: float | None
    rest: Range | None


def forecast(session: Session, project: Project, progress: ProjectProgress, *, now: float) -> Forecast:
    """The forecast by the votes so far.

    The end: votes are counted by day, or by the hour in a short record, over the last 14 days; the time to the last
    vote is that of a renewal process with their mean and variance, and its interval is of resampled days (bootstrap).
    The hours of work: the mean time of a vote, none of them longer than a lease, with the interval of a mean.
    """
    left = max(0, progress.votes_needed - progress.votes)
    work = _work(session, project)
    ago = (cast(now - Judgement.created, Integer) // int(HOUR)).label("ago")  # SQLite may have no floor()
    recent = _counted(project).where(Judgement.created > now - RECORD)
    by_hour = recent.with_only_columns(ago, func.count(), func.min(Judgement.created)).group_by("ago")
    given = session.execute(by_hour).all()
    hours = _hours(work, left)
    rate = project.hourly_rate
    return Forecast(
        items=progress.items - progress.complete,
        votes=left,
        per_hour=work.votes / work.hours if work.votes and work.hours else None,
        hours=hours,
        end=end_of({int(hour): n for hour, n, _ in given}, min((row[2] for row in given), default=now), left, now),
        spent=rate * work.hours if rate else None,
        rest=hours.times(rate) if rate and hours else None,
    )


@dataclass(frozen=True, slots=True)
class _Work:
    """Hours of work in all, and the number, the mean and the mean square of the counted votes' times in hours."""

    hours: float
    votes: int
    mean: float
    square: float


def _counted(project: Project) -> Select[Any]:
    """The votes that an item needs: without gold items, repeats and skips; imported ones have no assignment."""
    mine = in_force(project).order_by(None).join(Assignment, Assignment.id == Judgement.assignment_id)
    return mine.where(Item.gold.is_(None), Assignment.round == 0, Judgement.label != "skip")


def _work(session: Session, project: Project) -> _Work:
    longest = project.lease_seconds * 1000
    hours = case((Judgement.dwell_ms > longest, longest), else_=Judgement.dwell_ms) / (HOUR * 1000)
    timed = in_force(project).order_by(None).where(Judgement.dwell_ms.is_not(None))
    total = session.scalar(timed.with_only_columns(func.coalesce(func.sum(hours), 0.0)))
    wanted = (func.count(), func.coalesce(func.avg(hours), 0.0), func.coalesce(func.avg(hours * hours), 0.0))
    counted = _counted(project).where(Judgement.dwell_ms.is_not(None))
    votes, mean, square = session.execute(counted.with_only_columns(*wanted)).one()
    return _Work(float(total or 0.0), votes, float(mean), float(square))


def _hours(work: _Work, left: int) -> Range | None:
    if not work.votes or not work.mean:
        return None
    beside = work.hours / (work.votes * work.mean)  # the time of checks and skips, for an hour of counted votes
    middle = left * work.mean * beside
    if work.votes < MIN_TIMES:
        return Range(value=middle)
    half = 1.96 * math.sqrt(max(0.0, work.square - work.mean**2) / (work.votes - 1)) * left * beside
    return Range(value=middle, low=max(0.0, middle - half), high=middle + half)


def end_of(by_hour: Mapping[int, int], first: float, left: int, now: float) -> Range | None:
    """The time at which ``left`` more votes are in; ``None`` without any vote so far.

    Args:
        by_hour: whole hours before ``now`` → the votes of that hour. ``first``: the time of the first of them.
    """
    if not left or not by_hour:
        return None
    width, hours = (DAY, 24) if now - first >= FEWEST_DAYS * DAY else (HOUR, 1)
    ago_H = np.maximum(np.array(list(by_hour)), 0) // hours  # a clock may be ahead of ours
    counts_B = np.bincount(ago_H, list(by_hour.values()))
    if counts_B[:-1].any():
        counts_B = counts_B[:-1]  # the record begins in the middle of the oldest one
    bins = len(counts_B)
    value = now + left / counts_B.mean() * width
    if value > now + LONGEST:
        return None
    if bins < MIN_BINS:
        return Range(value=float(value))
    draw = np.random.default_rng(0)
    drawn_RB = counts_B[draw.integers(bins, size=(ROUNDS, bins))]
    mean_R, spread_R = drawn_RB.mean(axis=1), drawn_RB.std(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        # The number of bins until a sum of so many: normal, with this mean and variance (renewal theory).
        wait_R = left / mean_R + draw.standard_normal(ROUNDS) * spread_R * np.sqrt(left / mean_R) / mean_R
    wait_R = np.where(mean_R > 0, np.maximum(wait_R, 0.0), np.inf)
    low, high = np.quantile(wait_R, (0.025, 0.975), method="nearest") * width
    return Range(value=float(value), low=float(now + low), high=float(now + high) if high <= LONGEST else None)
