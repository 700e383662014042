"""``keel demo``: both reward models on the built-in data, a summary table, and a report with plots."""

from __future__ import annotations

import json
import time
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from reward_models.artifact import EVAL_SCORES, MANIFEST
from reward_models.data.synthetic import SIZES, judged_comparisons
from reward_models.report import write_report
from reward_models.runtime.config import load_config
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
    for kind in ("helpful", "safety"):
        began = time.perf_counter()
        directory = out / f"{kind}_rm"
        words = [f"output_dir={directory}", "overwrite=true"]
        if train(load_config(RewardModelConfig, f"{kind}_demo", words)) is None:
            raise SystemExit("stopped; nothing to report yet")
        evaluation = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))["evaluation"]
        figures = {k: v for k, v in evaluation.items() if k != "by_source"}
        if kind == "helpful":
            figures["gold_accuracy"] = gold_accuracy(directory)
        summary[kind] = figures | {"seconds": round(time.perf_counter() - began, 1)}
    (out / "summary.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
    rows = _rows(summary)
    columns = ("model", "held-out figure", "value", "a simple rule gets", "seconds")
    report = write_report(
        [out / "helpful_rm", out / "safety_rm"],
        out / "report.html",
        title="Keel demo",
        lead=LEAD,
        columns=columns,
        rows=rows,
    )
    table = Table(*columns, title="Keel demo")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print(f"Report: {report}", soft_wrap=True)
    return summary


def gold_accuracy(directory: Path) -> float:
    """Share of held-out pairs that the model orders as the gold judge does, where the gold judge sees a difference."""
    gold = {j.comparison.id: j for j in islice(judged_comparisons("test"), SIZES["helpful"]["test"])}
    right = []
    for text in (directory / EVAL_SCORES).read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        judged = gold[line["id"]]
        difference = judged.gold_a - judged.gold_b
        if judged.comparison.label == "b":  # scores stand in the order chosen, rejected
            difference = -difference
        if difference:
            right.append((line["scores"][0] - line["scores"][1]) * difference > 0)
    return sum(right) / len(right)


def _rows(summary: dict[str, Any]) -> list[tuple[str, ...]]:
    helpful, safety = summary["helpful"], summary["safety"]
    return [
        (
            "helpful",
            "accuracy against the annotator's labels",
            f"{helpful['accuracy']:.1%}",
            f"{helpful['baseline_longer']:.1%} (longer wins)",
            f"{helpful['seconds']:.0f}",
        ),
        ("helpful", "accuracy against the gold judge", f"{helpful['gold_accuracy']:.1%}", "50.0% (chance)", ""),
        ("safety", "AUROC", f"{safety['auroc']:.3f}", "0.500 (chance)", f"{safety['seconds']:.0f}"),
        (
            "safety",
            "accuracy at score 0",
            f"{safety['accuracy']:.1%}",
            f"{1 - safety['unsafe'] / safety['n']:.1%} (all safe)",
            "",
        ),
    ]
