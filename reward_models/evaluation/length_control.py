"""Accuracy at equal length: the share of pairs that a model would get right if both responses were equally long.

The method is that of length-controlled AlpacaEval (arXiv:2404.04475, section 3): a logistic regression predicts the
outcome of each pair from the difference of lengths, and is then read at a difference of zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import t

from reward_models.evaluation.metrics import clustered_wilson

PRECISION = 0.001  # of a normal prior on both coefficients: where length decides every pair, they would have no bound


@dataclass(frozen=True, slots=True)
class LengthControl:
    """Attributes:
    accuracy: at equal length. ``interval``: 95 %, by prompt; ``None`` for a single prompt.
    coefficient: φ, how much a longer chosen response raises the log-odds of being right; 0 for a model that does not
        look at length.
    """

    accuracy: float
    interval: tuple[float, float] | None
    coefficient: float


def length_control(credits: np.ndarray, difference: np.ndarray, clusters: np.ndarray) -> LengthControl | None:
    """Fit P(right) = σ(α + φ·tanh(d / s)), with s the root mean square of the differences d; the accuracy is σ(α).

    AlpacaEval divides by the standard deviation; around zero it does not depend on which response is called the first.

    Args:
        credits: ``[n]``: 1 if the chosen response scores higher, ½ for equal scores, else 0.
        difference: ``[n]``: length of the chosen response minus that of the rejected one.
        clusters: ``[n]``: equal for pairs on one prompt.

    Returns:
        ``None`` where the data do not tell: there are no pairs, or the chosen response is never the longer one, or
        never the shorter one. (If all lengths are equal, φ is 0.)
    """
    if not len(credits) or (difference.any() and ((difference >= 0).all() or (difference <= 0).all())):
        return None
    if len(set(credits.tolist())) == 1:  # length changes nothing
        return LengthControl(float(credits[0]), clustered_wilson(credits, clusters), 0.0)
    scale = math.sqrt(float((difference.astype(float) ** 2).mean()))
    columns = [np.ones(len(credits)), *([np.tanh(difference / scale)] if scale else [])]
    x = np.stack(columns, axis=1)

    def loss(beta: np.ndarray) -> tuple[float, np.ndarray]:
        z = x @ beta
        value = np.logaddexp(0, z).sum() - credits @ z + PRECISION / 2 * beta @ beta
        return float(value), x.T @ (expit(z) - credits) + PRECISION * beta

    beta = minimize(loss, np.zeros(x.shape[1]), jac=True, method="BFGS", options={"gtol": 1e-6}).x
    interval = _interval(x, credits - expit(x @ beta), beta, clusters)
    return LengthControl(float(expit(beta[0])), interval, float(beta[1]) if len(beta) > 1 else 0.0)


def _interval(
    x: np.ndarray, residual: np.ndarray, beta: np.ndarray, clusters: np.ndarray
) -> tuple[float, float] | None:
    """σ(α ± t·se) with the larger of the cluster-robust and the model's own standard error.

    The robust one would be too small where length decides every pair.
    """
    names, place = np.unique(clusters, return_inverse=True)
    groups = len(names)
    if groups < 2:
        return None
    p = expit(x @ beta)
    inverse = np.linalg.inv((x * (p * (1 - p))[:, None]).T @ x + PRECISION * np.eye(len(beta)))
    sums = np.stack([np.bincount(place, weights=column * residual) for column in x.T], axis=1)
    robust = inverse @ (groups / (groups - 1) * sums.T @ sums) @ inverse
    half = float(t.ppf(0.975, groups - 1)) * math.sqrt(max(robust[0, 0], inverse[0, 0]))
    return float(expit(beta[0] - half)), float(expit(beta[0] + half))
