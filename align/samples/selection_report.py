"""Files of a selection: the rows to learn from, a random baseline, and a report of every sample."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from align.samples.mixing import R1_DATA, SUBJECTS
from align.samples.rows import SampleRow
from align.samples.selection import Chosen, SelectConfig, Selection
from reward_models.data.prepare import write_json, write_jsonl
from reward_models.reporting.page import Card, Section, Table, write_page

TRAIN, RANDOM, REPORT, PAGE = "train.jsonl", "random.jsonl", "report.json", "report.html"
SHOWN = 1500  # characters of a text in the report


def write_selection(
    config: SelectConfig, selection: Selection, judge: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Write ``train.jsonl``, ``random.jsonl``, ``report.html``, and at last ``report.json``, which is returned.

    Args:
        judge: the numbers of samples that a judge was asked about, by its verdict.
    """
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    facts = facts_of(config, selection) | ({"judge": dict(judge)} if judge and judge["asked"] else {})
    write_jsonl(map(_row, selection.kept), out / TRAIN)
    write_jsonl(map(_row, selection.random), out / RANDOM)
    _write_page(config, selection, facts, out / PAGE)
    write_json(facts, out / REPORT)
    return facts


def _row(chosen: Chosen) -> dict[str, Any]:
    """A row that ``keel train sft`` reads."""
    row: dict[str, Any] = {"id": chosen.key, "messages": [m.to_dict() for m in chosen.conversation]}
    if chosen.row is not None:
        row |= {"sample": chosen.row.number, "correct": chosen.row.correct, "tokens": chosen.tokens}
    return row | {"subject": chosen.subject, "source": chosen.source}


def facts_of(config: SelectConfig, selection: Selection) -> dict[str, Any]:
    """The report as JSON."""
    by_domain: dict[str, list[str | None]] = defaultdict(list)
    for row, fate in selection.fates:
        by_domain[row.record.domain].append(fate)
    return {
        "samples": len(selection.fates),
        "kept": sum(fate is None for _, fate in selection.fates),
        "filters": _funnel([fate for _, fate in selection.fates], selection.reasons),
        "by_domain": {
            domain: {"samples": len(fates), "kept": fates.count(None), "filters": _funnel(fates, selection.reasons)}
            for domain, fates in sorted(by_domain.items())
        },
        "without_language": selection.without_language,
        "subjects": _subjects(selection.kept),
        "others": selection.others,
        "sets": {"selected": _figures(selection.kept), "random": _figures(selection.random)},
        "settings": asdict(config),
    }


def _funnel(fates: Sequence[str | None], reasons: Sequence[str]) -> list[dict[str, Any]]:
    """Every filter with the samples that it left out and those that were left behind it."""
    counts, left, steps = Counter(fates), len(fates), []
    for reason in reasons:
        left -= counts[reason]
        steps.append({"filter": reason, "dropped": counts[reason], "left": left})
    return steps


def _subjects(kept: Sequence[Chosen]) -> dict[str, dict[str, Any]]:
    """Rows, share and mean tokens of every subject, beside DeepSeek-R1's."""
    whole, theirs = len(kept), sum(rows for rows, _ in R1_DATA.values())
    found = {}
    for subject in SUBJECTS:
        rows = [row for row in kept if row.subject == subject]
        tokens = [row.tokens for row in rows if row.tokens is not None]
        found[subject] = {
            "rows": len(rows),
            "share": len(rows) / whole,
            "tokens_mean": sum(tokens) / len(tokens) if tokens else None,
            "r1_rows": R1_DATA[subject][0],
            "r1_share": R1_DATA[subject][0] / theirs,
            "r1_tokens_mean": R1_DATA[subject][1],
        }
    return found


def _figures(rows: Iterable[Chosen]) -> dict[str, Any]:
    """The size of a set of rows, and the quality of its samples."""
    every = list(rows)
    samples = [row.row for row in every if row.row is not None]
    judged = [row.correct for row in samples if row.correct is not None]
    rewards = [row.reward for row in samples if row.correct is None and row.reward is not None]
    return {
        "rows": len(every),
        "prompts": len({row.group for row in every if row.group is not None}),
        "correct": sum(judged) / len(judged) if judged else None,
        "reward_mean": sum(rewards) / len(rewards) if rewards else None,
        "tokens_mean": sum(row.tokens for row in samples) / len(samples) if samples else None,
        "truncated": sum(not row.finished for row in samples) / len(samples) if samples else None,
    }


