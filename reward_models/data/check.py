"""Report the contents and the faults of data files, in one pass that keeps hashes and lengths but no text."""

from __future__ import annotations

import json
import statistics
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reward_models.data.formats import to_row
from reward_models.data.records import (
    Candidates,
    Comparison,
    Conversation,
    Demonstration,
    Pair,
    Rated,
    Record,
    RecordType,
    SafetyLabel,
)
from reward_models.data.remarks import remarks
from reward_models.data.sources import BadRow, SourceError, expand, read
from reward_models.data.splits import content_key, contradictory, prompt_key, verdict


class Tokenizer(Protocol):
    """The part of a transformers tokenizer that counts."""

    def encode(self, text: str, *, add_special_tokens: bool) -> Any: ...


@dataclass(frozen=True, slots=True)
class Lengths:
    """The distribution of some texts' lengths."""

    mean: float
    p50: float
    p90: float
    p99: float
    max: int

    @classmethod
    def of(cls, lengths: Sequence[int]) -> Lengths | None:
        """``None`` if there are no texts."""
        if not lengths:
            return None
        p50, p90, p99 = (float(value) for value in numpy.percentile(lengths, [50, 90, 99]))
        return cls(statistics.fmean(lengths), p50, p90, p99, max(lengths))


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReport:
    """The result of :func:`check` for one spec.

    Args:
        rows: all of them, the bad ones too.
        record_types: records by type.
        labels: records by label (a prompt's is its domain; of a demonstration: whether it has a part ``<think>``).
        unit: what ``prompt_lengths`` and ``response_lengths`` count, ``tokens`` or ``words``, over the messages'
            contents without any chat template.
        prompts: distinct prompts, by :func:`~reward_models.data.splits.prompt_key`.
        duplicates: records whose content and verdict an earlier record already had.
        conflicts: contents with contradicting verdicts.
        shared_prompts: how many of the distinct prompts are in another of the checked files, by file.
        chosen_longer: share of preferences whose better response has more characters, equal lengths counting half;
            ``None`` without preferences.
        length_gap: mean characters by which the better response is longer; ``None`` without preferences.
        remarks: records that :mod:`reward_models.data.remarks` finds odd, by remark.
        bad: every bad row, without its contents.
    """

    file: str
    evaluation: bool
    rows: int
    record_types: dict[str, int]
    labels: dict[str, int]
    unit: str
    prompt_lengths: Lengths | None
    response_lengths: Lengths | None
    prompts: int
    duplicates: int
    conflicts: int
    shared_prompts: dict[str, int] = field(default_factory=dict)
    chosen_longer: float | None = None
    length_gap: float | None = None
    remarks: dict[str, int] = field(default_factory=dict)
    bad: list[BadRow] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON's types, bad rows with file, line and reason."""
        bad = [{"file": row.file, "line": row.line, "reason": row.reason} for row in self.bad]
        return asdict(replace(self, bad=[])) | {"bad": bad}


def check(
    paths: Sequence[str],
    eval_paths: Sequence[str] = (),
    *,
    record_type: RecordType | None = None,
    tokenizer: Tokenizer | None = None,
    limit: int | None = None,
    columns: Mapping[str, str] | None = None,
    domain: str | None = None,
    on_bad: Callable[[BadRow], None] = lambda row: None,
    on_record: Callable[[Record, int], None] = lambda record, place: None,
) -> list[FileReport]:
    """One report for each file of ``paths`` and ``eval_paths``.

    Args:
        record_type, columns, domain: as for :func:`~reward_models.data.sources.read`.
        tokenizer: counts lengths in tokens; words without one.
        limit: the most rows to read of each.
        on_bad: called with every bad row as it is met, contents included.
        on_record: called with every record and its place in its file, from 0.

    Raises:
        SourceError: a spec names nothing readable, or a file has no rows.
    """
    specs = [(spec, False) for path in paths for spec in expand(path)]
    specs += [(spec, True) for path in eval_paths for spec in expand(path)]
    streams = [read(spec, record_type, columns=columns, domain=domain) for spec, _ in specs]
    tallies = [
        _Tally(spec, evaluation, islice(stream, limit), tokenizer, on_bad, on_record)
        for (spec, evaluation), stream in zip(specs, streams, strict=True)
    ]
    if empty := [tally.spec for tally in tallies if not tally.rows]:
        raise SourceError(f"no rows in {', '.join(empty)}")
    return [tally.report([other for other in tallies if other is not tally]) for tally in tallies]


