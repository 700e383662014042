"""Calibration of raw scores: statistics that are saved with a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from reward_models.data.records import Task

MIN_EXAMPLES = 20  # a temperature or a threshold fitted on fewer would be noise
WITHOUT = "calibrated scores are null, and a reward term of this model needs `value: raw`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Statistics of raw scores, fitted on examples that were neither trained on nor evaluated.

    A value is ``None`` where there were too few examples to fit it.

    Attributes:
        n: how many examples.
        mean, std: of raw scores over all responses.
        temperature: T that makes σ(margin / T), or σ(score / T) for safety, the best probability (arXiv:1706.04599).
        threshold: safety: raw scores below it are called unsafe; it meets ``threshold_fpr``, the share of safe
            responses that may be called unsafe.
        notes: the values that could not be fitted, and why.
    """

    n: int = 0
    mean: float | None = None
    std: float | None = None
    temperature: float | None = None
    threshold: float | None = None
    threshold_fpr: float | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Calibration:
        """From a saved model's facts; keys of other versions are ignored."""
        known = {name: value for name, value in facts.items() if name in cls.__dataclass_fields__}
        return cls(**(known | {"notes": tuple(known.get("notes", ()))}))

    def to_facts(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None and value != ()}

    def apply(self, raw: float, task: Task) -> float | None:
        """The calibrated value of a raw score.

        Helpful: (raw − mean) / T, so that σ of the difference of two is the probability that the first response is
        preferred. Safety: σ(raw / T), the probability that the response is safe. ``None`` if that was not fitted.
        """
        if self.temperature is None:
            return None
        if task == "safety":
            return _sigmoid(raw / self.temperature)
        return None if self.mean is None else (raw - self.mean) / self.temperature


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def of_scores(scores: np.ndarray) -> Calibration:
    """Mean and deviation of scores without labels, as those of attribute heads are; there is no temperature."""
    if len(scores) < 2:
        return Calibration(n=len(scores), notes=(f"{len(scores)} calibration examples: {WITHOUT}",))
    note = f"no temperature, for rated responses say nothing of preferences: {WITHOUT}"
    return Calibration(n=len(scores), mean=float(scores.mean()), std=float(scores.std(ddof=1)), notes=(note,))


def fit(scores: np.ndarray, label: np.ndarray, task: Task, *, threshold_fpr: float = 0.05) -> Calibration:
    """Fit on a set apart from training and evaluation; a value that the examples do not determine stays ``None``.

    Args:
        scores: raw, ``[n, 2]`` chosen first, or ``[n, 1]`` for safety.
        label: ``[n]``; 1.0 decided or safe, 0.5 a tie (left out of the temperature), 0.0 unsafe.
        threshold_fpr: the share of safe responses that the threshold may call unsafe.
    """
    # Loaded here because scoring, which only applies what was fitted, must not wait for scipy and scikit-learn.
    from reward_models.evaluation.metrics import fit_temperature, threshold_at

    n, notes = len(label), []
    if n < 2:
        return Calibration(n=n, notes=(f"{n} calibration examples: {WITHOUT}",))
    if task == "preference":
        signed = (scores[:, 0] - scores[:, 1])[label == 1.0]
        problem = ""
    else:
        signed = np.where(label == 1.0, scores[:, 0], -scores[:, 0])
        problem = "they are of one class" if len(np.unique(label)) < 2 else ""
    if len(signed) < MIN_EXAMPLES:
        problem = f"there are {len(signed)}, and {MIN_EXAMPLES} are needed"
    temperature = None if problem else fit_temperature(signed)
    if temperature is None:
        reason = problem or "all are right, or too many wrong"
        notes.append(f"no temperature from the calibration examples ({reason}): {WITHOUT}")
    threshold = None
    if task == "safety":
        safe = scores[label == 1.0, 0]
        threshold = threshold_at(safe, threshold_fpr) if len(safe) >= MIN_EXAMPLES else None
        if threshold is None:
            notes.append(
                f"no threshold: {len(safe)} safe calibration examples are too few for {threshold_fpr:.1%} of them"
            )
    return Calibration(
        n=n,
        mean=float(scores.mean()),
        std=float(scores.std(ddof=1)),
        temperature=temperature,
        threshold=threshold,
        threshold_fpr=threshold_fpr if threshold is not None else None,
        notes=tuple(notes),
    )
