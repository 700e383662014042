"""Raw sources become the files to train on: clean of duplicates, of the evaluation's prompts, and split by prompt."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from reward_models.data.formats import to_row
from reward_models.data.records import Conflicts, Record, RecordType
from reward_models.data.sources import Loaded, SourceError, load
from reward_models.data.splits import decontaminate, deduplicate, prompt_key, split_by_prompt

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareReport:
    """Number of input rows by outcome: ``read = bad + duplicates + contradictions + contaminated + written``.

    Args:
        counts: records by input spec.
        conflicts: contents with contradicting verdicts; ``contradictions`` are the records left out for it.
        contaminated: records left out because their prompt is in the evaluation, by reason.
        written: records by file; ``prompts`` are the distinct prompts in it.
    """

    read: int
    counts: dict[str, int]
    bad: list[dict[str, Any]]
    duplicates: int
    contradictions: int
    conflicts: int
    contaminated: dict[str, int]
    written: dict[str, int]
    prompts: dict[str, int]
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned(Generic[R]):
    """Records without copies and without the evaluation's prompts; the counts are those of :class:`PrepareReport`."""

    records: list[R]
    read: int
    counts: dict[str, int]
    bad: list[dict[str, Any]]
    duplicates: int
    contradictions: int
    conflicts: int
    contaminated: dict[str, int]


def evaluation_prompts(specs: Sequence[str]) -> Sequence[Record]:
    """The prompts of evaluation data, of whatever type its records are.

    Raises:
        SourceError: a spec names nothing readable. BadRowsError: it holds a bad row.
    """
    return load(specs, "prompt", domain="helpfulness").records


def clean(loaded: Loaded[R], *, evaluation: Sequence[Record] = (), conflicts: Conflicts = "drop") -> Cleaned[R]:
    """The records of ``loaded`` without copies and without the prompts of ``evaluation``, and the counts."""
    unique = deduplicate(loaded.records, conflicts=conflicts)
    apart = decontaminate(unique.kept, evaluation)
    return Cleaned(
        records=apart.kept,
        read=len(loaded.records) + len(loaded.bad),
        counts=loaded.counts,
        bad=[{"file": row.file, "line": row.line, "reason": row.reason} for row in loaded.bad],
        duplicates=unique.duplicates,
        contradictions=unique.contradictions,
        conflicts=unique.conflicts,
        contaminated=apart.counts,
    )


def split(records: Iterable[R], eval_fraction: float, seed: int) -> dict[str, list[R]]:
    """``train`` and ``eval``: the share ``eval_fraction`` of the prompts is held out."""
    return split_by_prompt(records, {"train": 1 - eval_fraction, "eval": eval_fraction}, seed=seed)


def count_prompts(records: Iterable[Record]) -> int:
    """Number of distinct prompts in ``records``."""
    return len({prompt_key(record.prompt) for record in records})


def prepare(
    specs: Sequence[str],
    out: Path,
    *,
    record_type: RecordType | None = None,
    eval_fraction: float = 0.05,
    against: Sequence[str] = (),
    conflicts: Conflicts = "drop",
    seed: int = 0,
    max_bad: int = 0,
    columns: Mapping[str, str] | None = None,
    domain: str | None = None,
) -> PrepareReport:
    """Write ``train.jsonl``, ``eval.jsonl`` and ``report.json`` into ``out``, in our own layout.

    Args:
        record_type, columns, domain: as for :func:`~reward_models.data.sources.read`; ``against`` is read as it is.
        eval_fraction: the share of prompts to hold out.
        against: evaluation data whose prompts must not be trained on.
        conflicts, seed, max_bad: as for :func:`~reward_models.data.splits.deduplicate`,
            :func:`~reward_models.data.splits.split_by_prompt` and :func:`~reward_models.data.sources.load`.

    Raises:
        SourceError: a spec names nothing readable, or the input holds records of several types.
        BadRowsError: there were more bad rows than ``max_bad``.
        FileExistsError: ``out`` holds prepared data already.
    """
    if (out / "train.jsonl").exists():
        raise FileExistsError(f"{out} holds prepared data already; name another directory")
    loaded: Loaded[Any] = load(specs, record_type, max_bad=max_bad, columns=columns, domain=domain)
    if len(types := {type(record).__name__ for record in loaded.records}) > 1:
        raise SourceError(
            f"the input holds {' and '.join(sorted(types))} records; name one type, or prepare them apart"
        )
    cleaned = clean(loaded, evaluation=evaluation_prompts(against), conflicts=conflicts)
    parts = split(cleaned.records, eval_fraction, seed)
    report = PrepareReport(
        read=cleaned.read,
        counts=cleaned.counts,
        bad=cleaned.bad,
        duplicates=cleaned.duplicates,
        contradictions=cleaned.contradictions,
        conflicts=cleaned.conflicts,
        contaminated=cleaned.contaminated,
        written={name: len(part) for name, part in parts.items()},
        prompts={name: count_prompts(part) for name, part in parts.items()},
        settings={
            "eval_fraction": eval_fraction,
            "against": list(against),
            "conflicts": conflicts,
            "seed": seed,
        },
    )
    out.mkdir(parents=True, exist_ok=True)
    write_json(asdict(report), out / "report.json")
    for name, part in reversed(parts.items()):  # train.jsonl last: with it the data are complete
        write_jsonl(map(to_row, part), out / f"{name}.jsonl")
    return report


def write_jsonl(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """One row a line. The file is there in whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    temporary.replace(path)


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """The same for one indented object."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)
