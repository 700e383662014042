"""From the scores of all terms to one reward per sample, with its breakdown.

Every rank holds every term's score of every sample, so that normalised values and sums are the same on all ranks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from align.rewards.build import MixedTerm
from align.rewards.terms import TermError, TermScores
from align.schedule import Schedule, value_at

LARGEST = 1e15  # of a part of a reward: the loss is float32, in which squares and sums of advantages must be finite


def as_array(scores: Sequence[float | None]) -> np.ndarray:
    """float64; ``None`` (no score) becomes nan."""
    return np.array([math.nan if score is None else score for score in scores], dtype=np.float64)


def as_list(values: np.ndarray) -> list[float | None]:
    """Inverse of :func:`as_array`."""
    return [None if math.isnan(value) else value for value in values.tolist()]


def mean_of_known(values: np.ndarray) -> float:
    """The mean of the values that are not nan; nan if all of them are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


@dataclass(slots=True)
class Running:
    """Mean and variance of all values so far (Welford; Chan et al. 1979 for batches)."""

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0

    def update(self, values: np.ndarray) -> None:
        if not len(values):
            return
        n, mean = len(values), float(values.mean())
        gap, total = mean - self.mean, self.count + n
        self.squares += float(np.square(values - mean).sum()) + gap * gap * self.count * n / total
        self.mean += gap * n / total
        self.count = total

    @property
    def deviation(self) -> float:
        """The unbiased standard deviation; 1 until two different values have been seen."""
        deviation = math.sqrt(self.squares / (self.count - 1)) if self.count > 1 else 0.0
        return deviation if deviation > 1e-8 else 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Rewards:
    """The rewards of a batch of ``N`` samples with their breakdown; float64, nan where there is no value.

    Attributes:
        reward_N: Σ over the terms that apply and have a weight; nan if a part of the sum is missing, and where no such
            term applies.
        raw, weighted: term → value per sample; ``weighted`` is normalised and multiplied by the weight.
        applied: term → whether it applies to the sample.
        extras: ``METRIC/TERM`` → further figures of a term per sample; no part of the sum.
        weights: of each entry.
        unscorable, failures: term → number of samples that it was asked about and could not score, or failed on. Unlike
            the other fields they also count samples that :meth:`select` has left out.
        totals: ``METRIC/TERM`` → what the calls of a term took; see :class:`align.rewards.terms.ScoresWithExtras`.
    """

    reward_N: np.ndarray
    raw: dict[str, np.ndarray]
    weighted: dict[str, np.ndarray]
    applied: dict[str, np.ndarray]
    extras: dict[str, np.ndarray] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    unscorable: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    totals: dict[str, float] = field(default_factory=dict)

    def select(self, rows: Sequence[int]) -> Rewards:
        """The rewards of some of the samples."""

        def chosen(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {name: each[list(rows)] for name, each in values.items()}

        return replace(
            self,
            reward_N=self.reward_N[list(rows)],
            raw=chosen(self.raw),
            weighted=chosen(self.weighted),
            applied=chosen(self.applied),
            extras=chosen(self.extras),
        )

    def concat(self, other: Rewards) -> Rewards:
        """These rewards and those of further samples, of the same terms and weights."""

        def both(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {name: np.concatenate([values, second[name]]) for name, values in first.items()}

        return Rewards(
            reward_N=np.concatenate([self.reward_N, other.reward_N]),
            raw=both(self.raw, other.raw),
            weighted=both(self.weighted, other.weighted),
            applied=both(self.applied, other.applied),
            extras=both(self.extras, other.extras),
            weights=self.weights,
            unscorable={name: number + other.unscorable[name] for name, number in self.unscorable.items()},
            failures={name: number + other.failures[name] for name, number in self.failures.items()},
            totals={name: value + other.totals[name] for name, value in self.totals.items()},
        )

    def metrics(self) -> dict[str, float]:
        """Means over the samples that have a value, weights and counts by their names in ``metrics.jsonl``."""
        means = {
            **{f"term/{name}": values for name, values in self.raw.items()},
            **{f"weighted/{name}": values for name, values in self.weighted.items()},
            **self.extras,
        }
        return {
            **{name: mean_of_known(values) for name, values in means.items() if not np.isnan(values).all()},
            **{f"weight/{entry}": weight for entry, weight in self.weights.items()},
            **{f"unscorable/{name}": float(number) for name, number in self.unscorable.items() if number},
            **{f"failures/{name}": float(number) for name, number in self.failures.items() if number},
            **self.totals,
            "unscorable": float(np.isnan(self.reward_N).sum()),
        }


def accuracy_of(rewards: Rewards) -> np.ndarray:
    """For every response the verdict of its verifier: a number from 0 to 1, or nan without one.

    Most verifiers give 1 or 0, ``instructions`` also a share. Where several apply to a response, as where a row has an
    answer and constraints, the lowest counts: it is solved if it is so in every respect.
    """
    verdicts = [values for name, values in rewards.raw.items() if is_verdict(name)]
    if not verdicts:
        return np.full_like(rewards.reward_N, np.nan)
    stacked = np.stack(verdicts)
    known = ~np.isnan(stacked)
    return np.where(known.any(0), np.where(known, stacked, np.inf).min(0), np.nan)


def is_verdict(name: str) -> bool:
    """True if the values of a term of this name are verdicts of a verifier; yours are with a name that begins so."""
    return name.startswith("accuracy")


@dataclass
class Mixer:
    """Weighs terms. ``statistics`` of terms with ``running`` are part of a run's state."""

    terms: list[MixedTerm]
    statistics: dict[str, Running] = field(default_factory=dict)

    def weights(
        self, step: int, overrides: Mapping[str, Schedule] | None = None, scale: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """The weight of every entry at a step: the phase's ``overrides``, else its own, times ``scale``."""
        schedules = {each.entry: (overrides or {}).get(each.entry, each.weight) for each in self.terms}
        return {
            entry: value_at(schedule, step) * (scale or {}).get(entry, 1.0) for entry, schedule in schedules.items()
        }

    def mix(self, scores: Mapping[str, TermScores], weights: Mapping[str, float], *, learn: bool) -> Rewards:
        """Weigh and sum.

        Args:
            scores: of every term, over the same samples.
            learn: let running statistics take these values in, before they are used.

        Raises:
            TermError: a value is too large to be summed or learnt from; the running statistics are as before.
        """
        raw = {each.name: as_array(scores[each.name].scores) for each in self.terms}
        applied = {each.name: np.array(scores[each.name].applies, dtype=bool) for each in self.terms}
        weighted = {}
        for each in self.terms:
            if each.running or weights[each.entry] != 0:
                _check_size(each.name, raw[each.name], weights[each.entry])
        for each in self.terms:
            values = raw[each.name]
            if each.running:
                statistics = self.statistics.setdefault(each.name, Running())
                if learn:
                    statistics.update(values[~np.isnan(values)])
                values = (values - statistics.mean) / statistics.deviation
            weighted[each.name] = values * weights[each.entry]
        counted = {each.name: applied[each.name] for each in self.terms if weights[each.entry] != 0}
        reward_N = np.full_like(next(iter(raw.values())), np.nan)
        if counted:
            parts = np.stack([np.where(applies, weighted[name], 0.0) for name, applies in counted.items()])
            # Where a part is missing it is nan, and so is the sum.
            reward_N = np.where(np.stack(list(counted.values())).any(0), parts.sum(0), np.nan)
        return Rewards(
            reward_N=reward_N,
            raw=raw,
            weighted=weighted,
            applied=applied,
            extras={
                f"{metric}/{each.name}": as_array(values)
                for each in self.terms
                for metric, values in scores[each.name].extras.items()
            },
            weights=dict(weights),
            unscorable={each.name: scores[each.name].unscorable for each in self.terms},
            failures={each.name: scores[each.name].failures for each in self.terms},
            totals={
                f"{metric}/{each.name}": value
                for each in self.terms
                for metric, value in scores[each.name].totals.items()
            },
        )


def _check_size(name: str, values: np.ndarray, weight: float) -> None:
    known = np.abs(values[~np.isnan(values)])
    largest = float(known.max(initial=0.0))
    if not max(1.0, abs(weight)) * largest <= LARGEST:
        raise TermError(
            f"reward term {name} gave a value of size {largest:.3g}, and its weight is {weight:g}: a part of a reward "
            f"may be {LARGEST:g} at most. Correct the term, or bound its values"
        )