class _Tally:
    """The running counts of one spec."""

    def __init__(
        self,
        spec: str,
        evaluation: bool,
        items: Iterator[Record | BadRow],
        tokenizer: Tokenizer | None,
        on_bad: Callable[[BadRow], None],
        on_record: Callable[[Record, int], None],
    ) -> None:
        self.spec, self.evaluation, self.tokenizer = spec, evaluation, tokenizer
        self.rows = self.duplicates = 0
        self.record_types: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.remarks: Counter[str] = Counter()
        self.prompts: set[str] = set()
        self.verdicts: defaultdict[bytes, tuple[str, ...]] = defaultdict(tuple)
        self.prompt_lengths, self.response_lengths, self.gaps = array("q"), array("q"), array("q")
        self.bad: list[BadRow] = []
        for item in items:
            self.rows += 1
            if isinstance(item, BadRow):
                on_bad(item)
                self.bad.append(replace(item, row=None))
            else:
                on_record(item, self.rows - len(self.bad) - 1)
                self.remarks.update(remarks(item))
                self._add(item)

    def _add(self, record: Record) -> None:
        self.prompts.add(prompt_key(record.prompt))
        self.prompt_lengths.append(self._length(record.prompt))
        key, said = content_key(record), verdict(record)
        if said in self.verdicts[key]:
            self.duplicates += 1
        else:
            self.verdicts[key] += (said,)
        if isinstance(record, Comparison):
            self._count("comparison", record.label, record.response_a, record.response_b)
            if record.label != "tie":
                gap = _characters(record.response_a) - _characters(record.response_b)
                self.gaps.append(gap if record.label == "a" else -gap)
        elif isinstance(record, Pair):
            self._count("pair", record.label or "none", record.response_a, record.response_b)
        elif isinstance(record, Rated):
            self._count("rated", f"{sum(each is not None for each in record.ratings)} attributes", record.response)
        elif isinstance(record, SafetyLabel):
            self._count("safety", record.label, record.response)
        elif isinstance(record, Demonstration):
            thinks = any("</think>" in message.content for message in record.response)
            self._count("demonstration", "with thoughts" if thinks else "without thoughts", record.response)
        elif isinstance(record, Candidates):
            self._count("candidates", f"{len(record.right)} of {len(record.right + record.wrong)} right", *record.right)
            self.response_lengths.extend(self._length(response) for response in record.wrong)
        else:
            self._count("prompt", record.domain)

    def _count(self, record_type: str, label: str, *responses: Conversation) -> None:
        self.record_types[record_type] += 1
        self.labels[label] += 1
        self.response_lengths.extend(self._length(response) for response in responses)

    def _length(self, conversation: Conversation) -> int:
        if self.tokenizer is None:
            return sum(len(message.content.split()) for message in conversation)
        encode = self.tokenizer.encode
        return sum(len(encode(message.content, add_special_tokens=False)) for message in conversation)

    def report(self, others: Sequence[_Tally]) -> FileReport:
        shared = {other.spec: len(self.prompts & other.prompts) for other in others}
        longer = [1.0 if gap > 0 else 0.5 if gap == 0 else 0.0 for gap in self.gaps]
        return FileReport(
            file=self.spec,
            evaluation=self.evaluation,
            rows=self.rows,
            record_types=dict(self.record_types),
            labels=dict(sorted(self.labels.items())),
            unit="words" if self.tokenizer is None else "tokens",
            prompt_lengths=Lengths.of(self.prompt_lengths),
            response_lengths=Lengths.of(self.response_lengths),
            prompts=len(self.prompts),
            duplicates=self.duplicates,
            conflicts=sum(contradictory(said) for said in self.verdicts.values()),
            shared_prompts={spec: count for spec, count in shared.items() if count},
            chosen_longer=statistics.fmean(longer) if longer else None,
            length_gap=statistics.fmean(self.gaps) if self.gaps else None,
            remarks=dict(self.remarks),
            bad=self.bad,
        )


