"""Agreement between annotators, and the most probable label where they disagree. Pure functions of numpy arrays.

``votes_NA`` holds the label of each of N items by each of A annotators, as whole numbers from 0; :data:`MISSING` where
an annotator did not judge. A figure that is not defined (nothing to compare, or no variation to agree on) is ``None``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

MISSING = -1
Level = Literal["nominal", "ordinal", "interval"]


def label_matrix(votes: list[tuple[object, object, str]], labels: tuple[str, ...]) -> tuple[np.ndarray, list, list]:
    """``(votes_NA, items, annotators)`` of ``(item, annotator, label)`` triples; other labels are left out."""
    place = {label: n for n, label in enumerate(labels)}
    known = [vote for vote in votes if vote[2] in place]
    rows: dict[object, int] = {}
    columns: dict[object, int] = {}
    row_V = np.array([rows.setdefault(item, len(rows)) for item, _, _ in known], dtype=int)
    column_V = np.array([columns.setdefault(annotator, len(columns)) for _, annotator, _ in known], dtype=int)
    votes_NA = np.full((len(rows), len(columns)), MISSING, dtype=np.int16)  # large where many people judge many items
    votes_NA[row_V, column_V] = np.array([place[label] for _, _, label in known], dtype=int)
    return votes_NA, list(rows), list(columns)


def cohen_kappa(first_N: np.ndarray, second_N: np.ndarray) -> float | None:
    """κ = (p_o − p_e) / (1 − p_e) of two annotators, over the items both judged (Cohen 1960)."""
    both = (first_N != MISSING) & (second_N != MISSING)
    first, second = first_N[both], second_N[both]
    if not len(first):
        return None
    observed = float(np.mean(first == second))
    expected = float(sum(np.mean(first == label) * np.mean(second == label) for label in np.unique(first)))
    return None if math.isclose(expected, 1.0) else (observed - expected) / (1 - expected)


def mean_cohen_kappa(votes_NA: np.ndarray, *, min_shared: int = 1) -> tuple[float | None, int]:
    """The mean of κ over all pairs of annotators with at least ``min_shared`` items in common where it is defined, and
    how many pairs those are. A pair counts by the number of its common items: 3 say less than 30."""
    shared_Q, kappa_Q = kappas_of_tables(shared_votes(votes_NA, min_shared=min_shared).tables())
    defined_Q = np.isfinite(kappa_Q)
    if not defined_Q.any():
        return None, 0
    return float(np.average(kappa_Q[defined_Q], weights=shared_Q[defined_Q])), int(defined_Q.sum())


@dataclass(frozen=True, slots=True)
class SharedVotes:
    """Every two votes on one item, with the pair of annotators that they are of; P in all, of Q pairs of annotators.

    Args:
        item_P: the row of the item.
        cell_P: the place in the Q tables [labels, labels] of what the two said.
    """

    item_P: np.ndarray
    cell_P: np.ndarray
    pairs: int
    labels: int

    def tables(self, weights_N: np.ndarray | None = None) -> np.ndarray:
        """The labels of every pair of annotators on their common items, counted: [Q, labels, labels]."""
        weights_P = None if weights_N is None else weights_N[self.item_P]
        counts = np.bincount(self.cell_P, weights_P, self.pairs * self.labels**2)
        return counts.reshape(self.pairs, self.labels, self.labels)


def shared_votes(votes_NA: np.ndarray, *, min_shared: int) -> SharedVotes:
    """The votes of all pairs of annotators with at least ``min_shared`` items in common."""
    annotators, labels = votes_NA.shape[1], int(votes_NA.max(initial=0)) + 1
    item_V, who_V = np.nonzero(votes_NA != MISSING)  # item by item
    said_V = votes_NA[item_V, who_V].astype(int)
    items, pairs, cells = [item_V[:0]], [item_V[:0]], [item_V[:0]]
    for step in range(1, int(np.bincount(item_V).max(initial=0))):
        first = np.flatnonzero(item_V[step:] == item_V[:-step])
        items.append(item_V[first])
        pairs.append(who_V[first] * annotators + who_V[first + step])
        cells.append(said_V[first] * labels + said_V[first + step])
    _, pair_P, shared_Q = np.unique(np.concatenate(pairs), return_inverse=True, return_counts=True)
    kept_Q = shared_Q >= min_shared
    kept_P = kept_Q[pair_P]
    place_P = (np.cumsum(kept_Q) - 1)[pair_P[kept_P]]
    cell_P = place_P * labels**2 + np.concatenate(cells)[kept_P]
    return SharedVotes(np.concatenate(items)[kept_P], cell_P, int(kept_Q.sum()), labels)


def kappas_of_tables(tables_QCC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``(n_Q, kappa_Q)`` of tables of two annotators' labels: the items and κ, NaN where it is not defined."""
    n_Q = tables_QCC.sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        observed_Q = np.trace(tables_QCC, axis1=1, axis2=2) / n_Q
        expected_Q = np.sum(tables_QCC.sum(axis=1) * tables_QCC.sum(axis=2), axis=1) / n_Q**2
        return n_Q, np.where(expected_Q < 1 - 1e-9, (observed_Q - expected_Q) / (1 - expected_Q), np.nan)


