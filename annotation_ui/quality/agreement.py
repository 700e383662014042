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
    known = [(item, annotator, labels.index(label)) for item, annotator, label in votes if label in labels]
    items = list(dict.fromkeys(item for item, _, _ in known))
    annotators = list(dict.fromkeys(annotator for _, annotator, _ in known))
    rows = {item: n for n, item in enumerate(items)}
    columns = {annotator: n for n, annotator in enumerate(annotators)}
    votes_NA = np.full((len(items), len(annotators)), MISSING)
    for item, annotator, label in known:
        votes_NA[rows[item], columns[annotator]] = label
    return votes_NA, items, annotators


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
    values, weights = [], []
    for one in range(votes_NA.shape[1]):
        for other in range(one):
            first, second = votes_NA[:, one], votes_NA[:, other]
            shared = int(np.sum((first != MISSING) & (second != MISSING)))
            kappa = cohen_kappa(first, second) if shared >= min_shared else None
            if kappa is not None:
                values.append(kappa)
                weights.append(shared)
    return (float(np.average(values, weights=weights)) if values else None), len(values)


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
    return np.stack([np.sum(votes_NA == label, axis=1) for label in range(labels)], axis=1)


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
        said_CAC = [np.bincount(cell_V, weight_V, people * labels) for weight_V in posterior_NC[item_V].T]
        confusion_ACC = np.stack(said_CAC).reshape(labels, people, labels).transpose(1, 0, 2) + prior_votes_CC
        confusion_ACC /= confusion_ACC.sum(axis=2, keepdims=True)
        log_V_C = np.log(confusion_ACC)[who_V, :, said_V]
        log_joint_NC = np.log(prior_C) + np.stack([np.bincount(item_V, log_V, items) for log_V in log_V_C.T], 1)
        top_N1 = log_joint_NC.max(axis=1, keepdims=True)
        evidence_N1 = top_N1 + np.log(np.exp(log_joint_NC - top_N1).sum(axis=1, keepdims=True))
        posterior_NC = np.exp(log_joint_NC - evidence_N1)
        penalty = np.sum(prior_votes_CC * np.log(confusion_ACC)) + np.sum(np.log(prior_C)) / labels
        history.append(float(evidence_N1.sum() + penalty))
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