def _write_page(config: SelectConfig, selection: Selection, facts: dict[str, Any], out: Path) -> None:
    cards = [
        Card(f"{facts['samples']:,}", "samples"),
        Card(f"{facts['kept']:,}", "kept", f"{facts['kept'] / facts['samples']:.1%}"),
        Card(f"{facts['sets']['selected']['rows']:,}", "rows to learn from", "with other data"),
    ]
    settings = "\n".join(f"{key}: {value}" for key, value in facts["settings"].items())
    lead = f"Samples of {', '.join(config.samples)}."
    sections = [
        Section(
            "Yield", lead, cards, [], [funnel_table(facts), subjects_table(facts), sets_table(facts)], details=settings
        ),
        Section("Examples", "", [], [], [], samples=_examples(selection, config.examples), sensitive=True),
    ]
    write_page(sections, out, title="Samples selected for fine-tuning", lead=f"In {config.out}.")


def funnel_table(facts: dict[str, Any]) -> Table:
    """The samples that each filter left out, of a report as :func:`facts_of` makes it."""
    domains = list(facts["by_domain"])
    return Table(
        "Samples by filter",
        ("filter", "left out", "left", *domains),
        [
            (step["filter"], f"{step['dropped']:,}", f"{step['left']:,}", *_of_domains(facts, domains, place))
            for place, step in enumerate(facts["filters"])
        ],
        "Filters are asked in this order, and a sample is counted at the first that leaves it out. The last columns: "
        "left out, by domain.",
    )


def subjects_table(facts: dict[str, Any]) -> Table:
    """Rows and mean tokens of each subject, beside DeepSeek-R1's."""
    return Table(
        "Data to learn from, beside DeepSeek-R1's",
        ("subject", "rows", "share", "mean tokens", "R1: rows", "R1: share", "R1: mean tokens"),
        [
            (
                name,
                f"{s['rows']:,}",
                f"{s['share']:.1%}",
                _figure(s["tokens_mean"], ",.0f"),
                f"{s['r1_rows']:,}",
                f"{s['r1_share']:.1%}",
                f"{s['r1_tokens_mean']:,}",
            )
            for name, s in facts["subjects"].items()
        ],
        "Tokens are those that the policy sampled; of other data they are not known.",
    )


def sets_table(facts: dict[str, Any]) -> Table:
    """The selected rows and the random baseline."""
    return Table(
        "The selected rows and a random baseline",
        ("rows of", "rows", "prompts", "correct", "mean reward where no verifier judges", "mean tokens", "cut"),
        [
            (
                name,
                f"{rows['rows']:,}",
                f"{rows['prompts']:,}",
                _figure(rows["correct"], ".1%"),
                _figure(rows["reward_mean"], ".3f"),
                _figure(rows["tokens_mean"], ",.0f"),
                _figure(rows["truncated"], ".1%"),
            )
            for name, rows in facts["sets"].items()
        ],
        "The random baseline has as many rows of the same prompts, drawn at random from all their samples. Train one "
        "policy on each: if both are equally good, the selection had no effect.",
    )


def _of_domains(facts: dict[str, Any], domains: Sequence[str], place: int) -> list[str]:
    return [f"{facts['by_domain'][domain]['filters'][place]['dropped']:,}" for domain in domains]


def _examples(selection: Selection, count: int) -> list[dict[str, Any]]:
    """The first samples of every fate."""
    by_fate: dict[str | None, list[SampleRow]] = defaultdict(list)
    for row, fate in selection.fates:
        if len(by_fate[fate]) < count:
            by_fate[fate].append(row)
    return [_example(row, fate) for fate in (None, *selection.reasons) for row in by_fate[fate]]


def _example(row: SampleRow, fate: str | None) -> dict[str, Any]:
    return {
        "why": "kept" if fate is None else f"left out: {fate}",
        "prompt": row.record.prompt[-1].content[:SHOWN],
        "replies": [
            {
                "mood": "good" if fate is None else "bad",
                "label": f"{row.record.domain}, {row.tokens} tokens; reference {str(row.record.answer)[:80]}",
                "score": _figure(row.reward, ".2f"),
                "text": row.response[:SHOWN],
            }
        ],
    }


def _figure(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
