"""The figure of a reward model that a term takes, and the checks of it that need no model in memory."""

from __future__ import annotations

from typing import Literal, cast

from reward_models.calibration import Calibration
from reward_models.data.records import Task

Value = Literal["calibrated", "raw", "mean", "minimum", "lower_bound"]


def chosen_value(value: str | None, models: int) -> Value:
    """``value``, or the default of a term with so many models; ``ValueError`` if it has none of this name."""
    choices = ("calibrated", "raw") if models == 1 else ("mean", "minimum", "lower_bound")
    chosen = value or choices[0]
    if chosen not in choices:
        raise ValueError(f"value = {value!r} is none of {', '.join(choices)} ({models} model{'s' * (models > 1)})")
    return cast(Value, chosen)


def check_model(path: str, task: Task, calibration: Calibration, *, wanted: Task, value: Value) -> None:
    """``ValueError`` if the model of ``path`` does not give ``value``, or is of another task than ``wanted``."""
    if task != wanted:
        raise ValueError(f"{path} is no model of the task {wanted}")
    if value == "calibrated" and calibration.temperature is None:
        raise ValueError(
            f"{path} has no calibration, so that its calibrated scores are null; take value: raw, or train it with "
            "data.calibration_fraction and more examples"
        )
    if value not in ("calibrated", "raw") and not calibration.std:
        raise ValueError(
            f"{path} has no score statistics to put it on a common scale with other models; train it with "
            "data.calibration_fraction above 0"
        )
