"""Figures of several responses to each prompt: pass@1, pass@k, consensus@k, with intervals over prompts.

Shapes: ``P`` prompts, ``G`` responses to each.
"""

from __future__ import annotations

import numpy as np


def standard_error(values_PG: np.ndarray) -> float:
    """Standard error of the mean over prompts, for responses to one prompt resemble each other; nan below two."""
    means_P = means_of_prompts(values_PG)
    means_P = means_P[~np.isnan(means_P)]
    return float(means_P.std(ddof=1) / len(means_P) ** 0.5) if len(means_P) > 1 else float("nan")


def means_of_prompts(values_PG: np.ndarray) -> np.ndarray:
    """The mean of each prompt's known values, shape ``[P]``; nan where none is known."""
    known = ~np.isnan(values_PG)
    return np.where(known, values_PG, 0.0).sum(1) / np.where(known.any(1), known.sum(1), np.nan)


def pass_at(right_PG: np.ndarray) -> dict[int, float]:
    """pass@k for every power of two up to G, over the prompts whose G samples could all be judged."""
    judged_PG = right_PG[~np.isnan(right_PG).any(1)]
    if not len(judged_PG):
        return {}
    n, correct_P = right_PG.shape[1], judged_PG.sum(1)
    return {k: float(pass_at_k(n, correct_P, k).mean()) for k in powers_of_two(n)}


def powers_of_two(n: int) -> list[int]:
    """1, 2, 4, … up to ``n``."""
    return [2**i for i in range(n.bit_length())]


def pass_at_k(n: int, correct_P: np.ndarray, k: int) -> np.ndarray:
    """The chance that one of k samples is right, for each prompt of which ``correct_P`` of n samples are.

    The estimator without bias of Chen et al. (arXiv:2107.03374, eq. 1): 1 − C(n−c, k) / C(n, k), as a product that
    never overflows.
    """
    wrong_P, miss_P = n - correct_P, np.ones(len(correct_P))
    for i in range(k):
        miss_P = miss_P * np.clip(wrong_P - i, 0, None) / (n - i)
    return 1 - miss_P


def interval(values_P: np.ndarray, draws: int = 1000, seed: int = 0) -> list[float] | None:
    """The 95 % interval of a mean over prompts: percentiles of a bootstrap that draws prompts; ``None`` below two."""
    known = values_P[~np.isnan(values_P)]
    if len(known) < 2:
        return None
    rng = np.random.default_rng(seed)
    means = [float(known[rng.integers(0, len(known), len(known))].mean()) for _ in range(draws)]
    low, high = np.percentile(means, [2.5, 97.5])
    return [float(low), float(high)]
