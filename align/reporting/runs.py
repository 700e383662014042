"""The files of a reinforcement-learning run, read, and how its held-out figures have changed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from statistics import stdev
from typing import Any

import yaml

from align.best import Best, KeepBestConfig, updated
from reward_models.runtime.metrics import read_metrics

# Held-out figures as they are told: the title, and whether more of it is better (1), worse (−1) or neither.
FIGURES = {
    "accuracy": ("accuracy", 1),
    "format": ("format", 1),
    "language": ("language", 1),
    "helpful": ("helpful model", 1),
    "safety": ("safety model", 1),
    "gold_helpfulness": ("gold helpfulness", 1),
    "gold_usefulness": ("gold usefulness", 1),
    "gold_unsafe": ("gold unsafe", -1),
    "length": ("response tokens", 0),
    "finished": ("finished", 1),
}


@dataclass(frozen=True, slots=True)
class Run:
    """The files of a run, read.

    Attributes:
        lines: of ``metrics.jsonl``; ``samples``, ``alarms``: of ``samples.jsonl`` and ``guards.jsonl``.
        by_prompt: of ``held_out.jsonl``: the figures of every held-out prompt at each evaluation.
    """

    name: str
    lines: list[dict[str, Any]]
    samples: list[dict[str, Any]]
    alarms: list[dict[str, Any]]
    config: str
    by_prompt: list[dict[str, Any]] = field(default_factory=list)

    @property
    def switches(self) -> list[tuple[int, str]]:
        """(step, name) of every phase but the first."""
        phases = [(line["step"], line["phase"]) for line in self.lines if "phase" in line]
        return [(step - 1, name) for (_, before), (step, name) in pairwise(phases) if name != before]

    @property
    def ends(self) -> list[tuple[str, int]]:
        """(name, last step so far) of every phase."""
        return list({line["phase"]: line["step"] for line in self.lines if "phase" in line}.items())

    @property
    def figures(self) -> list[str]:
        """Held-out figures as they are told: sampled ones, and accuracy greedily too."""
        sampled = [name.removeprefix("eval/") for name in self.names("eval/") if name.endswith("_sampled")]
        order = [f"{name}_sampled" for name in FIGURES]
        sampled.sort(key=lambda name: order.index(name) if name in order else len(order))
        greedy = ["accuracy_greedy"] if "eval/accuracy_greedy" in self.names("eval/") else []
        return [*sampled[:1], *greedy, *sampled[1:]] if "accuracy_sampled" in sampled else [*greedy, *sampled]

    @property
    def best(self) -> Best | None:
        """The best value so far of the metric of ``keep_best``; ``None`` of a run that keeps no best policy."""
        wanted, best = _rule(self.config), None
        if wanted is None:
            return None
        for step, value in zip(*self.series(wanted.metric), strict=True):
            best, _ = updated(best, step, value, wanted)
        return best

    def series(self, name: str) -> tuple[list[int], list[float]]:
        points = [(line["step"], line[name]) for line in self.lines if name in line]
        return [step for step, _ in points], [value for _, value in points]

    def names(self, prefix: str) -> list[str]:
        return list(dict.fromkeys(name for line in self.lines for name in line if name.startswith(prefix)))


@lru_cache(maxsize=8)  # every chart of a report asks
def _rule(config: str) -> KeepBestConfig | None:
    """``keep_best`` of a configuration in YAML."""
    settings = yaml.safe_load(config) or {}
    given = settings.get("keep_best") if isinstance(settings, dict) else None
    return KeepBestConfig(**given) if given else None


def read_run(directory: Path) -> Run:
    """``ValueError`` if no run has written there."""
    lines = read_metrics(directory / "metrics.jsonl")
    if not lines:
        raise ValueError(f"{directory} holds no metrics.jsonl: no run has written there yet")
    config = directory / "config.yaml"
    return Run(
        directory.name,
        lines,
        [{"domain": line.get("kind"), **line} for line in read_metrics(directory / "samples.jsonl")],
        read_metrics(directory / "guards.jsonl"),
        config.read_text(encoding="utf-8") if config.is_file() else "",
        read_metrics(directory / "held_out.jsonl"),
    )


def changes_of(run: Run) -> list[tuple[str, tuple[str, str]]]:
    """Figure → whether it became better, and by how much; a change below two standard errors is none."""
    found = []
    for figure in run.figures:
        _, values = run.series(f"eval/{figure}")
        change, error = values[-1] - values[0], _error_of_change(run, figure)
        direction = FIGURES.get(figure.rpartition("_")[0], ("", 0))[1]
        if abs(change) <= 2 * error or not change:
            word = "held"
        else:
            word = "changed" if not direction else "better" if change * direction > 0 else "worse"
        found.append((figure, (word, f"{change:+.2g} ± {error:.1g}" if error == error else f"{change:+.2g}")))
    return found


def _error_of_change(run: Run, figure: str) -> float:
    """Standard error of the change from the first to the last evaluation; nan if it is unknown.

    Both have the same prompts, and so the differences prompt by prompt have less variance than either mean. Runs that
    keep no figures of single prompts have the error of a difference of two independent means.
    """
    lines = [line[figure] for line in run.by_prompt if figure in line]
    if len(lines) > 1 and len(lines[0]) == len(lines[-1]):
        pairs = zip(lines[0], lines[-1], strict=True)
        differences = [after - before for before, after in pairs if before is not None and after is not None]
        if len(differences) > 1:
            return stdev(differences) / len(differences) ** 0.5
    _, errors = run.series(f"eval_se/{figure}")
    return math.hypot(errors[0], errors[-1]) if errors else math.nan
