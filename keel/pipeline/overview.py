"""``report.html`` of a project: its stages with their key figures, plots, and links to their files."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from markupsafe import Markup

from align.reporting.report import report as alignment_report
from align.samples.evaluation_report import told
from align.samples.selection_report import funnel_table, sets_table, subjects_table
from align.samples.yields import Yield, yield_table
from keel.pipeline.policies import comparison, evaluated, verdict
from keel.pipeline.stage import SAMPLES, Stage
from reward_models.reporting.charts import Picture
from reward_models.reporting.page import Section, Table, embedded, write_page
from reward_models.runtime.metrics import read_metrics
from reward_models.runtime.resumable import note_of

RELOAD_SECONDS = 10
RELOADS = "The page loads itself again every few seconds until the last stage has ended."
ALIGNMENT = "alignment.html"  # keel report over all runs of reinforcement learning
# Name of a figure -> its title. Of reward models from the evaluation, of fine-tuning from the last line of the log, of
# reinforcement learning from the first and the last line.
EVALUATED = {"accuracy": "accuracy", "auroc": "AUROC", "ece": "ECE"}
LEARNT = {"loss": "loss", "token_accuracy": "accuracy of tokens"}
EARNED = {
    "eval/accuracy_greedy": "held-out accuracy",
    "eval/helpful_greedy": "helpful",
    "eval/safety_greedy": "safety",
    "kl_first": "divergence from the first policy",
}
LAST_STEPS = 20
LOGS = ("metrics.jsonl", "guards.jsonl", "samples.jsonl")  # what the curves and examples of a run are made from
STAGES = "The stages in order."
POLICIES = "The policies side by side on held-out prompts; below, the stages in order."
ARROW = "An arrow stands between the figure at the beginning and the figure at the end."
REWARD = {"reward": "reward"}  # shown where there is no held-out data; its composition changes with the phases


def figures_of(stage: Stage) -> dict[str, str]:
    """The key figures of a stage so far, as text."""
    match stage.settings.program:
        case "sample":
            return _yield(stage)
        case "select":
            return _selected(stage)
        case "evaluate":
            return _evaluated(stage)
        case "rm":
            file = stage.directory / "evaluation.json"
            if not file.is_file():
                return _in_training(read_metrics(stage.directory / "metrics.jsonl"))
            return _numbers(json.loads(file.read_text(encoding="utf-8")), EVALUATED)
    lines = read_metrics(stage.directory / "metrics.jsonl")
    if stage.settings.program == "sft":
        return _numbers(lines[-1], LEARNT) if lines else {}
    found = {}
    held_out = any(key.startswith("eval/") for line in lines for key in line)
    for key, title in (EARNED if held_out else REWARD | EARNED).items():
        if values := [line[key] for line in lines if key in line]:
            found[title] = f"{values[0]:.3g} → {values[-1]:.3g}"
    if alarms := len(read_metrics(stage.directory / "guards.jsonl")):
        found["alarms"] = str(alarms)
    return found


def _numbers(figures: dict[str, Any], titles: dict[str, str]) -> dict[str, str]:
    return {title: f"{figures[key]:.3f}" for key, title in titles.items() if figures.get(key) is not None}


def _yield(stage: Stage) -> dict[str, str]:
    """The yield of a sampling so far."""
    note = note_of(stage.directory / SAMPLES)
    if not note.is_file():
        return {}
    figures = Yield(json.loads(note.read_text(encoding="utf-8"))["facts"].get("yield")).total.figures()
    found = {"samples": f"{figures['responses']:,}", "prompts": f"{figures['prompts']:,}"}
    shares = {"correct": "correct", "prompts_solved": "prompts solved", "truncated": "cut"}
    found |= {title: f"{figures[key]:.1%}" for key, title in shares.items() if figures[key] is not None}
    if figures["tokens_mean"] is not None:
        found["tokens a response"] = f"{figures['tokens_mean']:,.0f}"
    return found


def _selected(stage: Stage) -> dict[str, str]:
    """The rows that a selection keeps."""
    if not stage.finished:
        return {}
    report = json.loads(stage.end.read_text(encoding="utf-8"))
    found = {"samples kept": f"{report['kept']:,} of {report['samples']:,}"}
    found |= {f"rows of {name}": f"{each['rows']:,}" for name, each in report["subjects"].items() if each["rows"]}
    return found


def _evaluated(stage: Stage) -> dict[str, str]:
    """Right answers and scores of an evaluated policy; before its end the samples so far."""
    if not stage.finished:
        return _yield(stage)
    figures = json.loads(stage.end.read_text(encoding="utf-8"))
    names = {"pass@1": "right answers", "score/helpful": "helpful", "score/safety": "safety"}
    return {title: told(figures, name) for name, title in names.items() if figures.get(name) is not None}


def _in_training(lines: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The accuracy of a reward model over the last steps of its training so far."""
    values = [line["accuracy"] for line in lines[-LAST_STEPS:] if "accuracy" in line]
    return {"accuracy in training": f"{fmean(values):.3f}"} if values else {}


