"""Rows out of files, one at a time, with the place where each stands. What cannot be read is a row too: a bad one."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that gave no record.

    Args:
        file: the file, or the data set's spec.
        line: 1-based; the line of a ``.jsonl`` file, the row elsewhere (a CSV's header does not count).
        reason: one line: what is wrong, under which key, and the way out. Never more than a few words of the contents.
        row: the row as read, the text of a line that is no JSON, or ``None`` where nothing could be read.
    """

    file: str
    line: int
    reason: str
    row: Any = None


Numbered = tuple[int, Any]


class _BrokenFileError(Exception):
    """The rest of a file cannot be read."""


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]] | BadRow]:
    """``(line, row)`` of every row in ``path``, a :class:`BadRow` for what is no row, and one where the file breaks."""
    name, line = str(path), 0
    try:
        for item in _READERS[data_suffix(path)](path):
            if isinstance(item, BadRow):
                line = item.line
                yield item
                continue
            line, row = item
            if isinstance(row, dict):
                yield line, row
            else:
                yield BadRow(name, line, f"the row is a {type(row).__name__}, not an object with named columns", row)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield BadRow(name, line + 1, f"the gzip stream breaks off after line {line} ({error}); copy the file again")
    except _BrokenFileError as error:
        yield BadRow(name, line + 1, f"unreadable after row {line}: {error}")


def data_suffix(path: Path) -> str:
    """``.jsonl``, ``.json``, ``.csv`` or ``.parquet``, compressed or not; empty for anything else."""
    suffixes = path.suffixes[:-1] if path.suffix == ".gz" else path.suffixes
    suffix = suffixes[-1] if suffixes else ""
    return suffix if suffix in _READERS and not (suffix == ".parquet" and path.suffix == ".gz") else ""


def stem(path: Path) -> str:
    """The file's name without the suffixes that say how to read it."""
    return path.name.removesuffix(".gz").removesuffix(data_suffix(path))


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _jsonl(path: Path) -> Iterator[Numbered | BadRow]:
    with _open(path) as lines:
        for line, content in enumerate(lines, start=1):
            content = content.rstrip(b"\r\n")
            if not content.strip():
                continue
            try:
                yield line, json.loads(content.decode("utf-8-sig" if line == 1 else "utf-8"))
            except (ValueError, RecursionError) as error:
                raw = content.decode(errors="backslashreplace")
                yield BadRow(str(path), line, _json_problem(error), raw)


def _json(path: Path) -> Iterator[Numbered | BadRow]:
    with _open(path) as stream:
        content = stream.read()
    try:
        rows = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else 1
        hint = "; a file of one object a line is named .jsonl" if "Extra data" in str(error) else ""
        yield BadRow(str(path), line, _json_problem(error) + hint)
        return
    if not isinstance(rows, list):
        yield BadRow(str(path), 1, f"the file holds a {type(rows).__name__}, not a list of rows")
        return
    yield from enumerate(rows, start=1)


def _json_problem(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 at byte {error.start}; save the file again as UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON at column {error.colno}: {error.msg}"
    return f"not JSON: {str(error)[:80]}"


def _csv(path: Path) -> Iterator[Numbered | BadRow]:
    csv.field_size_limit(2**31 - 1)  # the module's default refuses a long conversation
    # Bytes that are no UTF-8 pass as surrogates here and are refused, with their key, where the text is checked.
    with _open(path) as stream, io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="") as text:
        reader = csv.DictReader(text)
        try:
            for line, row in enumerate(reader, start=1):
                if None in row:
                    yield BadRow(str(path), line, "more cells than the header has; quote cells with commas", dict(row))
                else:
                    yield line, {key: None if cell == "" else cell for key, cell in row.items()}
        except csv.Error as error:
            raise _BrokenFileError(f"not CSV ({error})") from error


def _parquet(path: Path) -> Iterator[Numbered | BadRow]:
    import pyarrow
    from pyarrow import parquet

    line = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256):
                for index in range(batch.num_rows):
                    line += 1
                    try:
                        yield line, batch.slice(index, 1).to_pylist()[0]
                    except UnicodeDecodeError:
                        yield BadRow(str(path), line, "a text is not UTF-8; save the file again as UTF-8")
    except (pyarrow.ArrowException, OSError) as error:
        raise _BrokenFileError(f"not Parquet ({str(error)[:80]})") from error


_READERS: dict[str, Callable[[Path], Iterable[Numbered | BadRow]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}
SUFFIXES: tuple[str, ...] = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".parquet")
