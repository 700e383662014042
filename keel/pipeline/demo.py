"""``keel demo``: run the project ``demo``, measure its models on held-out data, and write a report, which grows.

The project trains two reward models, a cold start, and a policy by reinforcement learning in two phases: rules on
reasoning prompts, then the reward models on general prompts. The built-in data come with a programmatic gold judge. It
measures the reward models, and whether the policy became better or only raised their scores.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from markupsafe import Markup
from rich import box
from rich import table as rich_table
from rich.console import Console

from align.reporting.report import before_and_after, section_of
from align.reporting.runs import read_run
from keel.pipeline.inputs import inputs_of
from keel.pipeline.overview import RELOAD_SECONDS, RELOADS, figures_of
from keel.pipeline.progress import Outcome, duration
from keel.pipeline.project import load_project
from keel.pipeline.run import run as run_project
from keel.pipeline.stage import Stage
from reward_models.data.synthetic.draws import SIZES, judged_comparisons
from reward_models.evaluation.evaluate import assess, load_evaluation
from reward_models.evaluation.plots import training
from reward_models.evaluation.report import evaluation_sections, write_evaluation
from reward_models.evaluation.scored_set import ScoredSet
from reward_models.inference.reward_model import RewardModel
from reward_models.reporting.page import Section, Table, embedded, write_page
from reward_models.runtime.metrics import read_metrics

LEAD = (
    "Two reward models and a policy of about a million parameters each, trained from scratch on the built-in data on "
    "a CPU. The data come from templates and their labels from a simulated annotator with known noise and biases "
    "(docs/synthetic-data.md): the figures show that everything works, not how good a real model would be."
)
MODELS = ("helpful", "safety")
MAKES = {
    "cold_start": "a policy that imitates demonstrations",
    "helpful_rm": "a model of which response is better",
    "safety_rm": "a model of which response is safe",
    "stage2": "the aligned policy, by reinforcement learning",
}
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
    """Run the project ``demo``, and write ``report.html`` and ``summary.json``; returns the summary.

    Stages that an earlier call has finished under ``out`` are not trained again.

    Args:
        overrides: ``key=value`` over the project, e.g. ``stages.stage2.settings.steps=60``.

    Raises:
        ConfigError: ``out`` holds a demo with another seed or other settings.
        StageFailed, Stopped: as :func:`keel.pipeline.run.run`.
    """
    began = time.perf_counter()
    console = Console(highlight=False)
    project, stages = load_project("demo", [f"output_dir={json.dumps(str(out))}", f"seed={seed}", *overrides])
    inputs = {stage.name: inputs_of(stage, stages) for stage in stages}
    report = Report(out)
    seconds = run_project(project, stages, inputs, stages, console, report.write)
    summary: dict[str, Any] = {"seed": seed}
    for model in MODELS:
        assessed = report.assessed[f"{model}_rm"]
        summary[model] = assessed.figures | {"seconds": round(seconds[f"{model}_rm"] + assessed.seconds, 1)}
    summary |= {f"{stage}_seconds": round(seconds[stage], 1) for stage in ("cold_start", "stage2")}
    summary |= outcome(out / "stage2")
    summary["seconds"] = round(time.perf_counter() - began, 1)
    (out / "summary.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
    figures = before_and_after([read_run(out / "stage2")])
    assert figures is not None, "stage 2 evaluates before and after"
    _print(console, "Reward models", ("model", "held-out figure", "value", "a simple rule gets"), _reward_rows(summary))
    _print(console, "The policy on held-out prompts, before and after", figures.columns, figures.rows)
    console.print(f"Report: {out / 'report.html'}", soft_wrap=True)
    return summary


@dataclass(frozen=True, slots=True)
class Assessed:
    """The evaluation of a reward model on held-out data.

    Attributes:
        figures: for ``summary.json``. ``sections``: its part of the report. ``seconds``: what the evaluation took.
    """

    figures: dict[str, Any]
    sections: list[Section]
    seconds: float


class Report:
    """``report.html`` of the demo: the stages, and of each what there is so far. It grows while the demo runs."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self.assessed: dict[str, Assessed] = {}

    def write(self, outcomes: Sequence[Outcome]) -> Path:
        """Write the page. A reward model is evaluated on held-out data the first time that its stage has ended."""
        stages = {each.stage.name: each.stage for each in outcomes}
        for name, model in ((f"{model}_rm", model) for model in MODELS):
            if name not in self.assessed and stages[name].finished:
                self.assessed[name] = _assess(model, stages[name].directory)
        live = any(each.status == "running" for each in outcomes)
        policy = read_run(self._out / "stage2") if _lines(stages["stage2"]) else None
        figures = before_and_after([policy]) if policy is not None else None
        sections = [section_of(policy)] if policy is not None else []
        for name in (f"{model}_rm" for model in MODELS):
            sections += self.assessed[name].sections if name in self.assessed else _training(stages[name])
        sections += _training(stages["cold_start"])
        table = _stage_table(outcomes)
        if figures is not None:
            sections.append(Section("Stages", "", [], [], [table]))
        return write_page(
            sections,
            self._out / "report.html",
            title="Keel demo",
            lead=f"{LEAD} {RELOADS}" if live else LEAD,
            summary=figures if figures is not None else table,
            reload_seconds=RELOAD_SECONDS if live else 0,
        )