def write_overview(name: str, root: Path, rows: Sequence[tuple[Stage, str, float | None]]) -> Path:
    """Write the page, and another one about the stages of reinforcement learning, if there are any; returns the former.

    Args:
        rows: (stage, status, seconds).
    """
    stages = [stage for stage, _, _ in rows]
    aligned = [
        s.directory for s in stages if s.settings.program == "align" and read_metrics(s.directory / "metrics.jsonl")
    ]
    if aligned:
        _write_alignment(aligned, root / ALIGNMENT)
    columns = ("stage", "status", "seconds", "to read", "figures")
    cells = []
    for stage, status, seconds in rows:
        figures = Markup("<br>").join(f"{title} {value}" for title, value in figures_of(stage).items())
        time = "–" if seconds is None else f"{seconds:,.0f}"
        cells.append((stage.name, status, time, _links(stage, root), figures or "–"))
    table = Table("", columns, cells, ARROW)
    compared = evaluated(stages)
    policies = comparison(compared)
    live = any(status == "running" for _, status, _ in rows)
    sections = [section for stage in stages if (section := _section(stage)) is not None]
    if policies is not None:
        sections.insert(0, Section("Stages", "", [], [], [table]))
    lead = STAGES if policies is None else f"{verdict(compared)} {POLICIES}".strip()
    return write_page(
        sections,
        root / "report.html",
        title=name,
        lead=f"{lead} {RELOADS}" if live else lead,
        summary=table if policies is None else policies,
        reload_seconds=RELOAD_SECONDS if live else 0,
    )


def _write_alignment(runs: Sequence[Path], page: Path) -> None:
    """Draw the curves of all runs, seconds of work, unless the page is newer than what the runs have logged."""
    logged = max((run / name).stat().st_mtime for run in runs for name in LOGS if (run / name).is_file())
    if page.is_file() and page.stat().st_mtime > logged:
        return
    began = time.time()
    alignment_report(runs, page)
    os.utime(page, (began, began))  # what was logged while it was drawn is newer


def _links(stage: Stage, root: Path) -> Markup:
    places = {"report": stage.directory / "report.html", "log": stage.log, "configuration": stage.file}
    places["model card"] = stage.directory / "README.md"
    if stage.settings.program == "align":
        places["all runs"] = root / ALIGNMENT
    link = Markup('<a href="{}">{}</a>')
    return Markup(", ").join(link.format(p.relative_to(root).as_posix(), n) for n, p in places.items() if p.is_file())


def _section(stage: Stage) -> Section | None:
    """The plots of a reward model, the yield of a sampling, the data of a selection."""
    if stage.settings.program in ("sample", "select"):
        return _data_section(stage)
    plots = sorted((stage.directory / "plots").glob("*.png"))
    if not plots:
        return None
    pictures = [Picture(p.stem, p.stem.replace("_", " ").capitalize(), "", p.read_bytes()) for p in plots]
    return Section(stage.name, f"Reward model, in {stage.directory}.", [], [embedded(p) for p in pictures], [])


def _data_section(stage: Stage) -> Section | None:
    if not stage.finished:
        return None
    facts = json.loads(stage.end.read_text(encoding="utf-8"))
    if stage.settings.program == "sample":
        return Section(stage.name, f"Samples, in {stage.directory}.", [], [], [yield_table(facts["yield"])])
    tables = [funnel_table(facts), subjects_table(facts)]
    if (sets := facts.get("sets", facts.get("arms"))) is not None:  # arms: the name that earlier versions wrote
        tables.append(sets_table({"sets": sets}))
    return Section(stage.name, f"Samples selected to learn from, in {stage.directory}.", [], [], tables)
