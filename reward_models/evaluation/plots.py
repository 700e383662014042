"""Charts of a training run and of an evaluation; each caption says how a good model's chart looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from sklearn.metrics import precision_recall_curve, roc_curve

from reward_models.evaluation.figures import LENGTH_RATIOS
from reward_models.evaluation.scored_set import ScoredSet, together
from reward_models.reporting.charts import (
    MODEL,
    RULE,
    STYLE,
    TFIDF,
    WRONG,
    Picture,
    canvas,
    drawn,
    edges_of,
    forest,
    rows_of,
)

FEWEST_SHOWN = 10  # pairs in a bin; an accuracy of fewer is not shown
LENGTH_CAPTION = (
    "If the chosen response is the shorter one (left), a model that has learnt “longer is better” falls towards the "
    f"dashed rule. Good: a level line, also high on the left. Bins under {FEWEST_SHOWN} pairs have no point. "
)


@rc_context(STYLE)
def training(metrics: Sequence[Mapping[str, Any]]) -> list[Picture]:
    """The curves of a run, from the lines of its ``metrics.jsonl``; none without lines."""
    if not metrics:
        return []
    figure, axes = canvas(rows=2, height=4.2, sharex=True)
    for each, name in zip(axes, ("loss", "accuracy"), strict=True):
        points = [(m["step"], m[name]) for m in metrics if name in m]
        if points:
            steps, values = np.array(points).T
            window = max(1, len(values) // 20)
            each.plot(steps, values, color=MODEL, alpha=0.25, linewidth=0.8)
            smooth = np.convolve(values, np.ones(window) / window, "valid")
            each.plot(steps[window - 1 :], smooth, color=MODEL, label="training")
        held_out = [(m["step"], m[f"eval_{name}"]) for m in metrics if f"eval_{name}" in m]
        if held_out:
            each.plot(*zip(*held_out, strict=True), "o-", color=WRONG, markersize=3, label="evaluation")
            each.legend()
        each.set_ylabel(name)
    axes[-1].set_xlabel("step")
    caption = (
        "Each step (thin) and the running mean (thick). Good: both flatten without jumps. If the evaluation gets worse "
        "while training still improves, the run was too long."
    )
    return [drawn(figure, "training", "Training", caption)]


@rc_context(STYLE)
def evaluation(parts: Sequence[ScoredSet], figures: Mapping[str, Any]) -> list[Picture]:
    """All charts that the data allow; ``figures`` come from :func:`~reward_models.evaluation.figures.evaluate`."""
    if not parts or not sum(map(len, parts)):
        return []
    whole = together(parts)
    draw = _helpful if whole.task == "preference" else _safety
    pictures = draw(whole, parts, figures)
    pictures.append(_reliability(figures, whole.task))
    if "by_disagreement" in figures:
        pictures.append(_disagreement(figures["by_disagreement"]))
    return [picture for picture in pictures if picture is not None]


@rc_context(STYLE)
def best_of_n(figures: Mapping[str, Any]) -> Picture:
    """Share of problems whose best-scoring candidate is right, by source; see :func:`evaluation.best_of_n`."""
    rows = rows_of(figures, "accuracy", {"chance": "at random"})
    caption = (
        "Several candidates per prompt, at least one of them right: share of prompts where a right one scores highest. "
        "Good: far to the right of a random choice."
    )
    return drawn(forest(rows, "share with a right one on top"), "best_of_n", "Best of N", caption)


# --- helpful --------------------------------------------------------------------------------------------------------


def _helpful(whole: ScoredSet, parts: Sequence[ScoredSet], figures: Mapping[str, Any]) -> list[Picture | None]:
    pictures: list[Picture | None] = []
    if len(parts) > 1:
        rules = {"baseline_longer": "“longer wins”", "baseline_tfidf": "TF-IDF"}
        chart = forest(rows_of(figures, "accuracy", rules), "accuracy", chance=0.5)
        caption = (
            "Share of pairs whose chosen response scores higher, with 95 % intervals clustered by prompt. Good: the "
            "whole interval to the right of both baselines; ½ is chance."
        )
        pictures.append(drawn(chart, "accuracy", "Accuracy by source", caption))
    pictures.append(_margins(whole))
    pictures.append(_length_bias(figures, "length_bias", "Accuracy against length", LENGTH_CAPTION))
    if len(parts) > 1:
        for number, (name, each) in enumerate(figures["by_source"].items(), start=1):
            pictures.append(_length_bias(each, f"length_bias_{number}", f"Against length: {name}"))
    if figures["ties"] and figures["n"]:
        pictures.append(_ties(whole, figures))
    return pictures


def _margins(whole: ScoredSet) -> Picture | None:
    margins = whole.margins[whole.label == 1.0]
    if not len(margins):
        return None
    figure, (axes,) = canvas()
    edges = edges_of(margins)
    right, wrong = margins[margins > 0], margins[margins <= 0]
    axes.hist(right, bins=edges, color=MODEL, label=f"right: {len(right) / len(margins):.1%}")
    axes.hist(wrong, bins=edges, color=WRONG, label=f"wrong or equal: {len(wrong) / len(margins):.1%}")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("score of chosen − score of rejected")
    axes.set_ylabel("pairs")
    axes.legend()
    caption = "Score of chosen minus score of rejected. Good: few pairs left of zero, and these close to it."
    return drawn(figure, "margins", "Margins", caption)


def _length_bias(figures: Mapping[str, Any], name: str, title: str, caption: str = "") -> Picture | None:
    bins = figures["length_bias"]
    if not any(b["n"] >= FEWEST_SHOWN for b in bins):
        return None
    figure, (axes, shares) = canvas(rows=2, height=3.8, sharex=True, ratios=(3, 1))
    borders = (0.0, *LENGTH_RATIOS)  # the same bins in every picture, so that they can be compared
    place = [borders.index(b["ratio_from"]) for b in bins]
    shares.bar(place, [b["n"] / sum(b["n"] for b in bins) for b in bins], color="#9fb4c9", width=0.7)
    large = [(at, b) for at, b in zip(place, bins, strict=True) if b["n"] >= FEWEST_SHOWN]
    for key, style, colour, label in (
        ("longer", "--", RULE, "“longer wins”"),
        ("tfidf", "s:", TFIDF, "TF-IDF"),
        ("accuracy", "o-", MODEL, "model"),
    ):
        points = [(at, b[key]) for at, b in large if b[key] is not None]
        if points:
            axes.plot(*zip(*points, strict=True), style, color=colour, markersize=4.5, label=label)
    for at, b in large:
        axes.vlines(at, *b["accuracy_ci95"], color=MODEL, linewidth=1.2, alpha=0.5)
    axes.set_ylim(-0.04, 1.04)
    axes.set_ylabel("accuracy")
    axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0), columnspacing=1.2, handlelength=1.6)
    shares.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    shares.set_ylabel("pairs")
    labels = [_ratio_label(*edges) for edges in zip(borders, (*LENGTH_RATIOS, None), strict=True)]
    shares.set_xticks(range(len(borders)), labels, fontsize=8.5)
    shares.set_xlim(-0.6, len(borders) - 0.4)
    shares.set_xlabel("length of chosen ÷ length of rejected (characters)")
    caption += (
        f"The model prefers the longer response in {figures['prefers_longer']:.0%} of these {figures['n']:,} pairs, "
        f"the labels in {figures['baseline_longer']:.0%}."
    )
    return drawn(figure, name, title, caption)


def _ratio_label(low: float, high: float | None) -> str:
    names = {0.25: "¼", 0.5: "½", 0.8: "0.8", 1.25: "1.25", 2.0: "2", 4.0: "4"}
    if not low:
        return f"< {names[high or 0.25]}"
    return f"> {names[low]}" if high is None else "about 1" if low < 1 < high else f"{names[low]}–{names[high]}"


def _ties(whole: ScoredSet, figures: Mapping[str, Any]) -> Picture:
    figure, (axes,) = canvas()
    size, tied = np.abs(whole.margins), whole.label != 1.0
    edges = edges_of(size)
    for chosen, colour, label in ((~tied, MODEL, "one was chosen"), (tied, WRONG, "ties")):
        axes.hist(size[chosen], bins=edges, density=True, histtype="stepfilled", alpha=0.25, color=colour)
        axes.hist(size[chosen], bins=edges, density=True, histtype="step", linewidth=1.4, color=colour, label=label)
    axes.set_xlabel("distance of the two scores")
    axes.set_ylabel("density")
    axes.legend(title=f"AUROC {figures['tie_auroc']:.2f}", title_fontsize=9)
    caption = (
        f"{figures['ties']:,} pairs were judged ties. Good: their two scores lie closer together than those of "
        "decided pairs (AUROC of telling ties by this distance well above 0.5)."
    )
    return drawn(figure, "ties", "Ties", caption)


# --- safety ---------------------------------------------------------------------------------------------------------


def _safety(whole: ScoredSet, parts: Sequence[ScoredSet], figures: Mapping[str, Any]) -> list[Picture | None]:
    if figures["auroc"] is None:
        return [_score_histogram(whole)]
    pictures: list[Picture | None] = []
    if len(parts) > 1:
        chart = forest(rows_of(figures, "auroc", {"baseline_tfidf": "TF-IDF"}), "AUROC", chance=0.5)
        caption = (
            "Probability that an unsafe response scores below a safe one, with 95 % bootstrap intervals over prompts. "
            "Good: the whole interval to the right of the baseline; ½ is chance."
        )
        pictures.append(drawn(chart, "auroc", "AUROC by source", caption))
    return [*pictures, _score_histogram(whole), _roc(whole, figures), _precision_recall(whole, figures)]


def _score_histogram(whole: ScoredSet) -> Picture:
    figure, (axes,) = canvas()
    safe, edges = whole.label == 1.0, edges_of(whole.margins)
    for chosen, colour, label in ((safe, MODEL, "labelled safe"), (~safe, WRONG, "labelled unsafe")):
        axes.hist(whole.margins[chosen], bins=edges, histtype="stepfilled", alpha=0.3, color=colour)
        axes.hist(whole.margins[chosen], bins=edges, histtype="step", linewidth=1.3, color=colour, label=label)
    if whole.threshold is not None:
        axes.axvline(whole.threshold, color="black", linewidth=1, linestyle="--", label="threshold")
    axes.set_xlabel("score (higher is safer)")
    axes.set_ylabel("responses")
    axes.legend()
    caption = "Good: two separate groups, with the threshold between them."
    return drawn(figure, "scores", "Scores", caption)


def _roc(whole: ScoredSet, figures: Mapping[str, Any]) -> Picture:
    figure, (axes,) = canvas(height=3.6)
    unsafe = whole.label != 1.0
    axes.plot([0, 1], [0, 1], ":", color=RULE, linewidth=1, label="chance")
    if whole.baseline is not None:
        axes.plot(*roc_curve(unsafe, -whole.baseline)[:2], color=TFIDF, linewidth=1.2, label="TF-IDF")
    axes.plot(*roc_curve(unsafe, -whole.margins)[:2], color=MODEL, linewidth=1.8, label="model")
    if figures["recall"] is not None and figures["false_positive_rate"] is not None:
        axes.plot(figures["false_positive_rate"], figures["recall"], "o", color="black", label="at the threshold")
    axes.set_xlabel("safe responses called unsafe")
    axes.set_ylabel("unsafe responses found")
    axes.legend(loc="lower right")
    caption = "Good: the curve runs close to the upper left corner, and the threshold gives few false alarms."
    return drawn(figure, "roc", "ROC curve", caption)


def _precision_recall(whole: ScoredSet, figures: Mapping[str, Any]) -> Picture:
    figure, (axes,) = canvas(height=3.6)
    unsafe = whole.label != 1.0
    axes.axhline(unsafe.mean(), linestyle=":", color=RULE, linewidth=1, label="chance")
    scores = [(-whole.margins, MODEL, "model", 1.8)]
    if whole.baseline is not None:
        scores.insert(0, (-whole.baseline, TFIDF, "TF-IDF", 1.2))
    for danger, colour, label, width in scores:
        precision, recall, _ = precision_recall_curve(unsafe, danger)
        axes.plot(recall, precision, color=colour, linewidth=width, label=label)
    if figures["precision"] is not None:
        axes.plot(figures["recall"], figures["precision"], "o", color="black", label="at the threshold")
    axes.set_ylim(0, 1.03)
    axes.set_xlabel("recall: unsafe responses found")
    axes.set_ylabel("precision: rightly called unsafe")
    axes.legend(loc="lower left")
    caption = (
        "Good: the curve stays high up to a high recall. If unsafe responses are rare, this is the chart to look at."
    )
    return drawn(figure, "precision_recall", "Precision and recall", caption)


# --- both -----------------------------------------------------------------------------------------------------------


def _reliability(figures: Mapping[str, Any], task: str) -> Picture | None:
    if not figures["reliability_before"]:
        return None
    figure, (axes,) = canvas(height=3.6)
    start = 0.5 if task == "preference" else 0.0
    axes.plot([start, 1], [start, 1], ":", color=RULE, linewidth=1, label="perfect")
    for when, style, colour in (("before", "o--", "#7fb2d6"), ("after", "o-", MODEL)):
        bins = figures[f"reliability_{when}"]
        if bins:
            label = f"{when} scaling: ECE {figures[f'ece_{when}']:.3f}"
            places = [[b[key] for b in bins] for key in ("probability", "outcome")]
            axes.plot(*places, style, color=colour, markersize=4.5, linewidth=0.9, label=label)
    axes.set_xlabel("stated probability that the preferred is chosen" if task == "preference" else "stated P(safe)")
    axes.set_ylabel("share that was chosen" if task == "preference" else "share that is safe")
    axes.legend(loc="upper left")
    caption = (
        "Before and after temperature scaling on a separate split, in 15 bins of equal mass. Good: points on the "
        f"diagonal. A perfectly calibrated model would show an ECE of {figures['ece_by_chance']:.3f} at this size."
    )
    return drawn(figure, "reliability", "Calibration", caption)


def _disagreement(groups: Sequence[Mapping[str, Any]]) -> Picture:
    figure, (axes,) = canvas()
    at = np.arange(len(groups))
    low, high = np.array([g["accuracy_ci95"] for g in groups]).T
    axes.vlines(at, low, high, color=MODEL, linewidth=1.2, alpha=0.5)
    axes.plot(at, [g["accuracy"] for g in groups], "o-", color=MODEL)
    axes.set_xticks(at, [f"{g['disagreement']:.2f}" for g in groups])
    axes.set_xlabel("disagreement of the members (mean of each quarter)")
    axes.set_ylabel("accuracy")
    caption = "Good: falling from left to right. Disagreement then shows where the ensemble is unreliable."
    return drawn(figure, "disagreement", "Accuracy by disagreement", caption)
