"""A file of JSON lines that is written over a long time, and continued after a kill.

Beside the output lies a note, ``<output>.job.json``: the job that writes it, how much of the output is complete, and
what the writer has counted so far. Lines that a kill left without their place in the note are written again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any


class ResumeError(ValueError):
    """The output belongs to another job; the message says what differs and how to fix it."""


class ResumableLines:
    """JSON lines that are appended in chunks; a kill loses at most one chunk.

    Args:
        identity: all that the lines depend on; a call with another identity is refused. Its keys name the differences.
        content: the word for the lines, in the plural, for messages.
        overwrite: replace what is there.
        complete: adds to the identity of an earlier version what this version has besides.

    Attributes:
        rows: complete lines. ``size``: their bytes. ``facts``: what the writer keeps with them.

    Raises:
        ResumeError: the output is of another job, has no note, or is shorter than its note says.
    """

    def __init__(
        self,
        out: Path,
        identity: Mapping[str, Any],
        *,
        content: str,
        overwrite: bool,
        complete: Callable[[dict[str, Any]], dict[str, Any]] = lambda identity: identity,
    ) -> None:
        self.out, self._identity, self._content = out, json.loads(json.dumps(identity)), content
        self.rows, self.size, self.facts = 0, 0, dict[str, Any]()
        note = note_of(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        if overwrite or not out.exists() or (out.stat().st_size == 0 and not note.is_file()):
            self._write()  # before the output: killed in between, the same call starts again
            out.write_bytes(b"")
        else:
            before = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
            self._take_up(complete(before))
        self._file = out.open("r+b")
        self._file.truncate(self.size)
        self._file.seek(self.size)

    def append(self, lines: Iterable[Mapping[str, Any]], **facts: Any) -> None:
        """Write lines, and keep ``facts`` beside those kept before. Both are on disk when it returns."""
        texts = [json.dumps(line, ensure_ascii=False) + "\n" for line in lines]
        self._file.write("".join(texts).encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.rows, self.size = self.rows + len(texts), self._file.tell()
        self.facts |= facts
        self._write()

    def close(self) -> None:
        self._file.close()

    def _take_up(self, before: Mapping[str, Any]) -> None:
        differs = [key for key, value in self._identity.items() if before.get(key) != value]
        if differs or "facts" not in before:
            reason = f"{', '.join(differs)} differ" if differs else "it has no record of its progress"
            raise ResumeError(
                f"{self.out} holds {self._content} of another job ({reason}); name another file, or replace it with "
                "--overwrite"
            )
        self.rows, self.size, self.facts = int(before["rows"]), int(before["size"]), dict(before["facts"])
        if self.out.stat().st_size < self.size:
            raise ResumeError(
                f"{self.out} is shorter than the {self.rows} lines that were written; name another file, or replace "
                "it with --overwrite"
            )

    def _write(self) -> None:
        note = note_of(self.out)
        partial = note.with_name(f"{note.name}.partial")
        done = {"rows": self.rows, "size": self.size, "facts": self.facts}
        partial.write_text(json.dumps(self._identity | done, indent=1), encoding="utf-8")
        partial.replace(note)


def note_of(out: Path) -> Path:
    """The file beside ``out`` that holds the job and its progress."""
    return out.with_name(f"{out.name}.job.json")
