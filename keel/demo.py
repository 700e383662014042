"""``keel demo``: both reward models on the built-in data, a summary table, and a report with plots."""

from __future__ import annotations

import json
import time
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from reward_models.data.synthetic import SIZES, judged_comparisons
from reward_models.evaluate import assess, load_evaluation
from reward_models.report import Section, evaluation_sections, write_evaluation, write_report
from reward_models.report import Table as ReportTable
from reward_models.runtime.config import load_config
from reward_models.scored import ScoredSet
from reward_models.scorer import RewardModel
from reward_models.trainer import RewardModelConfig, train

LEAD = (
    "Reward models of a few million parameters, trained on the built-in synthetic data on a CPU. The data come from "
    "templates and their labels from a simulated annotator with known noise and biases (docs/synthetic-data.md): the "
    "figures show that everything works, not how good a real model would be."
)


def run(out: Path) -> dict[str, Any]:
    """Train, evaluate, and write ``report.html`` and ``summary.json`` under ``out``; returns the summary."""
    console = Console(highlight=False)
    summary: dict[str, Any] = {}
    sections: list[Section] = []
    for kind, problems in (("helpful", ["synthetic:best_of_n:test"]), ("safety", [])):
        began = time.perf_counter()
        directory = out / f"{kind}_rm"
        words = [f"output_dir={directory}", "overwrite=true"]
        if train(load_config(RewardModelConfig, f"{kind}_demo", words)) is None:
            raise SystemExit("stopped; nothing to report yet")
        model = RewardModel.load(directory)
        assessment = assess(model, load_evaluation(model.kind, [f"synthetic:{kind}:test"], problems))
        write_evaluation(assessment, directory / "evaluation")
        sections += evaluation_sections(assessment)
        summary[kind] = {k: v for k, v in assessment.figures.items() if isinstance(v, int | float)}
        if kind == "helpful":
            summary[kind]["gold_accuracy"] = gold_accuracy(assessment.parts[0])
            summary[kind]["best_of_n"] = assessment.figures["best_of_n"]
        summary[kind]["seconds"] = round(time.perf_counter() - began, 1)
    (out / "summary.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
    rows = _rows(summary)
    columns = ("model", "held-out figure", "value", "a simple rule gets", "seconds")
    report = write_report(
        sections, out / "report.html", title="Keel demo", lead=LEAD, summary=ReportTable("", columns, rows)
    )
    table = Table(*columns, title="Keel demo")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print(f"Report: {report}", soft_wrap=True)
    return summary


def gold_accuracy(part: ScoredSet) -> float:
    """Share of held-out pairs that the model orders as the gold judge does, where the gold judge sees a difference."""
    gold = {j.comparison.id: j for j in islice(judged_comparisons("test"), SIZES["helpful"]["test"])}
    right = []
    for identity, margin in zip(part.ids, part.margins, strict=True):
        judged = gold[identity]
        difference = judged.gold_a - judged.gold_b
        if judged.comparison.label == "b":  # scores stand in the order chosen, rejected
            difference = -difference
        if difference:
            right.append(margin * difference > 0)
    return sum(right) / len(right)


def _rows(summary: dict[str, Any]) -> list[tuple[str, ...]]:
    helpful, safety = summary["helpful"], summary["safety"]
    return [
        (
            "helpful",
            "accuracy against the annotator's labels",
            f"{helpful['accuracy']:.1%}",
            f"{helpful['baseline_longer']:.1%} (longer wins), {helpful['baseline_tfidf']:.1%} (TF-IDF)",
            f"{helpful['seconds']:.0f}",
        ),
        (
            "helpful",
            "best of four: the right reply scores highest",
            f"{helpful['best_of_n']['accuracy']:.1%}",
            f"{helpful['best_of_n']['chance']:.1%} (chance)",
            "",
        ),
        ("helpful", "accuracy against the gold judge", f"{helpful['gold_accuracy']:.1%}", "50.0% (chance)", ""),
        (
            "safety",
            "AUROC",
            f"{safety['auroc']:.3f}",
            f"{safety['baseline_tfidf']:.3f} (TF-IDF)",
            f"{safety['seconds']:.0f}",
        ),
        (
            "safety",
            "accuracy at score 0",
            f"{safety['accuracy']:.1%}",
            f"{1 - safety['unsafe'] / safety['n']:.1%} (all safe)",
            "",
        ),
    ]
