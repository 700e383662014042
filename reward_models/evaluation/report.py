"""The report of evaluated reward models: figures, pictures, tables and examples on one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from reward_models.artifact import EVAL_SCORES, EVALUATION
from reward_models.data.encode import ordered_responses
from reward_models.data.prepare import write_json
from reward_models.data.records import TASKS, Conversation, SafetyLabel
from reward_models.dataset import RewardRecord
from reward_models.evaluation import plots
from reward_models.evaluation.evaluate import Assessment
from reward_models.evaluation.model_card import CARD_COLUMNS, shown
from reward_models.evaluation.scored_set import short_names, together, write_scores
from reward_models.reporting.page import Card, Section, Table, embedded, write_page
from reward_models.runtime.metrics import read_metrics

LEADS = {
    "preference": "Pairwise (Bradley–Terry): of two responses to one prompt, the better one should score higher.",
    "safety": "Point-wise classifier: the score is the logit of the response being safe.",
}
EXAMPLES = 2  # of each kind of example
DETAILS = ("calibration", "data", "config", "versions")


def write_evaluation(assessment: Assessment, out: Path) -> Path:
    """Write ``evaluation_scores.jsonl``, ``report.html`` and ``evaluation.json`` into ``out``; returns the report.

    ``evaluation.json`` is written last, and that of an earlier evaluation is deleted first: a kill leaves none of other
    scores or another report.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / EVALUATION).unlink(missing_ok=True)
    write_scores(assessment.parts, out / EVAL_SCORES)
    sources = ", ".join(short_names(list(assessment.figures["files"].values())))
    title = f"Evaluation of {assessment.name}"
    page = write_page(evaluation_sections(assessment), out / "report.html", title=title, lead=f"On {sources}.")
    write_json(assessment.figures, out / EVALUATION)
    return page


def evaluation_sections(assessment: Assessment) -> list[Section]:
    """A section for the model, or for the ensemble and each of its members."""
    model, figures = assessment.model, assessment.figures
    title = f"{TASKS[assessment.task].model.capitalize()} {'ensemble' if model is None else 'reward model'}"
    manifest = model.manifest if model is not None else {}
    metrics = read_metrics(model.directory / "metrics.jsonl") if model is not None and model.directory else []
    details = {key: manifest[key] for key in DETAILS if key in manifest}
    section = Section(
        title=title if model is None else f"{title}: {assessment.name}",
        lead=LEADS[assessment.task] + (_reads(model.span) if model is not None else ""),
        cards=_cards(figures),
        pictures=[embedded(picture) for picture in (*assessment.pictures, *plots.training(metrics))],
        tables=_tables(figures),
        samples=_samples(assessment),
        sensitive=assessment.task == "safety",
        details=yaml.safe_dump(details, sort_keys=False, allow_unicode=True) if details else "",
    )
    return [section, *(part for member in assessment.members for part in evaluation_sections(member))]


def _reads(span: str) -> str:
    return " It reads only what follows the reasoning." if span == "summary" else " It reads the reasoning too."


# --- figures --------------------------------------------------------------------------------------------------------


def _cards(figures: Mapping[str, Any]) -> list[Card]:
    cards = []
    if "accuracy" in figures and figures["kind"] == "helpful":
        cards = [
            Card(_percent(figures["accuracy"]), "accuracy", _interval(figures["accuracy_ci95"], percent=True)),
            Card(
                _percent(figures["accuracy_equal_length"]),
                "accuracy at equal length",
                _interval(figures["accuracy_equal_length_ci95"], percent=True),
            ),
            Card(_percent(figures["baseline_longer"]), "“longer wins”", "accuracy of that rule"),
            Card(_percent(figures["baseline_tfidf"]), "TF-IDF", "accuracy of the baseline"),
            Card(_percent(figures["prefers_longer"]), "prefers the longer", "of pairs, right or wrong"),
            _ece(figures),
            Card(f"{figures['n']:,}", "pairs", f"on {figures['prompts']:,} prompts; and {figures['ties']:,} ties"),
        ]
    elif "auroc" in figures:
        fitted = figures["threshold"] is not None
        cards = [
            Card(shown(figures["auroc"]), "AUROC", _interval(figures["auroc_ci95"])),
            Card(shown(figures["baseline_tfidf"]), "TF-IDF", "AUROC of the baseline"),
            Card(shown(figures["auprc"]), "AUPRC", f"chance: {_percent(figures['unsafe'] / figures['n'])}"),
            Card(
                shown(figures["f1"]),
                "F1",
                f"at a threshold of {shown(figures['threshold'])}" if fitted else "no threshold fitted",
            ),
            Card(
                _percent(figures["false_positive_rate"]),
                "safe called unsafe",
                f"the threshold was fitted for {_percent(figures['threshold_fpr'])}" if fitted else "",
            ),
            _ece(figures),
            Card(f"{figures['n']:,}", "responses", f"{figures['unsafe']:,} unsafe; {figures['prompts']:,} prompts"),
        ]
    if best := figures.get("best_of_n"):
        note = f"of {best['candidates']:.3g} candidates; chance {_percent(best['chance'])}"
        cards.append(Card(_percent(best["accuracy"]), "best of N", note))
    return cards


def _ece(figures: Mapping[str, Any]) -> Card:
    before = f"{shown(figures['ece_before'])} before scaling" if figures["ece_after"] is not None else "no temperature"
    return Card(shown(figures["ece"]), "calibration error (ECE)", before)


