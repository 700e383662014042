"""A spec (a file, a glob, a hub data set, synthetic data) becomes a stream of records and bad rows."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Generic, Literal, TypedDict, TypeVar, Unpack, overload

from reward_models.data.files import BadRow
from reward_models.data.formats import COLUMNS, rename, to_record, to_responses
from reward_models.data.layouts import expanded, paired
from reward_models.data.records import (
    RECORD_TYPES,
    Candidates,
    Comparison,
    Conversation,
    Demonstration,
    Pair,
    Prompt,
    Rated,
    Record,
    RecordError,
    RecordType,
    SafetyLabel,
)
from reward_models.data.remarks import remarks
from reward_models.data.streams import SourceError, Stream, expand, is_hub, open_streams

__all__ = [
    "BadRow",
    "BadRowsError",
    "Loaded",
    "Reading",
    "SourceError",
    "expand",
    "is_hub",
    "load",
    "read",
    "read_responses",
    "read_rows_of",
]

LOGGER = logging.getLogger(__name__)
REASON_LIMIT = 300
Specs = Sequence[str] | str
Row = dict[str, Any]

R = TypeVar("R", bound=Record)
Item = TypeVar("Item")


class BadRowsError(ValueError):
    """More bad rows than allowed; ``bad`` holds them all."""

    def __init__(self, bad: Sequence[BadRow], max_bad: int, record_type: RecordType | None = None) -> None:
        self.bad = tuple(bad)
        shown = [f"  {row.file}:{row.line}: {row.reason}" for row in self.bad[:10]]
        more = [f"  … and {len(self.bad) - 10} more"] if len(self.bad) > 10 else []
        # Without its type, a row may be read as another record, in which nothing is wrong with it.
        files = " ".join(dict.fromkeys(row.file for row in self.bad)) + (
            f" --type {record_type}" if record_type else ""
        )
        super().__init__(
            "\n".join(
                [
                    f"{len(self.bad)} bad rows, {max_bad} allowed:",
                    *shown,
                    *more,
                    f"List them all with `keel data check {files}`; go on without them with max_bad={len(self.bad)}.",
                ]
            )
        )


@dataclass(frozen=True, slots=True)
class Loaded(Generic[R]):
    """The records in order, how many each spec gave, every bad row, and how many records have a remark, by remark."""

    records: list[R]
    counts: dict[str, int]
    bad: list[BadRow] = field(default_factory=list)
    remarks: dict[str, int] = field(default_factory=dict)


class LoadOptions(TypedDict, total=False):
    """The optional arguments of :func:`load`."""

    max_bad: int
    limit: int | None
    columns: Mapping[str, str] | None
    domain: str | None
    domains: Mapping[str, str] | None


@overload
def load(specs: Specs, record_type: Literal["comparison"], **options: Unpack[LoadOptions]) -> Loaded[Comparison]: ...
@overload
def load(specs: Specs, record_type: Literal["pair"], **options: Unpack[LoadOptions]) -> Loaded[Pair]: ...
@overload
def load(specs: Specs, record_type: Literal["safety"], **options: Unpack[LoadOptions]) -> Loaded[SafetyLabel]: ...
@overload
def load(specs: Specs, record_type: Literal["prompt"], **options: Unpack[LoadOptions]) -> Loaded[Prompt]: ...
@overload
def load(specs: Specs, record_type: Literal["candidates"], **options: Unpack[LoadOptions]) -> Loaded[Candidates]: ...
@overload
def load(specs: Specs, record_type: Literal["rated"], **options: Unpack[LoadOptions]) -> Loaded[Rated]: ...
@overload
def load(
    specs: Specs, record_type: Literal["demonstration"], **options: Unpack[LoadOptions]
) -> Loaded[Demonstration]: ...
@overload
def load(specs: Specs, record_type: None, **options: Unpack[LoadOptions]) -> Loaded[Record]: ...
def load(
    specs: Specs,
    record_type: RecordType | None,
    *,
    max_bad: int = 0,
    limit: int | None = None,
    columns: Mapping[str, str] | None = None,
    domain: str | None = None,
    domains: Mapping[str, str] | None = None,
) -> Loaded[Any]:
    """Every record of ``specs``. Records with a remark (:mod:`reward_models.data.remarks`) are counted and logged.

    Args:
        record_type, columns, domain: as in :func:`read`. ``domains``: spec → its own ``domain``.
        max_bad: how many bad rows may be left out, over all specs.
        limit: the most rows to read of each spec.

    Raises:
        SourceError: a spec names nothing readable, or has no rows.
        BadRowsError: there were more bad rows than ``max_bad``; raised once all was read.
    """
    reading = Reading(
        specs,
        record_type,
        max_bad=max_bad,
        limit=limit,
        columns=columns,
        domain=domain,
        domains=domains,
    )
    records = list(reading)
    return Loaded(records, reading.counts, reading.bad, dict(reading.remarks))


class Reading:
    """One pass over all records of ``specs``, see :func:`load` for arguments and errors.

    Attributes:
        counts, bad, remarks: as in :class:`Loaded`; complete once the pass has ended.
    """

    def __init__(
        self,
        specs: Specs,
        record_type: RecordType | None,
        *,
        max_bad: int = 0,
        limit: int | None = None,
        columns: Mapping[str, str] | None = None,
        domain: str | None = None,
        domains: Mapping[str, str] | None = None,
    ) -> None:
        self.counts: dict[str, int] = {}
        self.bad: list[BadRow] = []
        self.remarks: Counter[str] = Counter()
        self._names = [specs] if isinstance(specs, str) else list(specs)
        self._record_type, self._max_bad, self._limit = record_type, max_bad, limit
        by_spec = domains or {}
        self._streams = [
            read(spec, record_type, columns=columns, domain=by_spec.get(spec, domain)) for spec in self._names
        ]

    def __iter__(self) -> Iterator[Any]:
        first: dict[str, str] = {}  # remark → id of its first record
        for spec, stream in zip(self._names, self._streams, strict=True):
            found, bad_before = 0, len(self.bad)
            for item in islice(stream, self._limit):
                if isinstance(item, BadRow):
                    self.bad.append(item)
                    continue
                found += 1
                for remark in remarks(item):
                    first.setdefault(remark, item.id)
                    self.remarks[remark] += 1
                yield item
            if not found and len(self.bad) == bad_before:
                raise SourceError(f"no rows in {spec}")
            self.counts[spec] = self.counts.get(spec, 0) + found
        if len(self.bad) > self._max_bad:
            raise BadRowsError(self.bad, self._max_bad, self._record_type)
        for remark, count in self.remarks.items():
            LOGGER.warning(
                "%d records have %s, the first is %s: they are read as they are", count, remark, first[remark]
            )


def read(
    spec: str, record_type: RecordType | None, *, columns: Mapping[str, str] | None = None, domain: str | None = None
) -> Iterator[Record | BadRow]:
    """One pass over ``spec``: a record for every row that is one, a :class:`BadRow` for every other.

    Args:
        spec: a file or glob (``~`` and environment variables are expanded), a hub data set
            ``owner/name[/subset][:split]`` (split ``train`` if none is named; a local directory of data files is read
            the same way), ``synthetic:NAME[:train|test]`` with a name of :data:`~reward_models.data.streams.SYNTHETIC`,
            or ``SCHEME://…`` for a scheme that an installed package offers as an entry point of the group
            ``keel.sources``: a function from the spec to rows.
        record_type: the records wanted; ``None`` infers it row by row.
        columns: our column names to the source's, where they differ: ``{"chosen": "good"}``.
        domain: of prompts whose rows do not name one.

    Raises:
        SourceError: at once if the spec names nothing readable; while reading only if a connection fails.
    """
    if record_type is not None and record_type not in RECORD_TYPES:
        raise SourceError(f"record type {record_type!r} is none of {', '.join(RECORD_TYPES)}")
    _check_columns(columns)

    def convert(row: dict[str, Any], line: int, source: str) -> Record:
        return to_record(row, record_type, domain=domain, id=f"{source}:{line}", source=source)

    streams = open_streams(spec, record_type)
    if columns:
        streams = [replace(stream, rows=_renamed(stream, columns)) for stream in streams]
    if record_type in ("comparison", "pair", None):
        streams = [replace(stream, rows=paired(stream.rows, stream.file)) for stream in streams]
    return _converted([replace(stream, rows=_expanded(stream, record_type)) for stream in streams], convert)


def read_responses(
    spec: str, *, columns: Mapping[str, str] | None = None
) -> Iterator[tuple[Conversation, dict[str, Conversation]] | BadRow]:
    """One pass over ``spec`` for scoring: :func:`~reward_models.data.formats.to_responses` of every row.

    ``spec``, ``columns`` and errors are those of :func:`read`.
    """
    _check_columns(columns)

    def convert(row: dict[str, Any], line: int, source: str) -> tuple[Conversation, dict[str, Conversation]]:
        return to_responses(rename(row, columns) if columns else row)

    return read_rows_of(spec, convert)


def _check_columns(columns: Mapping[str, str] | None) -> None:
    if unknown := set(columns or ()) - set(COLUMNS):
        raise SourceError(f"no column of ours is called {', '.join(sorted(unknown))}; ours: {', '.join(COLUMNS)}")


def read_rows_of(spec: str, convert: Callable[[dict[str, Any], int, str], Item]) -> Iterator[Item | BadRow]:
    """One pass over ``spec`` for rows that are no records yet: ``convert(row, line, source)`` of each.

    A :class:`BadRow` stands for every row that cannot be read or that ``convert`` refuses with a ``RecordError``.

    Raises:
        SourceError: as in :func:`read`.
    """
    return _converted(open_streams(spec, None), convert)


def _renamed(stream: Stream, columns: Mapping[str, str]) -> Iterator[tuple[int, Row] | BadRow]:
    for item in stream.rows:
        if isinstance(item, BadRow):
            yield item
            continue
        try:
            yield item[0], rename(item[1], columns)
        except RecordError as error:
            yield _bad(stream, item[0], error, item[1])


def _expanded(stream: Stream, record_type: RecordType | None) -> Iterator[tuple[int, Row] | BadRow]:
    """The rows of which each gives one record, see :func:`~reward_models.data.layouts.expanded`."""
    for item in stream.rows:
        if isinstance(item, BadRow):
            yield item
            continue
        line, row = item
        try:
            parts = expanded(row, record_type)
        except RecordError as error:
            parts = [error]
        for part in parts:
            yield _bad(stream, line, part, row) if isinstance(part, RecordError) else (line, part)


def _bad(stream: Stream, line: int, error: RecordError, row: Row) -> BadRow:
    reason = " ".join(str(error).split())
    if len(reason) > REASON_LIMIT:
        reason = reason[: REASON_LIMIT - 1] + "…"
    return BadRow(stream.file, line, reason, row)


def _converted(
    streams: Sequence[Stream], convert: Callable[[dict[str, Any], int, str], Item]
) -> Iterator[Item | BadRow]:
    for stream in streams:
        for item in stream.rows:
            if isinstance(item, BadRow):
                yield item
                continue
            line, row = item
            try:
                yield convert(row, line, stream.source)
            except RecordError as error:
                yield _bad(stream, line, error, row)
