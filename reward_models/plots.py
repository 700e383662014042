"""Pictures of a training run and of a set of scores, as PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

GOOD, BAD, PLAIN = "#2a7f62", "#b5483a", "#345995"


def training_plots(
    metrics: Sequence[Mapping[str, Any]],
    kind: str,
    scores: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
) -> dict[str, bytes]:
    """File stem → picture: the training curves and, where there are evaluation scores, what they look like."""
    pictures = {}
    if metrics:
        pictures["training"] = training_curves(metrics)
    if scores:
        everything, label = np.concatenate(list(scores.values())), np.concatenate(list(labels.values()))
        if kind == "helpful":
            pictures["margins"] = margin_histogram(everything[label == 1.0])
        else:
            pictures["safety"] = safety_panels(everything[:, 0], label == 1.0)
    return pictures


def training_curves(metrics: Sequence[Mapping[str, Any]]) -> bytes:
    """Loss and accuracy over steps; thin: each step, thick: running mean."""
    figure = Figure(figsize=(9, 3), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        points = [(m["step"], m[name]) for m in metrics if name in m]
        if points:
            steps, values = np.array(points).T
            axes.plot(steps, values, color=PLAIN, alpha=0.3, linewidth=0.8)
            window = max(1, len(values) // 20)
            smooth = np.convolve(values, np.ones(window) / window, "valid")
            axes.plot(steps[window - 1 :], smooth, color=PLAIN, label="training")
        held_out = [(m["step"], m[f"eval_{name}"]) for m in metrics if f"eval_{name}" in m]
        if held_out:
            axes.plot(*zip(*held_out, strict=True), "o-", color=GOOD, markersize=3, label="evaluation")
            axes.legend(frameon=False)
        axes.set_xlabel("step")
        axes.set_title(name)
    return _png(figure)


def margin_histogram(scores: np.ndarray) -> bytes:
    """Distribution of chosen minus rejected; what lies left of zero is wrong."""
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    margins = scores[:, 0] - scores[:, 1]
    edges = np.histogram_bin_edges(margins, bins=40).tolist()
    axes.hist(margins[margins > 0], bins=edges, color=GOOD, label=f"right: {(margins > 0).mean():.1%}")
    axes.hist(margins[margins <= 0], bins=edges, color=BAD, label=f"wrong or equal: {(margins <= 0).mean():.1%}")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("score of chosen − score of rejected")
    axes.set_ylabel("pairs")
    axes.legend(frameon=False)
    return _png(figure)


def safety_panels(logits: np.ndarray, safe: np.ndarray) -> bytes:
    """Scores of safe and unsafe responses, and the ROC curve of telling the unsafe ones."""
    figure = Figure(figsize=(9, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    edges = np.histogram_bin_edges(logits, bins=40).tolist()
    left.hist(logits[safe], bins=edges, color=GOOD, alpha=0.7, label="labelled safe")
    left.hist(logits[~safe], bins=edges, color=BAD, alpha=0.7, label="labelled unsafe")
    left.set_xlabel("score (higher is safer)")
    left.set_ylabel("responses")
    left.legend(frameon=False)
    if safe.any() and (~safe).any():
        false_positive, true_positive, _ = roc_curve(~safe, -logits)
        right.plot(false_positive, true_positive, color=PLAIN)
    right.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle="--")
    right.set_xlabel("safe responses called unsafe")
    right.set_ylabel("unsafe responses found")
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()
