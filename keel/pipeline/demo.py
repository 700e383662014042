"""``keel demo``: run the project ``demo``, measure its models on held-out data, and write a report.

The project trains two reward models, a cold start, and a policy by reinforcement learning in two phases: rules on
reasoning prompts, then the reward models on general prompts. The built-in data come with a programmatic gold judge. It
measures the reward models, and whether the policy became better or only raised their scores.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from align.reporting.report import before_and_after, read_run, section_of
from keel.pipeline.inputs import inputs_of
from keel.pipeline.project import load_project
from keel.pipeline.run import run as run_project
from reward_models.data.synthetic import SIZES, judged_comparisons
from reward_models.evaluation.evaluate import assess, load_evaluation
from reward_models.evaluation.report import evaluation_sections, write_evaluation
from reward_models.evaluation.scored_set import ScoredSet
from reward_models.inference.reward_model import RewardModel
from reward_models.reporting.page import Section, write_page
from reward_models.runtime.metrics import read_metrics

LEAD = (
    "Two reward models and a policy of about a million parameters each, trained from scratch on the built-in data on "
    "a CPU. The data come from templates and their labels from a simulated annotator with known noise and biases "
    "(docs/synthetic-data.md): the figures show that everything works, not how good a real model would be."
)
# Name in summary.json -> metric of the run, over sampled responses to held-out prompts. On additions: accuracy, share
# of responses in the right format, share of reasoning in the prompt's language. On others: the gold judge's figures.
OUTCOMES = {
    "accuracy": "accuracy",
    "format": "format",
    "language": "language",
    "gold_helpfulness": "gold_helpfulness",
    "unsafe_rate": "gold_unsafe",
}


def run(out: Path, seed: int = 0, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Run the project ``demo``, then evaluate, and write ``report.html`` and ``summary.json``; returns the summary.

    Stages that an earlier call has finished under ``out`` are not trained again.

    Args:
        overrides: ``key=value`` over the project, e.g. ``stages.stage2.settings.steps=60``.

    Raises:
        ConfigError: ``out`` holds a demo with another seed or other settings.
        StageFailed, Stopped: as :func:`keel.pipeline.run.run`.
    """
    console = Console(highlight=False)
    project, stages = load_project("demo", [f"output_dir={json.dumps(str(out))}", f"seed={seed}", *overrides])
    inputs = {stage.name: inputs_of(stage, stages) for stage in stages}
    seconds = run_project(project, stages, inputs, stages, console)
    sections: list[Section] = []
    console.rule("evaluation of the reward models")
    summary: dict[str, Any] = {"seed": seed}
    for model in ("helpful", "safety"):
        began = time.perf_counter()
        summary[model] = _evaluate(model, out / f"{model}_rm", sections)
        summary[model]["seconds"] = round(seconds[f"{model}_rm"] + time.perf_counter() - began, 1)
    summary |= {f"{stage}_seconds": round(seconds[stage], 1) for stage in ("cold_start", "stage2")}
    summary |= outcome(out / "stage2")
    summary["seconds"] = round(
        sum(summary[model]["seconds"] for model in ("helpful", "safety")) + seconds["cold_start"] + seconds["stage2"], 1
    )
    (out / "summary.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
    _report(out, summary, sections, console)
    return summary


def _evaluate(name: str, directory: Path, sections: list[Section]) -> dict[str, Any]:
    """The figures of a reward model on held-out data. Its part of the report is added to ``sections``."""
    model = RewardModel.load(directory)
    problems = ["synthetic:best_of_n:test"] if name == "helpful" else []
    assessment = assess(model, load_evaluation(model.task, [f"synthetic:{name}:test"], problems))
    write_evaluation(assessment, directory / "evaluation")
    sections += evaluation_sections(assessment)
    figures = {k: v for k, v in assessment.figures.items() if isinstance(v, int | float)}
    if name == "helpful":
        figures["gold_accuracy"] = gold_accuracy(assessment.parts[0])
        figures["best_of_n"] = assessment.figures["best_of_n"]
    return figures


def _report(out: Path, summary: dict[str, Any], sections: list[Section], console: Console) -> None:
    """Write ``report.html`` and print its tables."""
    policy = read_run(out / "stage2")
    figures = before_and_after([policy])
    assert figures is not None, "stage 2 evaluates before and after"
    page = write_page(
        [section_of(policy), *sections], out / "report.html", title="Keel demo", lead=LEAD, summary=figures
    )
    _print(console, "Reward models", ("model", "held-out figure", "value", "a simple rule gets"), _reward_rows(summary))
    _print(console, "The policy on held-out prompts, before and after", figures.columns, figures.rows)
    console.print(f"Report: {page}", soft_wrap=True)


def outcome(directory: Path) -> dict[str, dict[str, float]]:
    """``before`` and ``after``: the figures of ``OUTCOMES`` at a run's first and last evaluation."""
    lines = [line for line in read_metrics(directory / "metrics.jsonl") if "eval/accuracy_sampled" in line]
    return {
        when: {name: round(float(line[f"eval/{metric}_sampled"]), 4) for name, metric in OUTCOMES.items()}
        for when, line in (("before", lines[0]), ("after", lines[-1]))
    }


def _print(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(*columns, title=title, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*row)
    console.print(table)


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


def _reward_rows(summary: dict[str, Any]) -> list[tuple[str, ...]]:
    helpful, safety = summary["helpful"], summary["safety"]
    longer, tfidf = helpful["baseline_longer"], helpful["baseline_tfidf"]
    best = helpful["best_of_n"]
    return [
        (
            "helpful",
            "accuracy against the labels",
            f"{helpful['accuracy']:.1%}",
            f"{longer:.1%} (longer), {tfidf:.1%} (TF-IDF)",
        ),
        ("helpful", "best of four scores highest", f"{best['accuracy']:.1%}", f"{best['chance']:.1%} (chance)"),
        ("helpful", "accuracy against the gold judge", f"{helpful['gold_accuracy']:.1%}", "50.0% (chance)"),
        ("safety", "AUROC", f"{safety['auroc']:.3f}", f"{safety['baseline_tfidf']:.3f} (TF-IDF)"),
        (
            "safety",
            "accuracy at score 0",
            f"{safety['accuracy']:.1%}",
            f"{1 - safety['unsafe'] / safety['n']:.1%} (all safe)",
        ),
    ]
