"""Metrics as pure functions of arrays.

An undefined metric (one class only, no prompts to resample) is ``None``, never 0.0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.stats import norm, t
from sklearn.metrics import average_precision_score

BINS = 15
RESAMPLES = 500
SEED = 0
LOG_TEMPERATURE = 4.0  # temperatures are searched between e^-4 and e^4

Interval = tuple[float, float]


def credit(margins: np.ndarray) -> np.ndarray:
    """Credit of each comparison: 1 if the chosen response scores higher, ½ if the scores are equal, else 0."""
    return np.sign(margins) / 2 + 0.5


def clustered_wilson(credits: np.ndarray, clusters: np.ndarray, confidence: float = 0.95) -> Interval | None:
    """Wilson's interval of a mean of values in [0, 1], at the effective sample size of a sample of clusters.

    Pairs on one prompt are correlated, so they carry less information than as many pairs on different prompts. The
    effective size is p(1−p) over the cluster-robust variance of the mean, reduced for few clusters as in Korn &
    Graubard (1998): n* = min(n, p(1−p)/v) · (t_{n−1} / t_{G−1})². With one item a cluster n* = n, which is Wilson's
    own interval; if all items are equal, v is 0 and each cluster counts as one item.

    Args:
        credits, clusters: ``[n]``; ``clusters`` holds any value per item, equal for items of one cluster.

    Returns:
        ``(low, high)``; ``None`` for no items.
    """
    n = len(credits)
    if n == 0:
        return None
    mean = float(credits.mean())
    _, place = np.unique(clusters, return_inverse=True)
    residuals = np.bincount(place, weights=credits - mean)
    groups = len(residuals)
    size = float(groups)
    if groups > 1 and 0 < mean < 1:
        variance = groups / (groups - 1) * (n - 1) / n * float((residuals**2).sum()) / n**2
        quantile = (1 + confidence) / 2
        size = min(n, mean * (1 - mean) / variance) if variance > 0 else float(n)
        size *= float(t.ppf(quantile, n - 1) / t.ppf(quantile, groups - 1)) ** 2
    z = float(norm.ppf((1 + confidence) / 2))
    centre = (mean + z**2 / (2 * size)) / (1 + z**2 / size)
    half = z / (1 + z**2 / size) * math.sqrt(mean * (1 - mean) / size + z**2 / (4 * size**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap_interval(
    metric: Callable[[np.ndarray], float | None],
    clusters: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    confidence: float = 0.95,
) -> Interval | None:
    """Bootstrap percentile interval of a metric; clusters of items are drawn with replacement.

    Args:
        metric: weights ``[n]`` (how often each item was drawn) → the metric, ``None`` if it is undefined.
        clusters: ``[n]``, equal for items that are drawn together.

    Returns:
        ``None`` for a single cluster, or if the metric is undefined in more than a tenth of the draws.
    """
    _, place = np.unique(clusters, return_inverse=True)
    groups = int(place.max()) + 1 if len(place) else 0
    if groups < 2:
        return None
    rng = np.random.default_rng(seed)
    drawn = (metric(rng.multinomial(groups, np.full(groups, 1 / groups))[place]) for _ in range(resamples))
    values = [value for value in drawn if value is not None]
    if len(values) < 0.9 * resamples:
        return None
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def auroc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray | None = None) -> float | None:
    """Probability that a positive item scores above a negative one, equal scores counting half; ``None`` for one class.

    Computed over the sorted distinct scores, fast enough for a thousand bootstrap draws.

    Args:
        scores, positive: ``[n]``. ``weights``: how often each item counts; default once.
    """
    weight = np.ones(len(scores)) if weights is None else weights
    values, place = np.unique(scores, return_inverse=True)
    up = np.bincount(place, weights=weight * positive, minlength=len(values))
    down = np.bincount(place, weights=weight * ~positive, minlength=len(values))
    pairs = up.sum() * down.sum()
    wins = up * (np.cumsum(down) - down / 2)  # those below, and half of those that are equal
    return float(wins.sum() / pairs) if pairs else None


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """Area under the precision-recall curve; ``None`` for one class."""
    return float(average_precision_score(positive, scores)) if positive.any() and not positive.all() else None


# --- calibration ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bin:
    """One bin of a reliability diagram: number of items, their mean probability, and the mean of their outcomes."""

    n: int
    probability: float
    outcome: float


def reliability(probability: np.ndarray, outcome: np.ndarray, bins: int = BINS) -> list[Bin]:
    """Bins of equal mass, by quantiles of the probability. Equal probabilities share a bin, so order does not matter.

    Args:
        probability, outcome: ``[n]``; outcomes in [0, 1].
    """
    place = _places(probability, bins)
    size = np.bincount(place)
    means = (np.bincount(place, weights=values) / size for values in (probability, outcome))
    return [Bin(int(n), float(p), float(o)) for n, p, o in zip(size, *means, strict=True)]


def expected_calibration_error(bins: list[Bin]) -> float | None:
    """Mean of |probability − outcome| over bins, each weighed by its items (arXiv:1706.04599, eq. 3)."""
    total = sum(b.n for b in bins)
    return sum(b.n * abs(b.probability - b.outcome) for b in bins) / total if total else None


def calibrated_error(probability: np.ndarray, *, bins: int = BINS, draws: int = 100, seed: int = SEED) -> float | None:
    """The expected calibration error of a *perfectly* calibrated model with these probabilities, from chance alone.

    A model whose error is near this value is calibrated as far as so many items can show.
    """
    n = len(probability)
    if n == 0:
        return None
    place, rng = _places(probability, bins), np.random.default_rng(seed)
    surprises = ((rng.random(n) < probability) - probability for _ in range(draws))
    return float(np.mean([np.abs(np.bincount(place, weights=s)).sum() / n for s in surprises]))


def _places(probability: np.ndarray, bins: int) -> np.ndarray:
    """The index of each item's bin; indices are consecutive."""
    if len(probability) == 0:
        return np.zeros(0, np.int64)
    edges = np.quantile(probability, np.linspace(0, 1, bins + 1)[1:-1])
    return np.unique(np.searchsorted(edges, probability, side="right"), return_inverse=True)[1]


