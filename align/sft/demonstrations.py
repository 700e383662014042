"""Demonstrations: rows are read as conversations that end with the assistant's reply."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from reward_models.data.formats import rename, to_demonstration
from reward_models.data.prepared import Entry, entry_of_sources
from reward_models.data.record_files import RecordFile, RecordWriter
from reward_models.data.records import Conversation
from reward_models.data.sources import BadRow, BadRowsError, read_rows_of

# The files on which prepared demonstrations depend beside reward_models.data.
CODE = (Path(__file__), Path(__file__).with_name("encoding.py"))


@dataclass(frozen=True, kw_only=True)
class DemonstrationsConfig:
    """The demonstrations of a run.

    Attributes:
        train: files, globs, hub data sets (``owner/name[/subset][:split]``) or ``synthetic:demonstrations:train``, of
            conversations (``messages``), prompts with a ``response`` or ``completion``, or problems with a worked
            ``solution`` and an ``answer``.
        columns: our column names to the source's, where they differ.
        limit: the most rows to read of each source.
        max_bad: how many bad rows may be left out; one more stops the run before it starts.
        max_length: longest conversation in tokens; longer ones are left out and counted. Default: as many as the
            model has positions.
    """

    train: list[str] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)
    limit: int | None = None
    max_bad: int = 0
    max_length: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("limit", 1), ("max_bad", 0), ("max_length", 1)):
            if (value := getattr(self, name)) is not None and value < least:
                raise ValueError(f"data.{name}={value} must be at least {least}")


def load_conversations(config: DemonstrationsConfig) -> tuple[list[Conversation], int]:
    """Every conversation of ``config.train``, and the number of bad rows left out.

    Raises:
        SourceError, BadRowsError: as :func:`reward_models.data.sources.load`.
    """
    bad: list[BadRow] = []
    return list(_read(config, bad)), len(bad)


def conversation_file(config: DemonstrationsConfig, run: str = "") -> tuple[RecordFile[Conversation], Entry]:
    """The same in a file, which is made once (:mod:`reward_models.data.prepared`).

    Args:
        run: as for :func:`reward_models.data.prepared.entry_of_sources`.
    """

    def read(path: Path) -> dict[str, Any]:
        bad: list[BadRow] = []
        with RecordWriter[Conversation](path / "train.arrow") as writer:
            for conversation in _read(config, bad):
                writer.add(conversation)
        return {"digests": {"train": writer.digest}, "bad": len(bad)}

    settings = {"columns": config.columns, "limit": config.limit, "max_bad": config.max_bad}
    made = entry_of_sources("conversations", {"train": config.train}, settings, read, run, CODE)
    return RecordFile(made.path / "train.arrow"), made


def _read(config: DemonstrationsConfig, bad: list[BadRow]) -> Iterator[Conversation]:
    """One pass over all conversations; bad rows are added to ``bad``, and are an error at the end."""

    def convert(row: dict[str, Any], line: int, source: str) -> Conversation:
        prompt, response = to_demonstration(rename(row, config.columns))
        return prompt + response

    for stream in [read_rows_of(spec, convert) for spec in config.train]:
        for item in islice(stream, config.limit):
            if isinstance(item, BadRow):
                bad.append(item)
            else:
                yield item
    if len(bad) > config.max_bad:
        raise BadRowsError(bad, config.max_bad)
