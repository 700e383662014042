"""Intervals of the agreement figures at 95 %, by resampling items (percentile bootstrap, Efron 1979).

Items are drawn with replacement :data:`ROUNDS` times. Every figure is computed from sums over items, so a draw is a row
of weights [R, N] and all draws are one matrix product. The seed is fixed: the same votes give the same interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from annotation_ui.quality.agreement import MISSING, Level, alpha_of_coincidences, coincidences, label_counts

ROUNDS = 400
MIN_ITEMS = 10  # with fewer an interval would promise more than it holds
MIN_DEFINED = 0.9  # of the draws, for the others to stand for all
Interval = tuple[float, float]


def alpha_interval(
    votes_NA: np.ndarray, level: Level = "nominal", items: Sequence[object] | None = None
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
    return coincidence_interval(per_item_NCC, level)


def coincidence_interval(per_item_NCC: np.ndarray, level: Level) -> Interval | None:
    """Of the α of coincidences that are known by item."""
    weights_RN = _weights(len(per_item_NCC))
    if weights_RN is None:
        return None
    drawn_RCC = np.tensordot(weights_RN, per_item_NCC, axes=1)
    return _interval([alpha_of_coincidences(coincidence_CC, level) for coincidence_CC in drawn_RCC])


def fleiss_interval(votes_NA: np.ndarray) -> Interval | None:
    """Of :func:`~annotation_ui.quality.agreement.fleiss_kappa`; ``None`` where the numbers of votes differ."""
    counts_NC = label_counts(votes_NA)
    n_N = counts_NC.sum(axis=1)
    weights_RN = _weights(len(counts_NC))
    if weights_RN is None or n_N.min() != n_N.max() or n_N[0] < 2:
        return None
    n = n_N[0]
    observed_R = weights_RN @ ((np.sum(counts_NC**2, axis=1) - n) / (n * (n - 1))) / len(counts_NC)
    expected_R = np.sum((weights_RN @ counts_NC / (n * len(counts_NC))) ** 2, axis=1)
    return _interval(_kappas(observed_R, expected_R))


def kappa_interval(votes_NA: np.ndarray, *, min_shared: int) -> Interval | None:
    """Of :func:`~annotation_ui.quality.agreement.mean_cohen_kappa`, with the same pairs counted."""
    weights_RN = _weights(len(votes_NA))
    if weights_RN is None:
        return None
    labels = int(votes_NA.max(initial=0)) + 1
    total_R, weight_R = np.zeros(ROUNDS), np.zeros(ROUNDS)
    for one, other in combinations(range(votes_NA.shape[1]), 2):
        shared = np.flatnonzero((votes_NA[:, one] != MISSING) & (votes_NA[:, other] != MISSING))
        if len(shared) < min_shared:
            continue
        cell_n = votes_NA[shared, one] * labels + votes_NA[shared, other]
        table_RCC = (weights_RN[:, shared] @ np.eye(labels**2)[cell_n]).reshape(ROUNDS, labels, labels)
        n_R = table_RCC.sum(axis=(1, 2))
        with np.errstate(invalid="ignore", divide="ignore"):
            observed_R = np.trace(table_RCC, axis1=1, axis2=2) / n_R
            expected_R = np.sum(table_RCC.sum(axis=1) * table_RCC.sum(axis=2), axis=1) / n_R**2
        kappa_R = np.array([np.nan if kappa is None else kappa for kappa in _kappas(observed_R, expected_R)])
        defined_R = np.isfinite(kappa_R)
        total_R[defined_R] += (kappa_R * n_R)[defined_R]
        weight_R[defined_R] += n_R[defined_R]
    return _interval([total / weight if weight else None for total, weight in zip(total_R, weight_R, strict=True)])


def _weights(items: int) -> np.ndarray | None:
    """The number of times that each item is drawn, [R, N]."""
    if items < MIN_ITEMS:
        return None
    return np.random.default_rng(0).multinomial(items, np.full(items, 1 / items), size=ROUNDS).astype(float)


def _kappas(observed_R: np.ndarray, expected_R: np.ndarray) -> list[float | None]:
    pairs = zip(observed_R, expected_R, strict=True)
    return [float((o - e) / (1 - e)) if np.isfinite(e) and e < 1 - 1e-9 else None for o, e in pairs]


def _interval(values: list[float | None]) -> Interval | None:
    defined = [value for value in values if value is not None]
    if len(defined) < MIN_DEFINED * ROUNDS:
        return None
    low, high = np.percentile(defined, (2.5, 97.5))
    return float(low), float(high)
