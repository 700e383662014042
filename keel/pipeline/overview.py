"""``report.html`` of a project: its stages with their key figures, plots, and links to their files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from markupsafe import Markup

from align.reporting.report import report as alignment_report
from keel.pipeline.project import Stage
from reward_models.reporting.charts import Picture
from reward_models.reporting.page import Section, Table, embedded, write_page
from reward_models.runtime.metrics import read_metrics

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
REWARD = {"reward": "reward"}  # shown where there is no held-out data; its composition changes with the phases


def figures_of(stage: Stage) -> dict[str, str]:
    """The key figures of a stage so far, as text."""
    lines = read_metrics(stage.directory / "metrics.jsonl")
    if stage.settings.train == "rm":
        file = stage.directory / "evaluation.json"
        if not file.is_file():
            return _in_training(lines)
        evaluation = json.loads(file.read_text(encoding="utf-8"))
        return {title: f"{evaluation[key]:.3f}" for key, title in EVALUATED.items() if evaluation.get(key) is not None}
    if stage.settings.train == "sft":
        return {title: f"{lines[-1][key]:.3f}" for key, title in LEARNT.items() if lines and key in lines[-1]}
    found = {}
    held_out = any(key.startswith("eval/") for line in lines for key in line)
    for key, title in (EARNED if held_out else REWARD | EARNED).items():
        if values := [line[key] for line in lines if key in line]:
            found[title] = f"{values[0]:.3g} → {values[-1]:.3g}"
    if alarms := len(read_metrics(stage.directory / "guards.jsonl")):
        found["alarms"] = str(alarms)
    return found


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
        s.directory for s in stages if s.settings.train == "align" and read_metrics(s.directory / "metrics.jsonl")
    ]
    if aligned:
        alignment_report(aligned, root / ALIGNMENT)
    columns = ("stage", "status", "seconds", "to read", "figures")
    cells = []
    for stage, status, seconds in rows:
        figures = Markup("<br>").join(f"{title} {value}" for title, value in figures_of(stage).items())
        time = "–" if seconds is None else f"{seconds:,.0f}"
        cells.append((stage.name, status, time, _links(stage, root), figures or "–"))
    lead = "The stages in order. An arrow stands between the figure at the beginning and the figure at the end."
    live = any(status == "running" for _, status, _ in rows)
    sections = [section for stage in stages if (section := _section(stage)) is not None]
    return write_page(
        sections,
        root / "report.html",
        title=name,
        lead=f"{lead} {RELOADS}" if live else lead,
        summary=Table("", columns, cells),
        reload_seconds=RELOAD_SECONDS if live else 0,
    )


def _links(stage: Stage, root: Path) -> Markup:
    places = {"log": stage.log, "configuration": stage.file, "model card": stage.directory / "README.md"}
    if stage.settings.train == "align":
        places |= {"report": stage.directory / "report.html", "all runs": root / ALIGNMENT}
    link = Markup('<a href="{}">{}</a>')
    return Markup(", ").join(link.format(p.relative_to(root).as_posix(), n) for n, p in places.items() if p.is_file())


def _section(stage: Stage) -> Section | None:
    """The plots of a reward model."""
    plots = sorted((stage.directory / "plots").glob("*.png"))
    if not plots:
        return None
    pictures = [Picture(p.stem, p.stem.replace("_", " ").capitalize(), "", p.read_bytes()) for p in plots]
    return Section(stage.name, f"Reward model, in {stage.directory}.", [], [embedded(p) for p in pictures], [])
