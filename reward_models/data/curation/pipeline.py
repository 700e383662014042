"""Pairs in, comparisons out: judge, average, keep what is decided, balance the lengths, split, account for it all."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reward_models.data.curation.balance import LengthReport
from reward_models.data.curation.judging import (
    Judge,
    Judgement,
    Question,
    average,
    draw_questions,
    position_bias,
)
from reward_models.data.curation.prompts import as_read
from reward_models.data.curation.selection import Agreement, CurationConfig, Fate, Judged, select
from reward_models.data.formats import to_row
from reward_models.data.prepare import Cleaned, clean, count_prompts, evaluation_prompts, split, write_json, write_jsonl
from reward_models.data.records import Pair
from reward_models.data.sources import load
from reward_models.endpoint.answers import JudgeError

ANSWERS = "answers.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The questions of a run, before anything is paid.

    Args:
        questions: those of each pair that is to be judged.
        identical: pairs that are not, because both responses read the same.
        calls: how many of them have no answer yet and cost a call.
        settings: all that the outcome depends on.
    """

    config: CurationConfig
    cleaned: Cleaned[Pair]
    questions: list[list[Question]]
    identical: int
    calls: int
    settings: dict[str, Any]

    @property
    def flat_questions(self) -> list[Question]:
        return [question for each in self.questions for question in each]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurationReport:
    """Number of rows by outcome: ``read = bad + duplicates + contaminated + identical + Σ fates``.

    Args:
        read, counts, bad, duplicates, contaminated, written, prompts: as in
            :class:`~reward_models.data.prepare.PrepareReport`; a duplicate has the same prompt and responses.
        identical: pairs whose responses read the same; they are not judged.
        judgements: how many were asked for, ``valid`` or not and why.
        verdicts: valid verdicts as the judge wrote them; A is what was shown first.
        position_bias: mean verdict in favour of what was shown first, −2 … 2; ``None`` for a judge that sees one
            response at a time. Averaging takes it out.
        fates: judged pairs by what became of them; those that were ``kept`` are those that were written.
        lengths: of the decided pairs ``before`` the balance and ``after`` it.
        agreement: with the labels the data came with.
        settings: what all this depends on, the judge included.
    """

    read: int
    counts: dict[str, int]
    bad: list[dict[str, Any]]
    duplicates: int
    contaminated: dict[str, int]
    identical: int
    judgements: dict[str, int]
    verdicts: dict[str, int]
    position_bias: float | None
    fates: dict[str, int]
    lengths: dict[str, LengthReport]
    agreement: Agreement
    written: dict[str, int]
    prompts: dict[str, int]
    settings: dict[str, Any]


def plan(
    specs: Sequence[str],
    out: Path,
    judge: Judge,
    config: CurationConfig,
    *,
    against: Sequence[str] = (),
    limit: int | None = None,
    max_bad: int = 0,
    columns: Mapping[str, str] | None = None,
) -> Plan:
    """Read and clean the pairs of ``specs``, and draw the questions.

    Args:
        against: evaluation data whose prompts must not be trained on.
        limit, max_bad, columns: as for :func:`~reward_models.data.sources.load`.

    Raises:
        SourceError, BadRowsError: as for :func:`~reward_models.data.sources.load`.
        FileExistsError: ``out`` holds other prepared data, or was curated with other settings.
        JudgeError: several judgements are wanted of a judge that always says the same.
    """
    if judge.deterministic and config.judgements > 1:
        raise JudgeError(f"this judge always says the same of a pair: ask for 1 judgement, not {config.judgements}")
    settings = {
        "data": list(specs),
        "against": list(against),
        "limit": limit,
        "judge": judge.settings,
        **asdict(config),
        "min_valid": config.valid_needed,
    }
    _check_directory(out, settings)
    loaded = load(specs, "pair", max_bad=max_bad, limit=limit, columns=columns)
    cleaned = clean(loaded, evaluation=evaluation_prompts(against))
    pairs = [p for p in cleaned.records if as_read(p.response_a, config.span) != as_read(p.response_b, config.span)]
    questions = [draw_questions(pair, config.judgements, config.seed) for pair in pairs]
    return Plan(
        config=config,
        cleaned=cleaned,
        questions=questions,
        identical=len(cleaned.records) - len(pairs),
        calls=judge.calls([question for each in questions for question in each]),
        settings=settings,
    )


