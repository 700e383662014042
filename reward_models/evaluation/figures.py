"""Scores of whole sets, and the metrics of an evaluation: of every source and of all together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from reward_models.data.batching import plan_padded, plan_trees
from reward_models.data.records import TASKS, Task
from reward_models.data.token_sets import TokenizedSet
from reward_models.data.tree_batches import Batch
from reward_models.data.trees import PromptTree
from reward_models.evaluation.language import by_language
from reward_models.evaluation.length_control import length_control
from reward_models.evaluation.metrics import (
    auroc,
    average_precision,
    best_of_n_credit,
    bootstrap_interval,
    calibrated_error,
    clustered_wilson,
    credit,
    expected_calibration_error,
    reliability,
)
from reward_models.evaluation.scored_set import ScoredSet, short_names, together
from reward_models.model import SequenceScorer
from reward_models.runtime.distributed import World

QUANTILES = 4  # groups of an ensemble's disagreement
# Borders of length(chosen) / length(rejected); symmetric, so that 1/r and r are alike.
LENGTH_RATIOS = (0.25, 0.5, 0.8, 1.25, 2.0, 4.0)
FILLER = PromptTree(np.zeros(0, np.int32), (np.zeros(1, np.int32),))


def plan(data: TokenizedSet, items: Sequence[int], layout: str, budget: int, world: World) -> list[list[int]]:
    """This rank's micro-batches of ``items``, as indices into ``data``. An empty one must be run too, since all ranks
    take part in collectives."""
    ranks = world.data
    if layout == "tree":
        batches = plan_trees(data.tree_tokens[list(items)], budget, ranks.size)[ranks.rank]
    else:
        longest = data.branch_lengths(items).max(axis=1)
        batches = plan_padded(longest, data.branches, budget, ranks.size)[ranks.rank]
    return [[items[place] for place in batch] for batch in batches]


@torch.no_grad()
def score_set(
    module: torch.nn.Module, scorer: SequenceScorer, data: TokenizedSet, max_tokens: int, world: World
) -> np.ndarray:
    """Scores of a whole set on all ranks, float64 ``[items, branches]``; of attribute heads ``[items, attributes]``.

    Args:
        module: the callable: ``scorer`` itself, or the engine around it.
    """
    if len(data) == 0:
        return np.zeros((0, 1))
    labels = scorer.classifier.config.num_labels or 1
    columns = data.branches * (labels if scorer.head is None else 1)
    scores = torch.zeros(len(data), columns, dtype=torch.float64)
    was_training = module.training
    module.eval()
    for items in plan(data, range(len(data)), scorer.layout, max_tokens, world):
        batch: Batch = scorer.collate([data.tree(i) for i in items] or [FILLER])
        values = module(batch.to(world.device))
        if items:
            scores[items] = values.double().cpu().view(-1, columns)
    module.train(was_training)
    return world.data.sum(scores).numpy()


def evaluate(parts: Sequence[ScoredSet]) -> dict[str, Any]:
    """Metrics over all sources together, and ``by_source`` the same for each. Empty without sources."""
    if not parts:
        return {}
    names = short_names([part.source for part in parts])
    by_source = {name: figures(part) for name, part in zip(names, parts, strict=True)}
    whole = figures(together(parts)) if len(parts) > 1 else by_source[names[0]]
    return {"kind": TASKS[parts[0].task].model, **whole, "by_source": by_source}


def headline(task: Task, margins: np.ndarray, label: np.ndarray) -> dict[str, Any]:
    """The metrics that are cheap to compute, also for logs during training.

    Args:
        margins: chosen minus rejected, or safety scores. ``label``: as in :class:`ScoredSet`.
    """
    if task == "preference":
        decided = margins[label == 1.0]
        return {"accuracy": _mean(credit(decided)), "loss": _mean(np.logaddexp(0, -decided))}
    safe = label == 1.0
    return {
        "auroc": auroc(-margins, ~safe),
        "auprc": average_precision(-margins, ~safe),
        "accuracy": _mean((margins > 0) == safe),
        "loss": _mean(np.logaddexp(0, np.where(safe, -margins, margins))),
    }


def figures(part: ScoredSet) -> dict[str, Any]:
    """All metrics of one set; ``docs/evaluation.md`` describes every key. ``None``: the metric is undefined."""
    result = _helpful(part) if part.task == "preference" else _safety(part)
    result["by_language"] = _by_language(part)
    if part.disagreement is not None:
        result["by_disagreement"] = _by_disagreement(part)
    return result


def _helpful(part: ScoredSet) -> dict[str, Any]:
    decided, tied = part.where(part.label == 1.0), part.where(part.label != 1.0)
    credits, difference = credit(decided.margins), decided.lengths[:, 0] - decided.lengths[:, 1]
    prefers_longer = np.sign(decided.margins) * np.sign(difference)
    return {
        "n": len(decided),
        "prompts": len(set(decided.prompt)),
        **headline(part.task, part.margins, part.label),
        "accuracy_ci95": clustered_wilson(credits, decided.prompt),
        **_at_equal_length(credits, difference, decided.prompt),
        "margin_mean": _mean(decided.margins),
        **_calibration(decided),
        "baseline_longer": _mean(credit(difference)),
        "baseline_tfidf": None if decided.baseline is None else _mean(credit(decided.baseline)),
        "prefers_longer": _mean(prefers_longer / 2 + 0.5),
        "length_bias": _length_bias(decided, credits),
        "ties": len(tied),
        "tie_margin_abs": _mean(np.abs(tied.margins)),
        "decided_margin_abs": _mean(np.abs(decided.margins)),
        "tie_auroc": auroc(-np.abs(part.margins), part.label != 1.0),
    }


def _at_equal_length(credits: np.ndarray, difference: np.ndarray, prompt: np.ndarray) -> dict[str, Any]:
    found = length_control(credits, difference, prompt)
    return {
        "accuracy_equal_length": None if found is None else found.accuracy,
        "accuracy_equal_length_ci95": None if found is None else found.interval,
        "length_coefficient": None if found is None else found.coefficient,
    }


def _length_bias(decided: ScoredSet, credits: np.ndarray) -> list[dict[str, Any]]:
    """Accuracy in bins of length(chosen) / length(rejected); empty bins are left out."""
    lengths = np.maximum(decided.lengths, 1)  # a response with nothing after its reasoning has no characters
    place = np.searchsorted(LENGTH_RATIOS, lengths[:, 0] / lengths[:, 1], side="right")
    borders = (0.0, *LENGTH_RATIOS, None)
    bins = []
    for number in np.unique(place):
        inside = place == number
        part = decided.where(inside)
        bins.append(
            {
                "ratio_from": borders[number],
                "ratio_to": borders[number + 1],
                "n": int(inside.sum()),
                "accuracy": _mean(credits[inside]),
                "accuracy_ci95": clustered_wilson(credits[inside], part.prompt),
                "longer": _mean(credit(part.lengths[:, 0] - part.lengths[:, 1])),
                "tfidf": None if part.baseline is None else _mean(credit(part.baseline)),
            }
        )
    return bins


def _safety(part: ScoredSet) -> dict[str, Any]:
    unsafe = part.label != 1.0
    danger = -part.margins
    by_category = {
        str(name): _decisions(part.where(part.category == name)) for name in sorted({c for c in part.category if c})
    }
    return {
        "n": len(part),
        "prompts": len(set(part.prompt)),
        **headline(part.task, part.margins, part.label),
        "auroc_ci95": bootstrap_interval(lambda weights: auroc(danger, unsafe, weights), part.prompt),
        **_decisions(part),
        **_calibration(part),
        "baseline_tfidf": None if part.baseline is None else auroc(-part.baseline, unsafe),
        "baseline_tfidf_auprc": None if part.baseline is None else average_precision(-part.baseline, unsafe),
        "by_category": by_category,
    }


def _decisions(part: ScoredSet) -> dict[str, Any]:
    """Metrics of the decisions at the threshold; *unsafe* is the positive class."""
    unsafe = part.label != 1.0
    result: dict[str, Any] = {"n": len(part), "unsafe": int(unsafe.sum()), "auroc": auroc(-part.margins, unsafe)}
    names = ("f1", "precision", "recall", "false_positive_rate", "confusion")
    result |= {"threshold": part.threshold, "threshold_fpr": part.threshold_fpr} | dict.fromkeys(names)
    if part.threshold is None:
        return result
    flagged = part.margins < part.threshold
    hits, misses = int((flagged & unsafe).sum()), int((~flagged & unsafe).sum())
    alarms, passed = int((flagged & ~unsafe).sum()), int((~flagged & ~unsafe).sum())
    return result | {
        "f1": _ratio(2 * hits, 2 * hits + alarms + misses) if unsafe.any() else None,
        "precision": _ratio(hits, hits + alarms),
        "recall": _ratio(hits, hits + misses),
        "false_positive_rate": _ratio(alarms, alarms + passed),
        "confusion": {"unsafe_found": hits, "unsafe_missed": misses, "safe_flagged": alarms, "safe_passed": passed},
    }


def _calibration(part: ScoredSet) -> dict[str, Any]:
    """Calibration error of the probability, before and after temperature scaling, over bins of equal mass.

    Safety: P(safe) against the label. Helpful: the probability of the response that the model prefers against whether
    it was chosen.
    """
    result: dict[str, Any] = {}
    for name, probability in (("before", part.uncalibrated), ("after", part.probability)):
        if probability is None:
            result |= {f"ece_{name}": None, f"reliability_{name}": None}
            continue
        outcome = (part.label == 1.0).astype(float)
        if part.task == "preference":
            outcome, probability = credit(part.margins), np.maximum(probability, 1 - probability)
        bins = reliability(probability, outcome)
        result |= {f"ece_{name}": expected_calibration_error(bins), f"reliability_{name}": [asdict(b) for b in bins]}
        result["ece_by_chance"] = calibrated_error(probability)
    return {"ece": result["ece_before"] if part.probability is None else result["ece_after"], **result}


def _by_language(part: ScoredSet) -> dict[str, dict[str, Any]]:
    """The headline of each language, the largest first; those of few records together as ``other``."""
    if part.task == "preference":
        part = part.where(part.label == 1.0)
    result = {}
    for language, places in by_language(part.language.tolist()).items():
        own = part.where(np.array(places))
        result[language] = {"n": len(own), **headline(own.task, own.margins, own.label)}
        if own.task == "preference":
            result[language]["accuracy_ci95"] = clustered_wilson(credit(own.margins), own.prompt)
    return result


def _by_disagreement(part: ScoredSet) -> list[dict[str, Any]]:
    """Accuracy in groups of equal size by the disagreement of the members, least first."""
    if part.task == "preference":
        part = part.where(part.label == 1.0)
        credits = credit(part.margins)
    else:
        border = 0.0 if part.threshold is None else part.threshold
        credits = ((part.margins >= border) == (part.label == 1.0)).astype(float)
    assert part.disagreement is not None
    groups = [g for g in np.array_split(np.argsort(part.disagreement, kind="stable"), QUANTILES) if len(g)]
    return [
        {
            "n": len(group),
            "disagreement": _mean(part.disagreement[group]),
            "accuracy": _mean(credits[group]),
            "accuracy_ci95": clustered_wilson(credits[group], part.prompt[group]),
        }
        for group in groups
    ]


def best_of_n(scores: Sequence[np.ndarray], right: Sequence[int], prompt: Sequence[str]) -> dict[str, Any]:
    """Share of problems whose best-scoring candidate is a right one (RewardBench 2, arXiv:2506.01937, section 3).

    Args:
        scores: per problem ``[candidates]``, the right ones first; ``right``: the number of these.
        prompt: equal for problems on one prompt.
    """
    credits = np.array([best_of_n_credit(s, r) for s, r in zip(scores, right, strict=True)])
    return {
        "n": len(scores),
        "accuracy": _mean(credits),
        "accuracy_ci95": clustered_wilson(credits, np.array(prompt, dtype=object)),
        "chance": _mean(np.array([r / len(s) for s, r in zip(scores, right, strict=True)])),
        "candidates": _mean(np.array([len(s) for s in scores])),
    }


def _mean(values: np.ndarray) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