def fleiss_kappa(votes_NA: np.ndarray) -> float | None:
    """κ for items with the same number of votes each (Fleiss 1971); ``None`` if their numbers differ."""
    counts_NC = label_counts(votes_NA)
    per_item = counts_NC.sum(axis=1)
    if not len(per_item) or per_item.min() != per_item.max() or per_item[0] < 2:
        return None
    n = per_item[0]
    observed = float(np.mean((np.sum(counts_NC**2, axis=1) - n) / (n * (n - 1))))
    expected = float(np.sum((counts_NC.sum(axis=0) / counts_NC.sum()) ** 2))
    return None if math.isclose(expected, 1.0) else (observed - expected) / (1 - expected)


def krippendorff_alpha(votes_NA: np.ndarray, level: Level = "nominal") -> float | None:
    """α = 1 − D_o / D_e for any number of annotators with any votes missing (Krippendorff 2011, "Computing
    Krippendorff's Alpha-Reliability"). Items with fewer than two votes say nothing and are left out."""
    per_item_NCC = coincidences(votes_NA)
    return alpha_of_coincidences(per_item_NCC.sum(axis=0), level) if len(per_item_NCC) else None


def coincidences(votes_NA: np.ndarray) -> np.ndarray:
    """Each item's ordered pairs of labels over its number of votes less one, [N, C, C]: the N items with two votes."""
    counts_NC = label_counts(votes_NA).astype(float)
    counts_NC = counts_NC[counts_NC.sum(axis=1) >= 2]
    pairs_NCC = counts_NC[:, :, None] * counts_NC[:, None, :]
    pairs_NCC -= np.eye(counts_NC.shape[1]) * counts_NC[:, :, None]
    return pairs_NCC / (counts_NC.sum(axis=1) - 1)[:, None, None]


def alpha_of_coincidences(coincidence_CC: np.ndarray, level: Level) -> float | None:
    margin_C = coincidence_CC.sum(axis=1)
    difference_CC = _DIFFERENCES[level](margin_C)
    observed = float(np.sum(coincidence_CC * difference_CC))
    expected = float(np.sum(np.outer(margin_C, margin_C) * difference_CC) / (margin_C.sum() - 1))
    return None if expected == 0 else 1 - observed / expected


def _nominal(margin_C: np.ndarray) -> np.ndarray:
    return 1.0 - np.eye(len(margin_C))


def _ordinal(margin_C: np.ndarray) -> np.ndarray:
    between_CC = np.abs(np.subtract.outer(np.cumsum(margin_C) - margin_C / 2, np.cumsum(margin_C) - margin_C / 2))
    return between_CC**2


def _interval(margin_C: np.ndarray) -> np.ndarray:
    value_C = np.arange(len(margin_C))
    return np.subtract.outer(value_C, value_C).astype(float) ** 2


_DIFFERENCES: dict[Level, Callable[[np.ndarray], np.ndarray]] = {
    "nominal": _nominal,
    "ordinal": _ordinal,
    "interval": _interval,
}