def _check_directory(out: Path, settings: Mapping[str, Any]) -> None:
    """A finished curation may be written again with the same settings only, and other data never."""
    if not (out / "train.jsonl").exists():
        return
    report = out / "report.json"
    before = json.loads(report.read_text(encoding="utf-8"))["settings"] if report.is_file() else {}
    if "judge" not in before:
        raise FileExistsError(f"{out} holds prepared data already; name another directory")
    if changed := [key for key in settings if before.get(key) != settings[key]]:
        raise FileExistsError(
            f"{out} was curated with another setting of {', '.join(changed)}; name another directory. "
            f"--answers {out / ANSWERS} brings along the answers that were paid for"
        )


def curate(planned: Plan, out: Path, judge: Judge, advance: Callable[[int], None]) -> CurationReport:
    """Ask the judge, and write ``train.jsonl``, ``eval.jsonl``, ``judgements.jsonl`` and ``report.json`` into ``out``.

    The files are a function of the plan and the answers: a run that was killed and taken up again writes the same.

    Args:
        advance: told how many more questions are answered.

    Raises:
        JudgeError: the judge failed for good; its answers so far are kept.
    """
    config = planned.config
    answers = iter(judge.judge(planned.flat_questions, advance))
    judged = [_judged(questions, answers, config) for questions in planned.questions]
    fates = select(judged, config)
    parts = split(
        [item.comparison() for item, fate in zip(judged, fates, strict=True) if fate == "kept"],
        config.eval_fraction,
        config.seed,
    )
    every = [judgement for item in judged for judgement in item.judgements]
    report = CurationReport(
        read=planned.cleaned.read,
        counts=planned.cleaned.counts,
        bad=planned.cleaned.bad,
        duplicates=planned.cleaned.duplicates,
        contaminated=planned.cleaned.contaminated,
        identical=planned.identical,
        judgements={"asked": len(every), **_counts(j.problem or "valid" for j in every)},
        verdicts=_counts(j.verdict for j in every if j.verdict is not None),
        position_bias=None if judge.deterministic else position_bias(every),
        fates=_counts(fates),
        lengths={
            "before": _length_report(judged, fates, config, {"kept", "length balance"}),
            "after": _length_report(judged, fates, config, {"kept"}),
        },
        agreement=Agreement.of(judged, fates),
        written={name: len(part) for name, part in parts.items()},
        prompts={name: count_prompts(part) for name, part in parts.items()},
        settings=planned.settings,
    )
    out.mkdir(parents=True, exist_ok=True)
    write_jsonl((_row(item, fate) for item, fate in zip(judged, fates, strict=True)), out / "judgements.jsonl")
    write_json(asdict(report), out / "report.json")
    for name, part in parts.items():
        write_jsonl(map(to_row, part), out / f"{name}.jsonl")
    return report


def _judged(questions: Sequence[Question], answers: Iterator[Judgement], config: CurationConfig) -> Judged:
    judgements = tuple(next(answers) for _ in questions)
    return Judged(pair=questions[0].pair, judgements=judgements, delta=average(judgements, config.valid_needed))


def _length_report(
    judged: Sequence[Judged], fates: Sequence[Fate], config: CurationConfig, wanted: set[Fate]
) -> LengthReport:
    return LengthReport.of(
        [item.lengths(config.span) for item, fate in zip(judged, fates, strict=True) if fate in wanted]
    )


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _row(judged: Judged, fate: Fate) -> dict[str, Any]:
    """A line of ``judgements.jsonl``."""
    return {
        "id": judged.pair.id,
        "source": judged.pair.source,
        "label": judged.pair.label,
        "delta": judged.delta,
        "fate": fate,
        "judgements": [
            {
                "draw": judgement.draw,
                "first": "a" if judgement.a_first else "b",
                "verdict": judgement.verdict,
                "score": judgement.score,
                "problem": judgement.problem,
                "detail": judgement.detail,
            }
            for judgement in judged.judgements
        ],
    }
