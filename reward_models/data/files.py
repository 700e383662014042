"""Rows out of files, one at a time, with the place where each stands. What cannot be read is a row too: a bad one."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

# A compressed file may unpack to so many times its size. Text shrinks to a fifth, repeated text to a fiftieth: a file
# that exceeds this was made to fill memory.
EXPANSION = 100
FREE = 256 * 2**20  # bytes that any file may unpack to
LINE_LIMIT = 256 * 2**20  # bytes of a line of JSON, or of a row of CSV
ROW_BYTES = 64  # counted for each row beside its contents, so that a file of a billion empty rows ends too
BATCH_BYTES = 2**26  # of a batch of Parquet rows, as far as the file's own figures tell


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that gave no record.

    Args:
        file: the file, or the data set's spec.
        line: 1-based; the line of a ``.jsonl`` file, the row elsewhere (a CSV's header does not count).
        reason: one line: what is wrong, under which key, and how to fix it. Never more than a few words of
            the contents.
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
                yield BadRow(name, line, f"the row is {_json_type(row)}, not an object with named columns", row)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield BadRow(name, line + 1, f"the gzip stream breaks off after line {line} ({error}); copy the file again")
    except _BrokenFileError as error:
        yield BadRow(name, line + 1, f"unreadable after row {line}: {error}" if line else str(error))


def _json_type(value: Any) -> str:
    names = {list: "a list", dict: "an object", str: "a text", type(None): "null", bool: "true or false"}
    return names.get(type(value), "a number")


def data_suffix(path: Path) -> str:
    """``.jsonl``, ``.json``, ``.csv`` or ``.parquet``, compressed or not; empty for anything else."""
    suffixes = path.suffixes[:-1] if path.suffix == ".gz" else path.suffixes
    suffix = suffixes[-1] if suffixes else ""
    return suffix if suffix in _READERS and not (suffix == ".parquet" and path.suffix == ".gz") else ""


def stem(path: Path) -> str:
    """The file's name without the suffixes that say how to read it."""
    return path.name.removesuffix(".gz").removesuffix(data_suffix(path))


def without_nulls(value: Any) -> Any:
    """``value`` less the null members of the objects inside its lists and objects.

    Arrow gives every object of a list the members of all of them, null where an object had none.
    """
    if isinstance(value, dict):
        return {key: without_nulls(member) for key, member in value.items() if member is not None}
    return [without_nulls(member) for member in value] if isinstance(value, list) else value


def arrow_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row of an Arrow table without the null members that Arrow added; a column that is null stays."""
    return {name: without_nulls(value) for name, value in row.items()}


# --- streams --------------------------------------------------------------------------------------------------------


def unpacked_limit(path: Path) -> int:
    """The most bytes that a compressed file may unpack to."""
    return FREE + EXPANSION * path.stat().st_size


class _Bounded(io.RawIOBase):
    """A decompressed stream that refuses to give more than the file's size allows."""

    def __init__(self, path: Path) -> None:
        self._stream = gzip.GzipFile(path)
        self._limit, self._read = unpacked_limit(path), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._stream.read1(len(buffer))  # read would lose what stands before a break
        self._read += len(content)
        if self._read > self._limit:
            raise _BrokenFileError(
                f"the file unpacks to more than {self._limit:,} bytes, over {EXPANSION} times its size; if that is "
                "right, unpack it first"
            )
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        self._stream.close()
        super().close()


# How files of other formats begin, and what to do about each.
MAGIC = {
    b"\x1f\x8b": "the file is compressed with gzip; add .gz to its name",
    b"PK\x03\x04": "the file is a zip archive; unpack it first",
    b"\x28\xb5\x2f\xfd": "the file is compressed with zstd; unpack it first",
    b"PAR1": "the file is Parquet; give it the ending .parquet",
}


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        start = file.read(4)
    if path.suffix == ".gz":
        if start and not start.startswith(b"\x1f\x8b"):
            raise _BrokenFileError("the file is not compressed with gzip; take .gz off its name")
        stream: Any = io.BufferedReader(_Bounded(path), buffer_size=2**20)
    else:
        if problem := next((text for magic, text in MAGIC.items() if start.startswith(magic)), None):
            raise _BrokenFileError(problem)
        stream = path.open("rb")
    if stream.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff"):
        stream.close()
        raise _BrokenFileError("the file is UTF-16; save it again as UTF-8")
    return cast(BinaryIO, stream)


# --- JSON -----------------------------------------------------------------------------------------------------------


def _jsonl(path: Path) -> Iterator[Numbered | BadRow]:
    with _open(path) as lines:
        for line, content in enumerate(iter(lambda: lines.readline(LINE_LIMIT), b""), start=1):
            if len(content) == LINE_LIMIT:
                raise _BrokenFileError(f"line {line} is longer than {LINE_LIMIT:,} bytes; leave it out")
            content = content.rstrip(b"\r\n")
            if not content.strip():
                continue
            if line == 1 and content.removeprefix(b"\xef\xbb\xbf").strip() in (b"{", b"["):
                raise _BrokenFileError("a row must stand on one line; a list of rows over several lines is named .json")
            try:
                yield line, _loads(content.decode("utf-8-sig" if line == 1 else "utf-8"))
            except (ValueError, RecursionError) as error:
                raw = content.decode(errors="backslashreplace")
                yield BadRow(str(path), line, _line_problem(error, raw), raw)


