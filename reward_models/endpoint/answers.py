"""Answers that were paid for, kept in a file that only grows, so that none is paid for twice."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO


class JudgeError(RuntimeError):
    """The judge cannot be used, or not any longer; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A judge model's reply.

    Attributes:
        finish_reason: the endpoint's word on why it ended there: ``stop``, ``length``, ….
        input_tokens, output_tokens: what the endpoint counted; ``None`` where it did not.
    """

    reply: str
    finish_reason: str | None
    input_tokens: int | None = None
    output_tokens: int | None = None

    @classmethod
    def of(cls, line: dict[str, Any]) -> Answer:
        """The answer in a line of the file; files of earlier versions have no numbers of tokens."""
        return cls(line["reply"], line["finish_reason"], line.get("input_tokens"), line.get("output_tokens"))


class AnswerFile:
    """Answers by key, one JSON object a line.

    Every answer is on the disk before the next is awaited. A kill can therefore cost the calls in flight, and at worst
    leaves half a line at the end, which is ignored and overwritten. Only keys and positions are held in memory.

    Raises:
        JudgeError: a line other than the last is not an answer.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[str, int] = {}
        self._end = 0
        self._read_places()

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __getitem__(self, key: str) -> Answer:
        with self.path.open("rb") as file:
            file.seek(self._places[key])
            return Answer.of(json.loads(file.readline()))

    def add(self, key: str, answer: Answer) -> Answer:
        """Keep an answer while other processes may add some too; it is on the disk when this returns.

        Returns:
            The answer of this key: an earlier one, if another process has added it meanwhile.
        """
        with self._open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._read_places()
            if key not in self:
                AnswerWriter(file, self._places, self._end).add(key, answer)
                self._read_places()
        return self[key]

    @contextmanager
    def writing(self) -> Iterator[AnswerWriter]:
        """A writer, while no other process may write.

        Raises:
            JudgeError: another process is writing.
        """
        with self._open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise JudgeError(
                    f"{self.path} is in use by another run; wait for it, or give this one its own"
                ) from None
            self._read_places()  # another run may have added some since
            yield AnswerWriter(file, self._places, self._end)

    def _open(self) -> BinaryIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)  # several processes may create it at once
        return os.fdopen(descriptor, "r+b")

    def _read_places(self) -> None:
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            file.seek(self._end)
            for content in file:
                if not content.endswith(b"\n"):
                    break
                try:
                    line = json.loads(content)
                    Answer.of(line)
                    self._places[line["key"]] = self._end
                except (ValueError, LookupError, TypeError) as error:
                    raise JudgeError(
                        f"{self.path}: byte {self._end} begins a line that is no answer ({type(error).__name__}); "
                        "take that line out, or name another file"
                    ) from None
                self._end += len(content)


class AnswerWriter:
    """Appends answers behind ``end``, where the last whole line ends; see :meth:`AnswerFile.writing`."""

    def __init__(self, file: BinaryIO, places: dict[str, int], end: int) -> None:
        self._file = file
        self._places = places
        file.truncate(end)
        file.seek(end)

    def add(self, key: str, answer: Answer) -> Answer:
        """Keep ``answer``: it is on the disk when this returns."""
        place = self._file.tell()
        self._file.write(json.dumps({"key": key, **asdict(answer)}).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._places[key] = place
        return answer
