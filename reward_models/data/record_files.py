"""Records in Arrow files: written one after the other, read back a batch at a time.

The records of a data set are too many for memory. A file holds each as a line of JSON, in batches of :data:`BATCH`;
reading needs the memory of one batch. A compressed file is read in order; one that is not may be read in any order.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import hashlib
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, cast, overload

import numpy as np

from reward_models.data.records import Comparison, Conversation, Message, Prompt, Rated, RecordError, SafetyLabel

BATCH = 512  # records that are read, rendered and tokenized together
TIE = "tie"

R = TypeVar("R")
_TYPES: dict[str, type[Any]] = {
    "comparison": Comparison,
    "safety": SafetyLabel,
    "rated": Rated,
    "prompt": Prompt,
}
_CONVERSATIONS = ("prompt", "response", "response_a", "response_b")


def to_text(record: Any) -> str:
    """A comparison, a labelled or rated response, a prompt, or a conversation as one line of JSON.

    In a prompt's further columns, times, decimal numbers and UUIDs become text, bytes text in base 64, and numbers and
    arrays of NumPy those of Python.

    Raises:
        RecordError: a column holds something else that JSON has no type for.
    """
    if isinstance(record, tuple):
        return json.dumps([*_turns(record)])
    name = next(name for name, of_type in _TYPES.items() if type(record) is of_type)
    fields = {field: getattr(record, field) for field in record.__dataclass_fields__}
    row = {"": name} | {k: _turns(v) if k in _CONVERSATIONS else v for k, v in fields.items()}
    try:
        return json.dumps(row, default=_as_json)
    except (TypeError, ValueError) as error:
        raise RecordError(
            f"{record.id} of {record.source}: {error}. Leave the column out, or write it as text"
        ) from None


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime.date | datetime.time | datetime.timedelta | decimal.Decimal | uuid.UUID):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"a column holds {type(value).__name__}, for which JSON has no type")


def from_text(text: str) -> Any:
    """The record that :func:`to_text` wrote."""
    row = json.loads(text)
    if isinstance(row, list):
        return _conversation(row)
    made = _TYPES[row.pop("")]
    if "ratings" in row:
        row["ratings"] = tuple(row["ratings"])
    return made(**{k: _conversation(v) if k in _CONVERSATIONS else v for k, v in row.items()})


def _turns(conversation: Conversation) -> list[list[str]]:
    return [[m.role, m.content, m.extra] if m.extra else [m.role, m.content] for m in conversation]


def _conversation(turns: list[list[Any]]) -> Conversation:
    return tuple(Message(*turn) for turn in turns)


class RecordWriter(Generic[R]):
    """Writes the records that :meth:`add` is given; close it, or use it as a context.

    Args:
        compressed: a file that is read in any order is not: every reading would unpack a whole batch.

    Attributes:
        count: records so far. ``digest``: of all of them, once the writer is closed.
    """

    def __init__(self, path: Path, compressed: bool = True) -> None:
        import pyarrow

        self.count, self.digest = 0, ""
        self._schema = pyarrow.schema([("record", pyarrow.large_string()), ("tie", pyarrow.bool_())])
        options = pyarrow.ipc.IpcWriteOptions(compression="zstd" if compressed else None)
        self._file = pyarrow.ipc.new_file(str(path), self._schema, options=options)
        self._texts: list[str] = []
        self._ties: list[bool] = []
        self._state = hashlib.sha256()

    def __enter__(self) -> RecordWriter[R]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, record: R) -> None:
        self.add_text(to_text(record), getattr(record, "label", None) == TIE)

    def add_text(self, text: str, tie: bool) -> None:
        """A record out of another file, see :meth:`RecordFile.texts`."""
        self._state.update(text.encode() + b"\n")
        self._texts.append(text)
        self._ties.append(tie)
        self.count += 1
        if len(self._texts) == BATCH:
            self._write()

    def close(self) -> None:
        if self._texts:
            self._write()
        self._file.close()
        self.digest = self._state.hexdigest()[:24]

    def _write(self) -> None:
        import pyarrow

        self._file.write_batch(pyarrow.record_batch([self._texts, self._ties], schema=self._schema))
        self._texts, self._ties = [], []


class RecordFile(Sequence[R]):
    """The records of a file as a sequence, of which one batch at a time is in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader: Any = None
        self._last: tuple[int, Any] = (-1, None)  # a batch by its number; replaced whole, for threads
        whole = max(self.batches - 1, 0)  # every batch but the last is full
        self._count = BATCH * whole + (self._open().get_batch(whole).num_rows if self.batches else 0)

    def __reduce__(self) -> tuple[Callable[[Path], RecordFile[R]], tuple[Path]]:
        return (RecordFile, (self.path,))

    def _open(self) -> Any:
        if self._reader is None:
            import pyarrow

            self._reader = pyarrow.ipc.open_file(pyarrow.memory_map(str(self.path)))
        return self._reader

    @property
    def batches(self) -> int:
        """Number of batches."""
        return int(self._open().num_record_batches)

    def batch(self, number: int) -> list[R]:
        """The records of one batch."""
        return [from_text(text) for text in self._column(number).to_pylist()]

    def _column(self, number: int) -> Any:
        """The texts of a batch; those of the last one are kept, for records that are read in order."""
        last = self._last
        if number != last[0]:
            self._last = last = number, self._open().get_batch(number).column("record")
        return last[1]

    def texts(self) -> Iterator[tuple[str, bool]]:
        """Every record as it is written, and whether it is a tie."""
        for number in range(self.batches):
            batch = self._open().get_batch(number)
            yield from zip(batch.column("record").to_pylist(), batch.column("tie").to_pylist(), strict=True)

    def ties(self) -> np.ndarray:
        """For every record whether it is a tie, without reading the records."""
        import pyarrow

        options = pyarrow.ipc.IpcReadOptions(included_fields=[1])
        reader = pyarrow.ipc.open_file(pyarrow.memory_map(str(self.path)), options=options)
        columns = [reader.get_batch(n).column(0).to_numpy(zero_copy_only=False) for n in range(self.batches)]
        return np.concatenate([np.zeros(0, bool), *columns])

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[R]:
        for number in range(self.batches):
            yield from self.batch(number)

    @overload
    def __getitem__(self, place: int) -> R: ...
    @overload
    def __getitem__(self, place: slice) -> list[R]: ...
    def __getitem__(self, place: int | slice) -> R | list[R]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(f"record {place} of {len(self)}")
        number, within = divmod(place % len(self), BATCH)
        return cast(R, from_text(self._column(number)[within].as_py()))
