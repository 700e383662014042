"""The times that votes take: the usual ones of an annotator, and the outliers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

AXIS = (1.0, 3600.0)  # seconds, from the left end to the right end
TICKS = ((1, "1 s"), (3, "3 s"), (10, "10 s"), (30, "30 s"), (120, "2 min"), (600, "10 min"), (3600, "1 h"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """An annotator's times for a vote, in seconds.

    Args:
        low, high: the borders of the middle half.
        outliers: the outliers (see :func:`outlying_times`), of ``n`` times.
    """

    n: int
    median: float
    low: float
    high: float
    outliers: tuple[float, ...]


def times_of(milliseconds: Sequence[int]) -> Times | None:
    """``None`` without any."""
    if not milliseconds:
        return None
    low, middle, high = np.percentile(milliseconds, (25, 50, 75)) / 1000
    outliers = tuple(ms / 1000 for ms in outlying_times(milliseconds))
    return Times(n=len(milliseconds), median=float(middle), low=float(low), high=float(high), outliers=outliers)


def outlying_times(milliseconds: Sequence[int]) -> list[int]:
    """The times further than 3.5 robust standard deviations from the median, in logarithms (Iglewicz and Hoaglin's
    modified z-score): a pause with the item left open, or a burst of clicks."""
    if not milliseconds:
        return []
    logs = np.log(np.maximum(np.array(milliseconds, dtype=float), 1.0))
    distance = np.abs(logs - np.median(logs))
    spread = float(np.median(distance)) / 0.6745
    if spread == 0:
        return []
    return [ms for ms, far in zip(milliseconds, distance > 3.5 * spread, strict=True) if far]


def along(seconds: float) -> float:
    """The place of a time on the logarithmic axis, in per cent from its left end; times beyond it are at an end."""
    low, high = AXIS
    share = math.log(max(seconds, low) / low) / math.log(high / low)
    return round(100 * min(1.0, share), 2)