def _json(path: Path) -> Iterator[Numbered | BadRow]:
    with _open(path) as stream:
        content = stream.read()
    try:
        rows = _loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else 1
        hint = "; a file of one object a line is named .jsonl" if "Extra data" in str(error) else ""
        yield BadRow(str(path), line, _json_problem(error) + hint)
        return
    if not isinstance(rows, list):
        lists = [key for key, value in rows.items() if isinstance(value, list)] if isinstance(rows, dict) else []
        hint = f"; write the list under {lists[0][:60]!r} into a file of its own" if len(lists) == 1 else ""
        yield BadRow(str(path), 1, f"the file holds {_json_type(rows)}, not a list of rows{hint}")
        return
    yield from enumerate(rows, start=1)


class _RepeatedKeyError(ValueError):
    """An object has a key twice: Python would keep the last value without a word."""


def _loads(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise _RepeatedKeyError(f"the key {twice[:60]!r} is there twice; keep the right one")
    return row


def _json_problem(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 at byte {error.start}; save the file again as UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON at column {error.colno}: {error.msg}"
    return str(error) if isinstance(error, _RepeatedKeyError) else f"not JSON: {str(error)[:80]}"


def _line_problem(error: Exception, line: str) -> str:
    """The cause that a line is no JSON; commas between the rows are the usual one."""
    if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data" and line[error.pos :].strip() == ",":
        return "not JSON: a comma stands behind the row; take it out, or write a list of rows into a .json file"
    return _json_problem(error)


# --- CSV ------------------------------------------------------------------------------------------------------------


def _csv(path: Path) -> Iterator[Numbered | BadRow]:
    csv.field_size_limit(LINE_LIMIT)  # the module's default refuses a long conversation
    # Bytes that are no UTF-8 pass as surrogates here and are refused, with their key, where the text is checked.
    with _open(path) as stream, io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="") as text:
        reader = csv.reader(text, strict=True)  # strict: a quote that is not closed is an error, not a cell
        starts = 1
        try:
            header = next(reader, [])
            if twice := [name for name, count in Counter(header).items() if count > 1]:
                raise _BrokenFileError(f"the header names {twice[0]!r} twice; rename one of the columns")
            if len(header) == 1 and (sign := next((c for c in ";\t|" if c in header[0]), "")):
                name = {";": "semicolons", "\t": "tabs"}.get(sign, f"{sign!r}")
                raise _BrokenFileError(f"the cells are separated by {name}; save the file again with commas")
            line = 0
            starts = reader.line_num + 1
            for cells in reader:
                starts = reader.line_num + 1
                if not cells:
                    continue  # an empty line
                line += 1
                row = {name: cell or None for name, cell in zip(header, cells, strict=False)}
                if len(cells) > len(header):
                    yield BadRow(str(path), line, "more cells than the header has; quote cells with commas", row)
                elif len(cells) < len(header):
                    yield BadRow(str(path), line, "fewer cells than the header has; write empty cells too", row)
                else:
                    yield line, row
        except csv.Error as error:
            hint = "; a quote that opens there is not closed" if "unexpected end" in str(error) else ""
            raise _BrokenFileError(f"not CSV from line {starts} of the file on ({error}){hint}") from error


# --- Parquet --------------------------------------------------------------------------------------------------------


def _parquet(path: Path) -> Iterator[Numbered | BadRow]:
    import pyarrow
    from pyarrow import parquet

    line = 0
    limit = unpacked_limit(path)
    try:
        with parquet.ParquetFile(path) as file:
            unpacked = 0
            for encoded in file.iter_batches(batch_size=_batch_size(file.metadata, limit)):
                batch = _without_dictionaries(encoded)
                unpacked += batch.nbytes + ROW_BYTES * batch.num_rows
                if unpacked > limit:
                    raise _BrokenFileError(
                        f"the file unpacks to more than {limit:,} bytes, over {EXPANSION} times its size; if that is "
                        "right, write it again as .jsonl"
                    )
                for index in range(batch.num_rows):
                    line += 1
                    try:
                        yield line, arrow_row(batch.slice(index, 1).to_pylist()[0])
                    except UnicodeDecodeError:
                        yield BadRow(str(path), line, "a text is not UTF-8; save the file again as UTF-8")
    except (pyarrow.ArrowException, OSError) as error:
        raise _BrokenFileError(f"not Parquet ({str(error)[:80]})") from error


def _without_dictionaries(batch: Any) -> Any:
    """The batch with every text written out, so that its size is what its rows will take."""
    import pyarrow

    columns = [c.dictionary_decode() if pyarrow.types.is_dictionary(c.type) else c for c in batch.columns]
    return pyarrow.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _batch_size(metadata: Any, limit: int) -> int:
    """Rows that are read together: fewer where a single cell may be large, for a cell may be as large as its column."""
    sizes = [
        metadata.row_group(group).column(column).total_uncompressed_size
        for group in range(metadata.num_row_groups)
        for column in range(metadata.row_group(group).num_columns)
    ]
    if sum(sizes) > limit:
        raise _BrokenFileError(
            f"the file says that it unpacks to {sum(sizes):,} bytes, over {EXPANSION} times its size; "
            "if that is right, write it again as .jsonl"
        )
    return min(256, max(1, BATCH_BYTES // max([1, *sizes])))


_READERS: dict[str, Callable[[Path], Iterable[Numbered | BadRow]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}
SUFFIXES: tuple[str, ...] = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".parquet")
