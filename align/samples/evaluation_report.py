"""``evaluation.json`` and ``report.html`` of a policy's samples."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from align.samples.evaluation import Group
from reward_models.data.prepare import write_json
from reward_models.reporting.page import Card, Section, Table, write_page

EVALUATION, PAGE = "evaluation.json", "report.html"
SHOWN = 1500  # characters of a text
EXAMPLES = 6
NOTE = (
    "Means over prompts, with 95 % intervals by a bootstrap over prompts. pass@k: the chance that one of k responses "
    "is right. consensus@k: the chance that the answer of most of k responses is right. score/NAME: that reward term. "
    "tokens_mean: tokens of a response. truncated: share of responses cut at the limit. judged: prompts all "
    "of whose responses a verifier judged; unjudged: only some. voting: prompts whose answers could be compared."
)
DIFFERENCE = "The figure of this policy minus that of the other, on the {:,} prompts that both answered."
PLAIN = ("tokens_mean", "truncated", "prompts", "samples", "judged", "unjudged", "voting")


def files_of(out: Path) -> tuple[Path, Path]:
    """The files of an evaluation in ``out``."""
    return out / EVALUATION, out / PAGE


def write_policy_evaluation(figures: dict[str, Any], groups: Sequence[Group], out: Path) -> Path:
    """Write both files, ``evaluation.json`` last; returns the page."""
    out.mkdir(parents=True, exist_ok=True)
    parts = {"all": figures} | {f"domain {k}": v for k, v in figures["by_domain"].items()}
    if len(figures["by_source"]) > 1:
        parts |= {f"source {k}": v for k, v in figures["by_source"].items()}
    names = [name for name in figures if name.partition("@")[0] in ("pass", "consensus") or name.startswith("score/")]
    names = [name for name in names if not name.endswith("_ci95")]
    rows = [(name, *(told(part, name) for part in parts.values())) for name in names]
    rows += [(name, *(_plain(part.get(name)) for part in parts.values())) for name in PLAIN]
    table = Table("Figures", ("", *parts), rows, NOTE)
    tables = [table]
    if (gap := figures.get("difference")) is not None:
        cells = [(name, told(gap, name)) for name in gap if name != "prompts" and not name.endswith("_ci95")]
        tables.append(
            Table("Difference from the other policy", ("", "difference"), cells, DIFFERENCE.format(gap["prompts"]))
        )
    cards = [Card(_plain(figures[name]), name) for name in names[:1] if figures.get(name) is not None]
    section = Section("Policy", "", cards, [], tables, samples=_examples(groups), sensitive=True)
    page = write_page([section], out / PAGE, title="Evaluation of a policy", lead=f"In {out}.")
    write_json(figures, out / EVALUATION)  # the last file: with it the evaluation is finished
    return page


def print_figures(figures: dict[str, Any], samples: str) -> None:
    """Print the figures that have an interval, and the place of the report beside the samples."""
    for name in figures:
        if f"{name}_ci95" in figures and figures[name] is not None:
            print(f"{name}: {told(figures, name)}")
    if (gap := figures.get("difference")) is not None:
        print(f"difference from --against, on the {gap['prompts']:,} prompts of both:")
        for name in gap:
            if f"{name}_ci95" in gap:
                print(f"  {name}: {told(gap, name)}")
    if figures["unjudged"]:
        left_out = f"{figures['unjudged']:,} prompts were left out: a verifier could not judge all responses"
        print(left_out, file=sys.stderr)
    print(f"Report: {Path(samples).parent / PAGE}", flush=True)


def told(figures: dict[str, Any], name: str) -> str:
    """A figure with its interval."""
    value, bounds = figures.get(name), figures.get(f"{name}_ci95")
    if value is None:
        return "–"
    return f"{value:.3f}" + (f" [{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds else "")


def _plain(value: float | int | None) -> str:
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:,.3f}"


def _examples(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """The first response to some prompts, spread evenly."""
    step = max(1, len(groups) // EXAMPLES)
    return [
        {
            "why": f"{group[0].record.domain}, {group[0].record.source}",
            "prompt": group[0].record.prompt[-1].content[:SHOWN],
            "replies": [
                {
                    "mood": {1.0: "good", 0.0: "bad"}.get(group[0].correct if group[0].correct is not None else -1, ""),
                    "label": f"{group[0].tokens} tokens; reference {str(group[0].record.answer)[:80]}",
                    "score": "–" if group[0].reward is None else f"{group[0].reward:.2f}",
                    "text": group[0].response[:SHOWN],
                }
            ],
        }
        for group in groups[::step][:EXAMPLES]
    ]
