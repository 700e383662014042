"""The best policy of a run by a held-out metric: the rule, and the place where it is kept.

While the run lasts, it lies beside the checkpoints, which do not push it out when they rotate. Every checkpoint names
the policy that was the best at that step, and no policy is deleted that a checkpoint names: a run that is resumed or
rolled back finds the best that it knew there. At the end the best becomes the folder ``best`` of the run.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from reward_models.runtime.checkpoint import STATE_FILE, CheckpointError, list_checkpoints

FOLDER = "best"  # of a finished run
FILE = "best.json"  # in the folder of a best policy


@dataclass(frozen=True, kw_only=True)
class KeepBestConfig:
    """The rule by which the best policy of a run is chosen.

    Attributes:
        metric: a held-out metric of ``metrics.jsonl``, e.g. ``eval/accuracy_sampled``.
        mode: ``max``: the highest value is the best; ``min``: the lowest. Of equal values the earlier one is.
    """

    metric: str
    mode: Literal["max", "min"] = "max"

    def __post_init__(self) -> None:
        if not self.metric.startswith("eval/"):
            raise ValueError(
                f"keep_best.metric={self.metric} is no held-out metric; name one of the evaluation, e.g. "
                "eval/accuracy_sampled"
            )


@dataclass(frozen=True, slots=True)
class Best:
    """The best value so far and the step after which it was measured, and the same of the last evaluation."""

    step: int
    value: float
    last_step: int
    last_value: float


def updated(best: Best | None, step: int, value: float, mode: Literal["max", "min"]) -> tuple[Best, bool]:
    """The best after another measurement, and whether it is this one; a tie goes to the earlier."""
    if best is None or (value > best.value if mode == "max" else value < best.value):
        return Best(step, value, step, value), True
    return Best(best.step, best.value, step, value), False


def sentence(best: Best, metric: str, directory: Path) -> str:
    """Last against best, and the use of the best, for the end of the run in ``directory``."""
    last = f"{metric} after the last step ({best.last_step:,}): {best.last_value:.4g}"
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


def kept_at(checkpoints: Path, step: int) -> Path:
    """The folder of the policy after ``step`` steps, while the run lasts."""
    return checkpoints / f"best-{step:08d}"


def check_kept(directory: Path, best: Best) -> None:
    """``CheckpointError`` if the policy that a checkpoint names as the best is not in the run's directory."""
    final, kept = directory / FOLDER / FILE, kept_at(directory / "checkpoints", best.step)
    published = final.is_file() and json.loads(final.read_text(encoding="utf-8"))["step"] == best.step
    if not published and not kept.is_dir():
        raise CheckpointError(
            f"the checkpoint names {kept} as the best policy, and it is not there. Restore it, or start anew with "
            "overwrite=true"
        )


def prune(checkpoints: Path) -> None:
    """Delete every best policy that no checkpoint names."""
    folders = [folder for folder in checkpoints.glob("best-*") if re.fullmatch(r"best-\d+", folder.name)]
    if not folders:
        return
    named: set[int] = set()
    for checkpoint in list_checkpoints(checkpoints):
        state: dict[str, Any] = json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))
        if state.get("best") is not None:
            named.add(int(state["best"]["step"]))
    for folder in folders:
        if int(folder.name.removeprefix("best-")) not in named:
            shutil.rmtree(folder)


def publish(directory: Path, best: Best) -> Path:
    """Make the best policy the folder ``best`` of the run, which it returns. It may be called again after a kill."""
    final, kept = directory / FOLDER, kept_at(directory / "checkpoints", best.step)
    if kept.is_dir():
        if final.exists():
            shutil.rmtree(final)
        kept.rename(final)
    return final
