"""The best policy of a run by a held-out metric: the rule by which it is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reward_models.keep_best import BestRule

FOLDER = "best"  # of a finished run


@dataclass(frozen=True, kw_only=True)
class KeepBestConfig(BestRule):
    """The rule by which the best policy of a run is chosen.

    Attributes:
        metric: a held-out metric of ``metrics.jsonl``, e.g. ``eval/accuracy_sampled``.
    """

    def __post_init__(self) -> None:
        if not self.metric.startswith("eval/"):
            raise ValueError(
                f"keep_best.metric={self.metric} is no held-out metric; name one of the evaluation, e.g. "
                "eval/accuracy_sampled"
            )


@dataclass(frozen=True, slots=True)
class Best:
    """The best value of a metric so far and the step after which it was measured; the same of the last evaluation."""

    metric: str
    step: int
    value: float
    last_step: int
    last_value: float


def updated(best: Best | None, step: int, value: float, wanted: KeepBestConfig) -> tuple[Best, bool]:
    """The best after another measurement, and whether it is this one; a tie goes to the earlier."""
    if best is None or wanted.prefers(value, best.value):
        return Best(wanted.metric, step, value, step, value), True
    return Best(best.metric, best.step, best.value, step, value), False


def sentence_before(wanted: KeepBestConfig, every: int) -> str:
    """The rule, for a dry run; the metric's name is checked when the terms of the evaluation are there."""
    highest = "highest" if wanted.mode == "max" else "lowest"
    return f"best policy: kept by the {highest} {wanted.metric}, measured before the first step and every {every} steps"


def sentence(best: Best, directory: Path) -> str:
    """Last against best, and the use of the best, for the end of the run in ``directory``."""
    last = f"{best.metric} after the last step ({best.last_step:,}): {best.last_value:.4g}"
    if best.step == best.last_step:
        return f"{last}, the best of the run; {directory / FOLDER} is the same policy"
    return (
        f"{last}; the best: {best.value:.4g} after step {best.step:,}. To use the best, name its folder in place of "
        f"{directory}, e.g. model.path={directory / FOLDER}"
    )


def check_metric(wanted: KeepBestConfig, terms: Sequence[str], samples: int) -> None:
    """``ValueError`` if the metric is none that an evaluation measures; arguments as :func:`measured_names`."""
    names = measured_names(terms, samples)
    if wanted.metric not in names:
        raise ValueError(
            f"keep_best.metric={wanted.metric} is not measured; the evaluation measures {', '.join(sorted(names))}"
        )


def measured_names(terms: Sequence[str], samples: int) -> set[str]:
    """Every metric that an evaluation may log.

    Args:
        terms: names of the terms that score it. ``samples``: responses to each prompt.
    """
    figures = {"accuracy", "length", "finished", *(name for name in terms if not name.startswith("accuracy"))}
    names = {f"eval/{figure}_{way}" for figure in figures for way in ("greedy", "sampled")}
    if samples > 1:
        names |= {f"eval/pass@{2**power}" for power in range(samples.bit_length())}
    return names
