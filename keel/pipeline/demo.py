"""``keel demo``: the whole way on built-in data, from preferences to an aligned policy, with a table and a report.

Both reward models, a cold start, then reinforcement learning in two phases: rules on reasoning prompts, and at the end
the reward models on general ones. The built-in data come with a programmatic gold judge, so that what the reward models
are worth, and whether the policy became better or only pleased them, is known.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from align import trainer as rl
from align.config import AlignConfig
from align.reporting.report import before_and_after, read_run, section_of
from align.sft import trainer as sft
from align.sft.trainer import SftConfig
from reward_models import trainer as rm
from reward_models.config import RewardModelConfig
from reward_models.data.synthetic import SIZES, judged_comparisons
from reward_models.evaluation.evaluate import assess, load_evaluation
from reward_models.evaluation.report import evaluation_sections, write_evaluation
from reward_models.evaluation.scored_set import ScoredSet
from reward_models.inference.reward_model import RewardModel
from reward_models.reporting.page import Section, write_page
from reward_models.runtime.config import load_config
from reward_models.runtime.metrics import read_metrics

LEAD = (
    "Two reward models and a policy of about a million parameters each, trained from scratch on the built-in data on "
    "a CPU. The data come from templates and their labels from a simulated annotator with known noise and biases "
    "(docs/synthetic-data.md): the figures show that everything works, not how good a real model would be."
)
# In summary.json, of sampled responses to held-out prompts: accuracy on additions, the share of them with thoughts and
# then a tagged answer, of thoughts in the prompt's language; and what the gold judge says of the others.
OUTCOMES = {
    "accuracy": "accuracy",
    "format": "format",
    "language": "language",
    "gold_helpfulness": "gold_helpfulness",
    "unsafe_rate": "gold_unsafe",
}


def run(out: Path, seed: int = 0) -> dict[str, Any]:
    """Train, evaluate, and write ``report.html`` and ``summary.json`` under ``out``; returns the summary."""
    console = Console(highlight=False)
    began = time.perf_counter()
    summary: dict[str, Any] = {"seed": seed}
    sections: list[Section] = []
    helpful, safety, cold_start, stage2 = (out / n for n in ("helpful_rm", "safety_rm", "cold_start", "stage2"))
    for name, directory in (("helpful", helpful), ("safety", safety)):
        console.rule(f"reward model: {name}")
        summary[name], seconds = _timed(partial(_reward_model, name, directory, seed, sections))
        summary[name]["seconds"] = seconds
    console.rule("cold start: a policy learns from demonstrations")
    learning = load_config(SftConfig, "sft_demo", _words(cold_start, seed))
    _, summary["cold_start_seconds"] = _timed(lambda: _finished(sft.train(learning)))
    console.rule("stage 2: reinforcement learning in two phases")
    terms = [each.term for each in load_config(AlignConfig, "demo_cpu").rewards]
    models = {"helpful": helpful, "safety": safety}
    where = [f"rewards.{terms.index(name)}.arguments.model={directory}" for name, directory in models.items()]
    config = [*_words(stage2, seed), f"model.path={cold_start}", *where]
    aligning = load_config(AlignConfig, "demo_cpu", config)
    _, summary["stage2_seconds"] = _timed(lambda: _finished(rl.train(aligning)))
    summary |= outcome(stage2) | {"seconds": round(time.perf_counter() - began, 1)}
    (out / "summary.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
    policy = read_run(stage2)
    sections.insert(0, section_of(policy))
    figures = before_and_after([policy])
    assert figures is not None
    report = write_page(sections, out / "report.html", title="Keel demo", lead=LEAD, summary=figures)
    _print(console, "Reward models", ("model", "held-out figure", "value", "a simple rule gets"), _reward_rows(summary))
    _print(console, "The policy on held-out prompts, before and after", figures.columns, figures.rows)
    console.print(f"Report: {report}", soft_wrap=True)
    return summary


def _reward_model(name: str, directory: Path, seed: int, sections: list[Section]) -> dict[str, Any]:
    """Train and evaluate one; its figures. Its part of the report is added to ``sections``."""
    _finished(rm.train(load_config(RewardModelConfig, f"{name}_demo", _words(directory, seed))))
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


def outcome(directory: Path) -> dict[str, dict[str, float]]:
    """``before`` and ``after``: the figures of ``OUTCOMES`` at a run's first and last evaluation."""
    lines = [line for line in read_metrics(directory / "metrics.jsonl") if "eval/accuracy_sampled" in line]
    return {
        when: {name: round(float(line[f"eval/{metric}_sampled"]), 4) for name, metric in OUTCOMES.items()}
        for when, line in (("before", lines[0]), ("after", lines[-1]))
    }


def _words(directory: Path, seed: int) -> list[str]:
    return [f"output_dir={directory}", f"seed={seed}", "overwrite=true"]


def _finished(result: Path | None) -> Path:
    if result is None:
        raise SystemExit("stopped; nothing to report yet")
    return result


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    result = work()
    return result, round(time.perf_counter() - began, 1)


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