def _assess(name: str, directory: Path) -> Assessed:
    """Evaluate a reward model on held-out data, and write its evaluation beside it."""
    began = time.perf_counter()
    model = RewardModel.load(directory)
    problems = ["synthetic:best_of_n:test"] if name == "helpful" else []
    assessment = assess(model, load_evaluation(model.task, [f"synthetic:{name}:test"], problems))
    write_evaluation(assessment, directory / "evaluation")
    figures = {k: v for k, v in assessment.figures.items() if isinstance(v, int | float)}
    if name == "helpful":
        figures["gold_accuracy"] = gold_accuracy(assessment.parts[0])
        figures["best_of_n"] = assessment.figures["best_of_n"]
    return Assessed(figures, evaluation_sections(assessment), time.perf_counter() - began)


def _lines(stage: Stage) -> list[dict[str, Any]]:
    return read_metrics(stage.directory / "metrics.jsonl")


def _training(stage: Stage) -> list[Section]:
    """The curves of a stage's training so far; nothing before its first step."""
    lines = [line | {"accuracy": line[key]} for line in _lines(stage) if (key := _accuracy(line))]
    pictures = [embedded(picture) for picture in training(lines)]
    return [Section(stage.name, MAKES[stage.name], [], pictures, [])] if pictures else []


def _accuracy(line: Mapping[str, Any]) -> str | None:
    """The name under which a line of the log has an accuracy: of the pairs or labels, or of the tokens."""
    return next((key for key in ("accuracy", "token_accuracy") if key in line), None)


def _stage_table(outcomes: Sequence[Outcome]) -> Table:
    rows = []
    for each in outcomes:
        figures = Markup("<br>").join(f"{title} {value}" for title, value in figures_of(each.stage).items())
        time = duration(each.seconds_so_far)
        rows.append((each.stage.name, MAKES.get(each.stage.name, ""), each.status, time, figures or "–"))
    return Table("", ("stage", "what it makes", "status", "time", "figures so far"), rows)


def outcome(directory: Path) -> dict[str, dict[str, float]]:
    """``before`` and ``after``: the figures of ``OUTCOMES`` at a run's first and last evaluation."""
    lines = [line for line in read_metrics(directory / "metrics.jsonl") if "eval/accuracy_sampled" in line]
    return {
        when: {name: round(float(line[f"eval/{metric}_sampled"]), 4) for name, metric in OUTCOMES.items()}
        for when, line in (("before", lines[0]), ("after", lines[-1]))
    }


def _print(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = rich_table.Table(*columns, title=title, box=box.SIMPLE_HEAD)
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
