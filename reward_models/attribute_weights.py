"""The weights of attributes in a configuration; apart from the heads, which need torch."""

from __future__ import annotations

import math
from collections.abc import Mapping

from reward_models.data.records import ATTRIBUTES


def check_weights(weights: Mapping[str, float]) -> None:
    """Raise ``ValueError`` if a weight is not finite or all are 0, or a name is no attribute."""
    if unknown := sorted(weights.keys() - set(ATTRIBUTES)):
        raise ValueError(f"attributes names {', '.join(unknown)}; there are {', '.join(ATTRIBUTES)}")
    if not all(map(math.isfinite, weights.values())) or not any(weights.values()):
        raise ValueError(f"attributes: the weights {dict(weights)} must be finite, and one of them not 0")
