"""Arrays in Arrow files, mapped into memory: what is not read takes no memory, and processes share what is.

A table has *flat* columns, such as token ids, of which every item has a slice, and one value or row of values per
item in its other columns. Flat columns are written in pieces, so that a table may be larger than memory; an item is
never divided among pieces.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow

Arrays = Mapping[str, np.ndarray]


class FlatWriter:
    """Writes flat columns piece by piece into a file, or into memory.

    Attributes:
        end: values of each column so far.
    """

    def __init__(self, path: Path | None, types: Mapping[str, type[Any]]) -> None:
        import pyarrow

        self._sink = pyarrow.BufferOutputStream() if path is None else pyarrow.OSFile(str(path), "wb")
        fields = [(name, pyarrow.from_numpy_dtype(np.dtype(of_type))) for name, of_type in types.items()]
        self._schema = pyarrow.schema(fields)
        self._file = pyarrow.ipc.new_file(self._sink, self._schema)
        self._memory, self.end = path is None, 0

    def add(self, columns: Arrays) -> None:
        """One more piece."""
        import pyarrow

        first, *others = columns.values()
        if any(len(other) != len(first) for other in others):
            raise ValueError("flat columns need as many values each")
        if len(first):
            arrays = [pyarrow.array(columns[field.name], field.type) for field in self._schema]
            self._file.write_batch(pyarrow.record_batch(arrays, schema=self._schema))
            self.end += len(first)

    def close(self) -> pyarrow.Buffer | None:
        """The content of a file in memory."""
        self._file.close()
        content = self._sink.getvalue() if self._memory else None
        self._sink.close()
        return content


class Flat:
    """The flat columns of a file."""

    def __init__(self, source: Path | pyarrow.Buffer) -> None:
        self._reader = _open(source)
        self._starts = np.zeros(self._reader.num_record_batches + 1, np.int64)
        self._pieces: list[dict[str, np.ndarray] | None] = [None] * self._reader.num_record_batches
        for number in range(len(self._pieces)):
            self._starts[number + 1] = self._starts[number] + self._reader.get_batch(number).num_rows

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, place: tuple[str, int, int]) -> np.ndarray:
        """A column's values from ``start`` to ``stop``, which lie in one piece; a view, which cannot be written."""
        name, start, stop = place
        if start == stop:
            return self._piece(0)[name][:0] if self._pieces else np.zeros(0, np.int32)
        number = int(np.searchsorted(self._starts, start, side="right")) - 1
        begin = int(self._starts[number])
        return self._piece(number)[name][start - begin : stop - begin]

    def pieces(self, name: str) -> Iterator[np.ndarray]:
        """A column, one piece after the other."""
        for number in range(len(self._pieces)):
            yield self._piece(number)[name]

    def _piece(self, number: int) -> dict[str, np.ndarray]:
        piece = self._pieces[number]
        if piece is None:
            batch = self._reader.get_batch(number)
            piece = {name: batch.column(name).to_numpy(zero_copy_only=True) for name in batch.schema.names}
            self._pieces[number] = piece
        return piece


class ItemColumns:
    """Columns of values per item, collected batch by batch and then written in one piece."""

    def __init__(self) -> None:
        self._parts: dict[str, list[np.ndarray]] = {}
        self._texts: dict[str, list[Any]] = {}

    def add(self, arrays: Arrays, texts: Mapping[str, Sequence[str]] | None = None) -> None:
        """One more batch: arrays ``[n]`` or ``[n, width]``, and columns of texts."""
        import pyarrow

        for name, array in arrays.items():
            if len(array):
                self._parts.setdefault(name, []).append(array)
        for name, column in (texts or {}).items():
            self._texts.setdefault(name, []).append(pyarrow.array(column, pyarrow.large_string()))

    def array(self, name: str) -> np.ndarray:
        """A column so far; ``[0]`` if there is nothing."""
        parts = self._parts.get(name)
        if parts is None:
            return np.zeros(0)
        self._parts[name] = [np.concatenate(parts)]
        return self._parts[name][0]

    def write(self, path: Path | None, more: Arrays) -> pyarrow.Buffer | None:
        """Write all columns and ``more``; the content of a file in memory."""
        import pyarrow

        columns: dict[str, Any] = {name: _to_arrow(self.array(name)) for name in self._parts}
        columns |= {name: _to_arrow(array) for name, array in more.items()}
        columns |= {name: pyarrow.concat_arrays(parts) for name, parts in self._texts.items()}
        batch = pyarrow.record_batch(list(columns.values()), names=list(columns))
        sink = pyarrow.BufferOutputStream() if path is None else pyarrow.OSFile(str(path), "wb")
        with pyarrow.ipc.new_file(sink, batch.schema) as file:
            file.write_batch(batch)
        content = sink.getvalue() if path is None else None
        sink.close()
        return content


class Items:
    """The columns that :class:`ItemColumns` wrote: arrays by name as views of the file, and texts."""

    def __init__(self, source: Path | pyarrow.Buffer) -> None:
        self._batch = _open(source).get_batch(0)

    def __contains__(self, name: str) -> bool:
        return name in self._batch.schema.names

    def array(self, name: str) -> np.ndarray:
        import pyarrow

        column = self._batch.column(name)
        if pyarrow.types.is_fixed_size_list(column.type):
            return np.asarray(column.values.to_numpy(zero_copy_only=True)).reshape(-1, column.type.list_size)
        return np.asarray(column.to_numpy(zero_copy_only=True))

    def texts(self, name: str) -> Texts:
        import pyarrow

        return Texts(self._batch.column(name) if name in self else pyarrow.array([], pyarrow.string()))


class Texts(Sequence[str]):
    """A column of texts, read one by one."""

    def __init__(self, column: Any) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        return self._column[int(place)].as_py()


def _to_arrow(array: np.ndarray) -> Any:
    import pyarrow

    if array.ndim == 1:
        return pyarrow.array(array)
    flat = pyarrow.array(np.ascontiguousarray(array).reshape(-1))
    return pyarrow.FixedSizeListArray.from_arrays(flat, array.shape[1])


def _open(source: Path | pyarrow.Buffer) -> Any:
    import pyarrow

    opened = pyarrow.memory_map(str(source)) if isinstance(source, Path) else pyarrow.BufferReader(source)
    return pyarrow.ipc.open_file(opened)


def hash_arrays(state: hashlib._Hash, *arrays: np.ndarray) -> None:
    """Add the bytes of arrays to a hash."""
    for array in arrays:
        state.update(np.ascontiguousarray(array).reshape(-1).data if array.size else b"")
