"""The rule by which the best model of a run is chosen; apart from what keeps it, which needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reward_models.data.records import ATTRIBUTES, Task

MEASURED: dict[Task, tuple[str, ...]] = {
    "preference": ("eval_accuracy", "eval_loss"),
    "safety": ("eval_accuracy", "eval_auprc", "eval_auroc", "eval_loss"),
}


@dataclass(frozen=True, kw_only=True)
class BestRule:
    """The best model of a run by a metric of its evaluations; each program says which metrics there are.

    Attributes:
        metric: name of the metric.
        mode: ``max``: the highest value is the best; ``min``: the lowest. Of equal values the earlier one is.
    """

    metric: str
    mode: Literal["max", "min"] = "max"

    def prefers(self, value: float, before: float) -> bool:
        """True if ``value`` is better."""
        return value > before if self.mode == "max" else value < before


@dataclass(frozen=True, kw_only=True)
class KeepBestConfig(BestRule):
    """The rule by which the best reward model of a run is chosen.

    Attributes:
        metric: of the evaluation while the run lasts, e.g. ``eval_accuracy``.
    """

    def check(self, task: Task, *, rated: bool) -> None:
        """``ValueError`` if no evaluation measures the metric.

        Args:
            rated: the model regresses attributes.
        """
        names = tuple(f"eval_{name}" for name in ATTRIBUTES) if rated else MEASURED[task]
        if self.metric not in names:
            raise ValueError(f"keep_best.metric={self.metric} is not measured; the evaluation has {', '.join(names)}")