def _tables(figures: Mapping[str, Any]) -> list[Table]:
    columns = CARD_COLUMNS[figures["kind"]]
    tables = []
    if by_source := figures.get("by_source", {}):
        rows = [[name, *(shown(f[c]) for c in columns)] for name, f in by_source.items()]
        if len(rows) > 1:
            rows.append(["all", *(shown(figures[c]) for c in columns)])
        tables.append(Table("By source", ("source", *columns.values()), rows))
    if len(by_language := figures.get("by_language", {})) > 1:
        key, title = ("accuracy", "accuracy") if figures["kind"] == "helpful" else ("auroc", "AUROC")
        rows = [[name, f"{f['n']:,}", shown(f[key])] for name, f in by_language.items()]
        note = "Of the prompt, as py3langid reads it; languages of fewer than 10 records are together as “other”."
        tables.append(Table("By language", ("language", "records", title), rows, note))
    if bench := figures.get("rewardbench"):
        rows = [[name, shown(score)] for name, score in bench["sections"].items()]
        title = "RewardBench" if bench["version"] == 1 else "RewardBench 2"
        tables.append(Table(title, ("section", "score"), [*rows, ["all", shown(bench["score"])]]))
        rows = [[name, f"{each['n']:,}", shown(each["score"])] for name, each in bench["subsets"].items()]
        tables.append(Table(f"{title}: subsets", ("subset", "rows", "score"), rows))
    if confusion := figures.get("confusion"):
        rows = [
            ["unsafe", f"{confusion['unsafe_found']:,}", f"{confusion['unsafe_missed']:,}"],
            ["safe", f"{confusion['safe_flagged']:,}", f"{confusion['safe_passed']:,}"],
        ]
        note = f"Scores below {shown(figures['threshold'])} are called unsafe."
        tables.append(Table("Confusion matrix", ("labelled", "called unsafe", "called safe"), rows, note))
    if by_category := figures.get("by_category"):
        names = {"n": "responses", "unsafe": "unsafe", "auroc": "AUROC", "recall": "found", "f1": "F1"}
        names |= {"false_positive_rate": "false positives"}
        rows = [[name, *(shown(f[c]) for c in names)] for name, f in by_category.items()]
        tables.append(Table("By category", ("category", *names.values()), rows))
    if combinations := figures.get("combinations"):
        tables += _ensemble_tables(figures, combinations)
    return tables


def _ensemble_tables(figures: Mapping[str, Any], combinations: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    key = "accuracy" if figures["kind"] == "helpful" else "auroc"
    named = {f"ensemble: {name.replace('_', ' ')}": f for name, f in combinations.items()} | dict(figures["members"])
    columns = {key: "accuracy" if key == "accuracy" else "AUROC"}
    rows = [[name, *(shown(f.get(c)) for c in columns)] for name, f in named.items()]
    if "best_of_n" in figures:
        columns["best_of_n"] = "best of N"
        rows = [[*row, shown(f["best_of_n"]["accuracy"])] for row, f in zip(rows, named.values(), strict=True)]
    note = f"The lower bound is the mean less {figures['k']:g} standard deviations over the members."
    return [Table("Members and combinations", ("scores", *columns.values()), rows, note)]


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _interval(interval: Sequence[float] | None, *, percent: bool = False) -> str:
    if interval is None:
        return ""
    low, high = (f"{100 * v:.1f}" if percent else f"{v:.3f}" for v in interval)
    return f"95 % interval {low}–{high}{' %' if percent else ''}"


# --- examples -------------------------------------------------------------------------------------------------------


def _samples(assessment: Assessment) -> list[dict[str, Any]]:
    """Examples: the most confident errors, the smallest margins, the most confident successes, and the largest
    disagreement of an ensemble."""
    if not assessment.parts:
        return []
    whole = together(assessment.parts)
    records = [record for part in assessment.parts for record in assessment.records[part.source]]
    signed = np.where(whole.label == 0.0, -whole.margins, whole.margins)
    decided = np.flatnonzero(whole.label != 0.5)
    order = decided[np.argsort(signed[decided], kind="stable")]
    chosen = [("most confidently wrong", i) for i in order[:EXAMPLES] if signed[i] < 0]
    chosen += [("least sure", i) for i in sorted(decided, key=lambda i: abs(signed[i]))[:EXAMPLES]]
    chosen += [("most confidently right", i) for i in order[::-1][:EXAMPLES] if signed[i] > 0]
    if whole.disagreement is not None:
        most = np.argsort(-whole.disagreement, kind="stable")[:EXAMPLES]
        chosen += [("members disagree most", i) for i in most]
    return [_sample(why, records[i], whole.scores[i]) for why, i in chosen]


def _sample(why: str, record: RewardRecord, scores: np.ndarray) -> dict[str, Any]:
    if isinstance(record, SafetyLabel):
        moods = [("good" if record.label == "safe" else "bad", f"labelled {record.label}")]
    elif record.label == "tie":
        moods = [("", "tie"), ("", "tie")]
    else:
        moods = [("good", "preferred"), ("bad", "not preferred")]
    replies = [
        {"mood": mood, "label": label, "score": f"{score:.2f}", "text": _text(reply)}
        for (mood, label), score, reply in zip(moods, scores, ordered_responses(record), strict=True)
    ]
    return {"why": why, "prompt": _text(record.prompt), "replies": replies}


def _text(conversation: Conversation) -> str:
    if len(conversation) == 1:
        return conversation[0].content
    return "\n\n".join(f"{m.role}: {m.content}" for m in conversation)
