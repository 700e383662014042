"""Scoring whole sets and turning scores into exact, global figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_auc_score

from reward_models.data.batching import plan_padded, plan_trees
from reward_models.data.encode import TokenizedSet
from reward_models.data.trees import Batch, PromptTree
from reward_models.model import SequenceScorer
from reward_models.runtime.distributed import World

FILLER = PromptTree(np.zeros(0, np.int32), (np.zeros(1, np.int32),))


def plan(data: TokenizedSet, items: Sequence[int], layout: str, budget: int, world: World) -> list[list[int]]:
    """This rank's micro-batches of ``items``, as indices into ``data``; an empty one still has to be run."""
    if layout == "tree":
        batches = plan_trees(data.tree_tokens[list(items)], budget, world.size)[world.rank]
    else:
        lengths = [int(data.branch_lengths[i].max()) for i in items]
        rows = max(len(data.branch_lengths[i]) for i in items)
        batches = plan_padded(lengths, rows, budget, world.size)[world.rank]
    return [[items[place] for place in batch] for batch in batches]


@torch.no_grad()
def score_set(
    module: torch.nn.Module, scorer: SequenceScorer, data: TokenizedSet, max_tokens: int, world: World
) -> np.ndarray:
    """Scores of a whole set on all ranks, float64 ``[items, branches]``.

    Args:
        module: what to call: ``scorer`` itself, or the engine around it.
    """
    if len(data) == 0:
        return np.zeros((0, 1))
    branches = len(data.spans[0]) - 2
    scores = torch.zeros(len(data), branches, dtype=torch.float64)
    was_training = module.training
    module.eval()
    for items in plan(data, range(len(data)), scorer.layout, max_tokens, world):
        batch: Batch = scorer.collate([data.tree(i) for i in items] or [FILLER])
        values = module(batch.to(world.device))
        if items:
            scores[items] = values.double().cpu().view(-1, branches)
    module.train(was_training)
    return world.sum(scores).numpy()


def evaluate_pairs(scores: np.ndarray, label: np.ndarray, lengths: np.ndarray) -> dict[str, Any]:
    """Accuracy over decided pairs (equal scores count half), with a 95 % Wilson interval, and the mean margin.

    Args:
        scores, lengths: ``[pairs, 2]``, chosen first. ``baseline_longer`` is the accuracy of preferring the longer one.
    """
    decided = label == 1.0
    margins = scores[decided, 0] - scores[decided, 1]
    result: dict[str, Any] = {"kind": "helpful", "n": int(decided.sum()), "ties": int((~decided).sum())}
    if len(margins):
        right = float((margins > 0).sum() + 0.5 * (margins == 0).sum())
        interval = binomtest(int(right), len(margins)).proportion_ci(method="wilson")
        result |= {
            "accuracy": right / len(margins),
            "accuracy_ci95": [float(interval.low), float(interval.high)],
            "baseline_longer": float((np.sign(lengths[decided, 0] - lengths[decided, 1]) / 2 + 0.5).mean()),
            "margin_mean": float(margins.mean()),
            "loss": float(np.logaddexp(0, -margins).mean()),
        }
    return result


def evaluate_safety(scores: np.ndarray, label: np.ndarray, lengths: np.ndarray) -> dict[str, Any]:
    """AUROC and average precision of telling *unsafe* responses, and accuracy at score 0. ``None``: one class only."""
    logits, safe = scores[:, 0], label == 1.0
    both = len(np.unique(safe)) == 2
    return {
        "kind": "safety",
        "n": len(safe),
        "unsafe": int((~safe).sum()),
        "auroc": float(roc_auc_score(~safe, -logits)) if both else None,
        "auprc": float(average_precision_score(~safe, -logits)) if both else None,
        "accuracy": float(((logits > 0) == safe).mean()) if len(safe) else None,
        "loss": float(np.logaddexp(0, np.where(safe, -logits, logits)).mean()) if len(safe) else None,
    }


def calibrate(scores: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Mean and standard deviation of scores, and the temperature that makes σ(score / T) the best probability.

    The temperature (arXiv:1706.04599) divides margins for comparisons and logits for safety. Empty where there are
    fewer than two examples.
    """
    if len(label) < 2:
        return {}
    if scores.shape[1] == 2:
        signed = (scores[:, 0] - scores[:, 1])[label == 1.0]
    else:
        signed = np.where(label == 1.0, scores[:, 0], -scores[:, 0])

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0, -signed / np.exp(log_temperature)).mean())

    temperature = np.exp(minimize_scalar(loss, bounds=(-4, 4), method="bounded").x) if len(signed) else 1.0
    return {
        "n": len(label),
        "mean": float(scores.mean()),
        "std": float(scores.std(ddof=1)),
        "temperature": float(temperature),
    }