def label_counts(votes_NA: np.ndarray) -> np.ndarray:
    """The number of annotators that gave each label, [N, C]."""
    labels = int(votes_NA.max(initial=0)) + 1
    item_V, who_V = np.nonzero(votes_NA != MISSING)
    cell_V = item_V * labels + votes_NA[item_V, who_V]
    return np.bincount(cell_V, minlength=len(votes_NA) * labels).reshape(len(votes_NA), labels)


@dataclass(frozen=True, slots=True)
class Consensus:
    """The estimates of :func:`dawid_skene`.

    Args:
        posterior_NC: the probability of each label for each item.
        confusion_ACC: how often an annotator says the second label where the first is true.
        prior_C: how frequent each label is.
        log_likelihood: of the votes, after each round; it never falls.
    """

    posterior_NC: np.ndarray
    confusion_ACC: np.ndarray
    prior_C: np.ndarray
    log_likelihood: list[float]

    @property
    def reliability_A(self) -> np.ndarray:
        """The probability that an annotator's label is right, over items as frequent as the prior says."""
        return np.einsum("acc,c->a", self.confusion_ACC, self.prior_C)


def dawid_skene(votes_NA: np.ndarray, labels: int, *, rounds: int = 200, tolerance: float = 1e-8) -> Consensus:
    """Labels and annotators' error rates estimated together by expectation maximisation (Dawid & Skene 1979).

    It starts from the shares of the votes. Each row of a confusion matrix has one pseudo-vote spread as a mildly honest
    annotator's would be (3 to 1 for the true label), so that an annotator with few votes is neither perfect nor hostile
    by chance. Every item needs a vote.
    """
    (item_V, who_V), items, people = np.nonzero((votes_NA >= 0) & (votes_NA < labels)), *votes_NA.shape
    said_V, cell_V = votes_NA[item_V, who_V], who_V * labels + votes_NA[item_V, who_V]
    posterior_NC = np.stack([np.bincount(item_V[said_V == label], minlength=items) for label in range(labels)], 1)
    posterior_NC = posterior_NC / posterior_NC.sum(axis=1, keepdims=True)
    prior_votes_CC = (np.ones((labels, labels)) + 2 * np.eye(labels)) / (labels + 2)
    history: list[float] = []
    while True:
        prior_C = (posterior_NC.sum(axis=0) + 1 / labels) / (len(posterior_NC) + 1)
        said_CAC = [np.bincount(cell_V, weight_N[item_V], people * labels) for weight_N in posterior_NC.T]
        confusion_ACC = np.stack(said_CAC).reshape(labels, people, labels).transpose(1, 0, 2) + prior_votes_CC
        confusion_ACC /= confusion_ACC.sum(axis=2, keepdims=True)
        log_C_S = np.log(confusion_ACC).transpose(1, 0, 2).reshape(labels, people * labels)  # S: who said it, and what
        log_joint_CN = np.stack([np.bincount(item_V, log_S[cell_V], items) for log_S in log_C_S])
        log_joint_CN += np.log(prior_C)[:, None]
        top_N = log_joint_CN.max(axis=0)
        joint_CN = np.exp(log_joint_CN - top_N)
        sum_N = joint_CN.sum(axis=0)
        posterior_NC = (joint_CN / sum_N).T
        penalty = np.sum(prior_votes_CC * np.log(confusion_ACC)) + np.sum(np.log(prior_C)) / labels
        history.append(float(np.sum(top_N + np.log(sum_N)) + penalty))
        if len(history) >= rounds or (len(history) > 1 and history[-1] - history[-2] < tolerance):
            return Consensus(posterior_NC, confusion_ACC, prior_C, history)


def majority(votes_NA: np.ndarray) -> np.ndarray:
    """The label most annotators gave each item; :data:`MISSING` where two are equally frequent or there is none."""
    counts_NC = label_counts(votes_NA)
    top_N = counts_NC.max(axis=1)
    clear_N = (np.sum(counts_NC == top_N[:, None], axis=1) == 1) & (top_N > 0)
    return np.where(clear_N, counts_NC.argmax(axis=1), MISSING)


def wilson(successes: float, n: int, z: float = 1.96) -> tuple[float, float] | None:
    """The interval of a share at 95 % (Wilson 1927); ``None`` for no observations."""
    if n == 0:
        return None
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return centre - half, centre + half
