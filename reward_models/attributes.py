"""Attribute heads: one output for each of HelpSteer's attributes, and a weighted combination of them as the score.

The outputs are regressed on ratings, as in HelpSteer2 (arXiv:2406.08673, section 4.1), in standard units of the
training ratings. A rating that is missing has no loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from reward_models.data.records import ATTRIBUTES, TASKS
from reward_models.data.token_sets import TokenizedSet
from reward_models.runtime.metrics import Metrics


@dataclass(frozen=True, slots=True)
class AttributeHead:
    """The outputs of a model with attribute heads, in the order of :data:`ATTRIBUTES`.

    Attributes:
        weights: of each output in the score.
        means, deviations: of the training ratings; rating = mean + deviation · output. Both are nan for an attribute
            that nobody rated: its output has learnt nothing.
    """

    weights: tuple[float, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]

    def __post_init__(self) -> None:
        weights = zip(ATTRIBUTES, self.weights, self.means, strict=True)
        if unrated := [name for name, weight, mean in weights if weight and math.isnan(mean)]:
            raise ValueError(
                f"attributes: {', '.join(unrated)} has a weight, and the training data had no ratings of it: that "
                "output has learnt nothing"
            )

    def to_facts(self) -> dict[str, dict[str, float | None]]:
        """For ``config.json``: attribute → its weight, mean and deviation; ``None`` for nan."""
        return {
            name: {"weight": weight, "mean": _known(mean), "deviation": _known(deviation)}
            for name, weight, mean, deviation in zip(ATTRIBUTES, self.weights, self.means, self.deviations, strict=True)
        }

    @classmethod
    def from_facts(cls, facts: Mapping[str, Mapping[str, float | None]]) -> AttributeHead:
        """Raise ``ValueError`` if the saved attributes are not :data:`ATTRIBUTES`."""
        if facts.keys() != set(ATTRIBUTES):
            raise ValueError(f"the saved model's attributes are {', '.join(facts)}, not {', '.join(ATTRIBUTES)}")
        columns = ("weight", "mean", "deviation")
        weights, means, deviations = (tuple(_number(facts[name][c]) for name in ATTRIBUTES) for c in columns)
        return cls(weights, means, deviations)

    @classmethod
    def fit(cls, ratings: np.ndarray, weights: Mapping[str, float]) -> AttributeHead:
        """Means and deviations of the ratings of each attribute.

        Args:
            ratings: ``[n, attributes]``, nan where there is none.
            weights: attribute → weight in the score; 0 for those that are not named.

        Raises:
            ValueError: an attribute has a weight, and no two different ratings.
        """
        means, deviations = [], []
        for name, column in zip(ATTRIBUTES, ratings.T, strict=True):
            known = column[~np.isnan(column)]
            deviation = float(known.std()) if len(known) else 0.0
            if not deviation and weights.get(name):
                raise ValueError(f"attributes.{name} has a weight, and data.train has no two different ratings of it")
            means.append(float(known.mean()) if len(known) else math.nan)
            deviations.append((deviation or 1.0) if len(known) else math.nan)
        return cls(tuple(float(weights.get(name, 0.0)) for name in ATTRIBUTES), tuple(means), tuple(deviations))

    def weighed(self, weights: Mapping[str, float]) -> AttributeHead:
        """The same outputs with other weights; 0 for attributes that are not named.

        Raises:
            ValueError: nobody rated an attribute that has a weight.
        """
        return replace(self, weights=tuple(float(weights.get(name, 0.0)) for name in ATTRIBUTES))

    def standard(self, ratings: np.ndarray) -> np.ndarray:
        """Ratings in standard units, ``[n, attributes]``."""
        return (ratings - np.array(self.means)) / np.array(self.deviations)

    def ratings(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs on the scale of the ratings, ``[n, attributes]``; nan for an attribute that nobody rated."""
        return outputs * np.array(self.deviations) + np.array(self.means)

    def scores(self, outputs: np.ndarray) -> np.ndarray:
        """The weighted combination, ``[n]``."""
        return outputs @ np.array(self.weights)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def attribute_loss(outputs_BA: torch.Tensor, target_BA: torch.Tensor) -> torch.Tensor:
    """Mean squared error over the attributes that are known, one value per response.

    Args:
        outputs_BA: ``[B, attributes]``.
        target_BA: in the same units, nan where unknown; at least one of each row is known.

    Returns:
        ``[B]``.
    """
    if outputs_BA.shape != target_BA.shape or outputs_BA.ndim != 2:
        raise ValueError(f"outputs and targets have the shapes {tuple(outputs_BA.shape)}, {tuple(target_BA.shape)}")
    known_BA = ~target_BA.isnan()
    # nan times 0 would be nan, also in the gradient
    error_BA = torch.where(known_BA, outputs_BA - torch.where(known_BA, target_BA, 0.0), 0.0)
    return error_BA.square().sum(1) / known_BA.sum(1)


class AttributeObjective:
    """The loss of a micro-batch of rated responses."""

    def __init__(self, head: AttributeHead, data: TokenizedSet, device: torch.device) -> None:
        self.data, self.head = data, head
        self.target = torch.from_numpy(head.standard(data.ratings)).float().to(device)

    def __call__(self, outputs_NA: torch.Tensor, items: list[int], metrics: Metrics) -> torch.Tensor:
        loss_B = attribute_loss(outputs_NA, self.target[items])
        metrics.add("score_mean", outputs_NA.detach() @ outputs_NA.new_tensor(self.head.weights))
        metrics.add("loss", loss_B)
        return loss_B


def attribute_evaluation(
    outputs: Mapping[str, np.ndarray], sets: Mapping[str, TokenizedSet], head: AttributeHead
) -> dict[str, Any]:
    """``attributes`` over all evaluation sets together, and ``attributes_by_source``; empty without sets.

    Args:
        outputs: of each set, ``[n, attributes]``.
    """
    parts = {name: part for name, part in sets.items() if len(part)}
    if not parts:
        return {}
    by_source = {name: attribute_figures(head.ratings(outputs[name]), part.ratings) for name, part in parts.items()}
    together = np.concatenate([outputs[name] for name in parts])
    target = np.concatenate([part.ratings for part in parts.values()])
    whole = attribute_figures(head.ratings(together), target)
    return {"kind": TASKS["preference"].model, "attributes": whole, "attributes_by_source": by_source}


def attribute_figures(ratings: np.ndarray, target: np.ndarray) -> dict[str, Any]:
    """Per attribute: number of ratings, Pearson's and Spearman's correlation, and root mean squared error.

    Args:
        ratings: predicted, ``[n, attributes]``; nan for an attribute that nobody rated in training.
        target: given, nan where there is none.

    Returns:
        Correlations are ``None`` for fewer than three ratings, or where all are alike. An attribute that the training
        data had no ratings of has no figures, and ``n`` is 0.
    """
    from scipy.stats import rankdata

    result: dict[str, Any] = {}
    for name, predicted, given in zip(ATTRIBUTES, ratings.T, target.T, strict=True):
        known = ~np.isnan(given) & ~np.isnan(predicted)
        x, y = predicted[known], given[known]
        result[name] = {
            "n": int(known.sum()),
            "pearson": _correlation(x, y),
            "spearman": _correlation(rankdata(x), rankdata(y)) if len(x) else None,
            "error": float(np.sqrt(np.mean((x - y) ** 2))) if len(x) else None,
        }
    return result


def _correlation(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> float | None:
    if len(x) < 3 or not np.ptp(x) or not np.ptp(y):
        return None
    return float(np.corrcoef(x, y)[0, 1])
