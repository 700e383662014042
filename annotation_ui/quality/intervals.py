"""Intervals of the agreement figures at 95 %, by resampling items (percentile bootstrap, Efron 1979).

Items are drawn with replacement :data:`ROUNDS` times. Every figure is computed from sums over items, so a draw is a row
of weights [R, N] and all draws are one matrix product. The seed is fixed: the same votes give the same interval.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from annotation_ui.quality.agreement import (
    MISSING,
    Level,
    alpha_of_coincidences,
    coincidences,
    kappas_of_tables,
    label_counts,
    shared_votes,
)

ROUNDS = 400
MIN_ITEMS = 10  # with fewer an interval would promise more than it holds
MIN_DEFINED = 0.9  # of the draws, for the others to stand for all
Interval = tuple[float, float]


class Draws:
    """Bootstrap samples of N items, as the number of times that each is drawn; all figures of N items share them."""

    def __init__(self) -> None:
        self._known: dict[int, np.ndarray] = {}

    def of(self, items: int) -> np.ndarray | None:
        """Weights [R, N]; ``None`` for too few items."""
        if items < MIN_ITEMS:
            return None
        if items not in self._known:
            draw, shares = np.random.default_rng(0), np.full(items, 1 / items)
            # A byte each, since no item is drawn 256 times; drawn row by row: 100,000 items take 40 MB instead of 320.
            rows = [draw.multinomial(items, shares).astype(np.uint8) for _ in range(ROUNDS)]
            self._known[items] = np.stack(rows)
        return self._known[items]


def alpha_interval(
    votes_NA: np.ndarray,
    level: Level = "nominal",
    items: Sequence[object] | None = None,
    draws: Draws | None = None,
) -> Interval | None:
    """Of :func:`~annotation_ui.quality.agreement.krippendorff_alpha`.

    Args:
        items: the item of each row, where an item has several rows: they are drawn together.
    """
    per_item_NCC = coincidences(votes_NA)
    if items is not None:
        kept = np.sum(votes_NA != MISSING, axis=1) >= 2
        names = [item for item, keep in zip(items, kept, strict=True) if keep]
        place = {item: n for n, item in enumerate(dict.fromkeys(names))}
        by_item_NCC = np.zeros((len(place), *per_item_NCC.shape[1:]))
        np.add.at(by_item_NCC, np.array([place[item] for item in names], dtype=int), per_item_NCC)
        per_item_NCC = by_item_NCC
    return coincidence_interval(per_item_NCC, level, draws)


def coincidence_interval(per_item_NCC: np.ndarray, level: Level, draws: Draws | None = None) -> Interval | None:
    """Of the α of coincidences that are known by item."""
    items, labels = per_item_NCC.shape[:2]
    weights_RN = (draws or Draws()).of(items)
    if weights_RN is None:
        return None
    drawn_RCC = _sums(weights_RN, per_item_NCC.reshape(items, -1)).reshape(-1, labels, labels)
    return _interval([alpha_of_coincidences(coincidence_CC, level) for coincidence_CC in drawn_RCC])


def _sums(weights_RN: np.ndarray, rows_NK: np.ndarray) -> np.ndarray:
    """``weights_RN @ rows_NK``. Only the distinct rows are multiplied: many items have the same votes."""
    distinct_PK, pattern_N = np.unique(rows_NK, axis=0, return_inverse=True)
    pattern_N = pattern_N.reshape(-1)
    drawn_RP = np.stack([np.bincount(pattern_N, weights_N, len(distinct_PK)) for weights_N in weights_RN])
    return drawn_RP @ distinct_PK


def fleiss_interval(votes_NA: np.ndarray, draws: Draws | None = None) -> Interval | None:
    """Of :func:`~annotation_ui.quality.agreement.fleiss_kappa`; ``None`` where the numbers of votes differ."""
    counts_NC = label_counts(votes_NA)
    n_N = counts_NC.sum(axis=1)
    weights_RN = (draws or Draws()).of(len(counts_NC))
    if weights_RN is None or n_N.min() != n_N.max() or n_N[0] < 2:
        return None
    n = n_N[0]
    agreed_N1 = (np.sum(counts_NC**2, axis=1, keepdims=True) - n) / (n * (n - 1))
    drawn_RK = _sums(weights_RN, np.concatenate([agreed_N1, counts_NC], axis=1)) / len(counts_NC)
    expected_R = np.sum((drawn_RK[:, 1:] / n) ** 2, axis=1)
    return _interval(_kappas(drawn_RK[:, 0], expected_R))


def kappa_interval(votes_NA: np.ndarray, *, min_shared: int, draws: Draws | None = None) -> Interval | None:
    """Of :func:`~annotation_ui.quality.agreement.mean_cohen_kappa`, with the same pairs counted."""
    weights_RN = (draws or Draws()).of(len(votes_NA))
    if weights_RN is None:
        return None
    shared = shared_votes(votes_NA, min_shared=min_shared)
    means: list[float | None] = []
    for weights_N in weights_RN:
        n_Q, kappa_Q = kappas_of_tables(shared.tables(weights_N))
        defined_Q = np.isfinite(kappa_Q)
        total = n_Q[defined_Q].sum()
        means.append(float(kappa_Q[defined_Q] @ n_Q[defined_Q] / total) if total else None)
    return _interval(means)


def _kappas(observed_R: np.ndarray, expected_R: np.ndarray) -> list[float | None]:
    pairs = zip(observed_R, expected_R, strict=True)
    return [float((o - e) / (1 - e)) if np.isfinite(e) and e < 1 - 1e-9 else None for o, e in pairs]


def _interval(values: list[float | None]) -> Interval | None:
    defined = [value for value in values if value is not None]
    if len(defined) < MIN_DEFINED * ROUNDS:
        return None
    low, high = np.percentile(defined, (2.5, 97.5))
    return float(low), float(high)
