"""From the values of all terms to one reward per sample, and a record of how it came about.

Every rank holds every term's value of every sample, so that what is normalised and summed is the same on all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from align.rewards.build import MixedTerm
from align.schedule import Schedule, value_at


def as_tensor(scores: Sequence[float | None]) -> torch.Tensor:
    """float64; ``None`` (no score) becomes nan."""
    return torch.tensor([math.nan if score is None else score for score in scores], dtype=torch.float64)


def as_list(values: torch.Tensor) -> list[float | None]:
    """The way back."""
    return [None if math.isnan(value) else value for value in values.tolist()]


@dataclass(slots=True)
class Running:
    """Mean and variance of all values so far (Welford; Chan et al. 1979 for batches)."""

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0

    def update(self, values: torch.Tensor) -> None:
        if not len(values):
            return
        n, mean = len(values), float(values.mean())
        gap, total = mean - self.mean, self.count + n
        self.squares += float((values - mean).square().sum()) + gap * gap * self.count * n / total
        self.mean += gap * n / total
        self.count = total

    @property
    def deviation(self) -> float:
        """1 while there is nothing to tell it from."""
        deviation = math.sqrt(self.squares / (self.count - 1)) if self.count > 1 else 0.0
        return deviation if deviation > 1e-8 else 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Mixed:
    """The rewards of a batch of ``N`` samples, float64; nan where there is none.

    Attributes:
        raw, weighted: term → value per sample; ``weighted`` is normalised, times its weight.
        applied: term → whether it applies to the sample.
        total_N: Σ of what applies and has a weight; nan if a part of that is missing, and where there is none.
        weights: of each entry.
        unscorable, failures: per term, samples it was asked about and could not score, or failed on.
        beside: ``MEASURE/TERM`` → what a term measured per sample beside its score; no part of the sum.
    """

    raw: dict[str, torch.Tensor]
    weighted: dict[str, torch.Tensor]
    applied: dict[str, torch.Tensor]
    total_N: torch.Tensor
    weights: dict[str, float]
    unscorable: dict[str, int]
    failures: dict[str, int]
    beside: dict[str, torch.Tensor] = field(default_factory=dict)


@dataclass
class Mixer:
    """Weighs terms. ``statistics`` of terms with ``running`` are part of a run's state."""

    terms: list[MixedTerm]
    statistics: dict[str, Running] = field(default_factory=dict)

    def weights(self, step: int, overrides: Mapping[str, Schedule], scale: Mapping[str, float]) -> dict[str, float]:
        """The weight of every entry at a step: the phase's ``overrides``, else its own, times ``scale``."""
        schedules = {each.entry: overrides.get(each.entry, each.weight) for each in self.terms}
        return {entry: value_at(schedule, step) * scale.get(entry, 1.0) for entry, schedule in schedules.items()}

    def mix(
        self,
        raw: dict[str, torch.Tensor],
        applied: dict[str, torch.Tensor],
        weights: dict[str, float],
        unscorable: dict[str, int],
        failures: dict[str, int],
        *,
        learn: bool,
    ) -> Mixed:
        """Weigh and sum.

        Args:
            learn: let running statistics take these values in, before they are used.
        """
        weighted = {}
        for each in self.terms:
            values = raw[each.name]
            if each.running:
                statistics = self.statistics.setdefault(each.name, Running())
                if learn:
                    statistics.update(values[~values.isnan()])
                values = (values - statistics.mean) / statistics.deviation
            weighted[each.name] = values * weights[each.entry]
        counted = {each.name: applied[each.name] for each in self.terms if weights[each.entry] != 0}
        total = torch.full_like(next(iter(raw.values())), torch.nan)
        if counted:
            parts = torch.stack([torch.where(applies, weighted[name], 0.0) for name, applies in counted.items()])
            # Where a part is missing it is nan, and so is the sum.
            total = torch.where(torch.stack(list(counted.values())).any(0), parts.sum(0), torch.nan)
        return Mixed(raw, weighted, applied, total, weights, unscorable, failures)
