"""What a raw score means: the statistics that travel with a saved model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Fitted on examples that were neither trained on nor evaluated; ``None`` where there were too few to tell.

    Attributes:
        n: how many examples.
        mean, std: of raw scores over all responses.
        temperature: T that makes σ(margin / T), or σ(score / T) for safety, the best probability (arXiv:1706.04599).
        threshold: safety: raw scores below it are called unsafe; it meets ``threshold_fpr``, the share of safe
            responses that may be called unsafe.
    """

    n: int = 0
    mean: float | None = None
    std: float | None = None
    temperature: float | None = None
    threshold: float | None = None
    threshold_fpr: float | None = None

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Calibration:
        """From a saved model's facts; keys of other versions are left aside."""
        return cls(**{name: value for name, value in facts.items() if name in cls.__dataclass_fields__})

    def to_facts(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}

    def apply(self, raw: float, kind: Literal["helpful", "safety"]) -> float | None:
        """A raw score on a scale that means something.

        Helpful: (raw − mean) / T, so that σ of the difference of two is the probability that the first response is
        preferred. Safety: σ(raw / T), the probability that the response is safe. ``None`` if that was not fitted.
        """
        if self.temperature is None:
            return None
        if kind == "safety":
            return _sigmoid(raw / self.temperature)
        return None if self.mean is None else (raw - self.mean) / self.temperature


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