def _characters(conversation: Conversation) -> int:
    return sum(len(message.content) for message in conversation)


def print_reports(reports: Sequence[FileReport], console: Console) -> None:
    """Tables of all reports, the prompts that files share, and the bad rows, once for each reason."""
    unit = reports[0].unit if reports else "words"
    contents = _table("contents", "rows", "bad", "prompts", "copies", "conflicts")
    lengths = _table(f"lengths in {unit}, without a chat template", "of", "mean", "p50", "p90", "p99", "max")
    labels = _table("labels, and by how many characters chosen is longer", "longer", "mean gap", "labels")
    for report in reports:
        name = Text(Path(report.file).name + (" (eval)" if report.evaluation else ""), overflow="fold")
        counts = (report.rows, len(report.bad), report.prompts, report.duplicates, report.conflicts)
        contents.add_row(name, *map(str, counts))
        for part, found in (("prompt", report.prompt_lengths), ("response", report.response_lengths)):
            if found is not None:
                quantiles = (found.mean, found.p50, found.p90, found.p99, found.max)
                lengths.add_row(name, part, *(f"{value:.0f}" for value in quantiles))
        labels.add_row(
            name,
            "–" if report.chosen_longer is None else f"{report.chosen_longer:.0%}",
            "–" if report.length_gap is None else f"{report.length_gap:+.0f}",
            ", ".join(f"{label} {count}" for label, count in report.labels.items()) or "–",
        )
    console.print(contents, lengths, labels)
    for index, report in enumerate(reports):
        for other in reports[index + 1 :]:
            if shared := report.shared_prompts.get(other.file, 0):
                console.print(Text(f"{shared} prompts are in both {report.file} and {other.file}"), soft_wrap=True)
    for report in reports:
        for remark, count in report.remarks.items():
            console.print(Text(f"{report.file}: {count} records have {remark}"), soft_wrap=True)
        alike = Counter((row.file, row.reason) for row in report.bad)
        for row in report.bad:
            if count := alike.pop((row.file, row.reason), 0):
                more = f" ({count} rows, this is the first)" if count > 1 else ""
                console.print(Text(f"{row.file}:{row.line}: {row.reason}{more}"), soft_wrap=True)


def shown(record: Record) -> str:
    """A record as text to read: what the columns of its row were taken for."""
    row = to_row(record)
    facts = {name: value for name, value in row.items() if isinstance(value, str | int | float) and name != "id"}
    lines = [f"{record.id}: {type(record).__name__.lower()}", *(f"  {name}: {value}" for name, value in facts.items())]
    for name, value in row.items():
        if isinstance(value, list) and name in ("prompt", "response", "response_a", "response_b"):
            lines += [f"  {name}", *(f"    {_told(message)}" for message in value)]
        elif isinstance(value, list | dict):
            lines.append(f"  {name}: {json.dumps(value, ensure_ascii=False)}")
    # The text is anybody's: no escape sequence of it may reach the terminal.
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in "\n".join(lines))


def _told(message: dict[str, Any]) -> str:
    extra = {name: value for name, value in message.items() if name not in ("role", "content")}
    told = f"{message['role']}: {message['content']}"
    return told + (f"  {json.dumps(extra, ensure_ascii=False)}" if extra else "")


def _table(title: str, *columns: str) -> Table:
    table = Table("file", title=title, title_justify="left", box=box.SIMPLE)
    for column in columns:
        table.add_column(column, justify="right")
    return table