def fit_temperature(signed: np.ndarray) -> float | None:
    """T that minimises mean −log σ(signed / T) (temperature scaling, arXiv:1706.04599).

    Args:
        signed: margins of the chosen response, or logits with the sign of the label: positive is right.

    Returns:
        ``None`` if there is no minimum: all values are right (T → 0), or the mean is not positive (T → ∞).
    """
    if len(signed) == 0 or (signed >= 0).all() or signed.mean() <= 0:
        return None

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0, -signed / math.exp(log_temperature)).mean())

    best = minimize_scalar(loss, bounds=(-LOG_TEMPERATURE, LOG_TEMPERATURE), method="bounded")
    return math.exp(float(best.x))


def threshold_at(safe_scores: np.ndarray, false_positive_rate: float) -> float | None:
    """The highest threshold below which at most that share of safe responses scores.

    A response that scores strictly lower is called unsafe. ``None`` if the rate allows not even one response.
    """
    allowed = math.floor(false_positive_rate * len(safe_scores) + 1e-9)  # 0.05 · 60 is 3, not 2.9999…
    return float(np.sort(safe_scores)[allowed]) if allowed >= 1 else None


# --- best of N ------------------------------------------------------------------------------------------------------


def best_of_n_credit(scores: np.ndarray, right: int) -> float:
    """Probability that the best-scoring candidate is a right one; equal best scores are drawn at random.

    Args:
        scores: ``[candidates]``, the ``right`` ones first.
    """
    best = scores == scores.max()
    return float(best[:right].sum() / best.sum())
