"""One self-contained HTML page about trained reward models: figures first, then pictures, then examples to read."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from jinja2 import Environment, PackageLoader

from reward_models.artifact import EVAL_SCORES, MANIFEST
from reward_models.data.records import Comparison, Conversation, SafetyLabel
from reward_models.data.sources import SourceError, load

CAPTIONS = {
    "training": (
        "Training",
        "Loss and accuracy of each step (thin) and their running mean; both should flatten, not jump.",
    ),
    "margins": (
        "Margins on held-out pairs",
        "How far the chosen response is above the rejected one; left of zero is wrong.",
    ),
    "safety": ("Held-out responses", "The two groups should stand apart; the curve should hug the upper left corner."),
}
LEADS = {
    "helpful": "Pairwise (Bradley–Terry): of two responses to one prompt, the better one should score higher.",
    "safety": "Point-wise classifier: the score is the logit of the response being safe.",
}
EXAMPLES = 3  # of each sort


def write_report(
    runs: Sequence[Path],
    out: Path,
    *,
    title: str,
    lead: str,
    columns: Sequence[str] = (),
    rows: Sequence[Sequence[str]] = (),
) -> Path:
    """Write the page about finished runs; ``columns`` and ``rows`` are a summary table at its top."""
    environment = Environment(
        loader=PackageLoader("reward_models"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("report.html").render(
        title=title, lead=lead, columns=columns, rows=rows, runs=[_section(run) for run in runs]
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
    return out


def _section(run: Path) -> dict[str, Any]:
    manifest = json.loads((run / MANIFEST).read_text(encoding="utf-8"))
    evaluation, kind = manifest["evaluation"], manifest["kind"]
    pictures = []
    for name, (heading, caption) in CAPTIONS.items():
        file = run / "plots" / f"{name}.png"
        if file.is_file():
            data = base64.b64encode(file.read_bytes()).decode()
            pictures.append({"title": heading, "caption": caption, "data": data})
    shown = {k: manifest[k] for k in ("data", "calibration", "versions", "config")}
    return {
        "title": f"{kind.capitalize()} reward model",
        "lead": LEADS[kind],
        "cards": _cards(evaluation, manifest),
        "pictures": pictures,
        "table": _table(evaluation),
        "samples": _samples(run, manifest),
        "details": yaml.safe_dump(shown, sort_keys=False, allow_unicode=True),
    }


def _cards(evaluation: dict[str, Any], manifest: dict[str, Any]) -> list[dict[str, str]]:
    if not evaluation:
        return []
    if evaluation["kind"] == "helpful":
        low, high = evaluation["accuracy_ci95"]
        cards = [
            ("held-out accuracy", f"{evaluation['accuracy']:.1%}"),
            ("95 % interval", f"{low:.1%} – {high:.1%}"),
            ("“longer wins” gets", f"{evaluation['baseline_longer']:.1%}"),
            ("held-out pairs", f"{evaluation['n']:,}"),
        ]
    else:
        cards = [
            ("AUROC", f"{evaluation['auroc']:.3f}"),
            ("average precision", f"{evaluation['auprc']:.3f}"),
            ("accuracy at score 0", f"{evaluation['accuracy']:.1%}"),
            ("held-out responses", f"{evaluation['n']:,}"),
        ]
    saved = 1 - manifest["data"]["tokens_with_shared_prompts"] / manifest["data"]["tokens"]
    cards.append(("tokens saved by sharing prompts", f"{saved:.0%}"))
    return [{"name": name, "value": value} for name, value in cards]


def _table(evaluation: dict[str, Any]) -> dict[str, Any]:
    by_source = evaluation.get("by_source", {})
    columns = [c for c in ("n", "accuracy", "baseline_longer", "auroc", "auprc", "loss") if c in evaluation]
    names = {"baseline_longer": "longer wins", "auroc": "AUROC", "auprc": "average precision"}
    rows = []
    for name, figures in by_source.items():
        values = [figures.get(c) for c in columns]
        rows.append([name, *("–" if v is None else f"{v:,}" if isinstance(v, int) else f"{v:.3f}" for v in values)])
    return {"columns": ["source", *(names.get(c, c) for c in columns)], "rows": rows}


def _samples(run: Path, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The clearest mistakes, the closest calls, the clearest successes; their texts are read again from the source."""
    lines = [json.loads(line) for line in (run / EVAL_SCORES).read_text(encoding="utf-8").splitlines()]
    records = _evaluation_records(lines, manifest)
    scored = [(_margin(line, manifest["kind"]), line, record) for line, record in zip(lines, records, strict=False)]
    decided = sorted(((m, line, r) for m, line, r in scored if m is not None), key=lambda s: s[0])
    middle = sorted(decided, key=lambda s: abs(s[0]))[:EXAMPLES]
    chosen = [("most confidently wrong", s) for s in decided[:EXAMPLES] if s[0] < 0]
    chosen += [("least sure", s) for s in middle] + [
        ("most confidently right", s) for s in decided[: -EXAMPLES - 1 : -1]
    ]
    return [_sample(why, line, record) for why, (_, line, record) in chosen]


def _evaluation_records(lines: list[dict[str, Any]], manifest: dict[str, Any]) -> list[Comparison | SafetyLabel]:
    kind: Literal["comparison", "safety"] = "comparison" if manifest["kind"] == "helpful" else "safety"
    config = manifest["config"]["data"]
    records: list[Any] = []
    for source in dict.fromkeys(line["source"] for line in lines):
        try:
            records += load([source], kind, max_bad=config["max_bad"], columns=config["columns"] or None).records
        except SourceError:  # held-out training rows, or data that have moved: figures without texts
            return []
    return records


def _margin(line: dict[str, Any], kind: str) -> float | None:
    if kind == "safety":
        return line["scores"][0] if line["label"] == 1.0 else -line["scores"][0]
    return line["scores"][0] - line["scores"][1] if line["label"] == 1.0 else None


def _sample(why: str, line: dict[str, Any], record: Comparison | SafetyLabel) -> dict[str, Any]:
    if isinstance(record, SafetyLabel):
        moods = [("good" if record.label == "safe" else "bad", f"labelled {record.label}", record.response)]
    else:
        chosen, rejected = record.response_a, record.response_b
        if record.label == "b":
            chosen, rejected = rejected, chosen
        moods = [("good", "preferred", chosen), ("bad", "not preferred", rejected)]
    replies = [
        {"mood": mood, "label": label, "score": f"{score:.2f}", "text": _text(reply)}
        for (mood, label, reply), score in zip(moods, line["scores"], strict=True)
    ]
    return {"why": why, "prompt": _text(record.prompt), "replies": replies}


def _text(conversation: Conversation) -> str:
    if len(conversation) == 1:
        return conversation[0].content
    return "\n\n".join(f"{m.role}: {m.content}" for m in conversation)
