"""Numbers that change with the step: a number, or points between which it changes linearly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

Schedule = float | list[tuple[int, float]]


def parse_schedule(given: Any, name: str) -> Schedule:
    """A schedule as a YAML file gives it: ``0.5``, or ``[[0, 0.0], [400, 1.0]]``, pairs of step and value.

    Before the first point and after the last the value stays; two points at one step are a jump, made at that step.

    Raises:
        ValueError: it is neither, or the steps fall, or a number is not finite.
    """
    if isinstance(given, int | float) and not isinstance(given, bool):
        points = [(0, float(given))]
    else:
        wrong = ValueError(f"{name}={given!r} is neither a number nor a list of [step, value] points")
        if not isinstance(given, Sequence) or isinstance(given, str) or not given:
            raise wrong
        try:
            points = [(int(step), float(value)) for step, value in given]
            if any(int(step) != float(step) for step, _ in given):
                raise wrong
        except (TypeError, ValueError):
            raise wrong from None
    steps = [step for step, _ in points]
    if steps != sorted(steps) or steps[0] < 0 or not all(math.isfinite(value) for _, value in points):
        raise ValueError(f"{name}={given!r}: steps must not fall, and values must be finite")
    return points[0][1] if len(points) == 1 else points


def value_at(schedule: Schedule, step: int) -> float:
    """The schedule's value at a 0-based step."""
    if not isinstance(schedule, list):
        return schedule
    before = [point for point in schedule if point[0] <= step]
    after = [point for point in schedule if point[0] > step]
    if not before:
        return schedule[0][1]
    if not after:
        return schedule[-1][1]
    (start, first), (end, last) = before[-1], after[0]
    return first + (last - first) * (step - start) / (end - start)


def stretched(schedule: Schedule, factor: float) -> Schedule:
    """The same course over ``factor`` times the steps."""
    if not isinstance(schedule, list):
        return schedule
    return [(round(step * factor), value) for step, value in schedule]
