"""Answers that were paid for, kept in a file that only grows, so that none is paid for twice."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from reward_models.data.curation.judging import JudgeError


@dataclass(frozen=True, slots=True)
class Answer:
    """A judge model's reply and the endpoint's word on why it ended there (``stop``, ``length``, …)."""

    reply: str
    finish_reason: str | None


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
            line = json.loads(file.readline())
        return Answer(line["reply"], line["finish_reason"])

    @contextmanager
    def writing(self) -> Iterator[AnswerWriter]:
        """A writer, while no other process may write.

        Raises:
            JudgeError: another process is writing.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("r+b" if self.path.exists() else "w+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise JudgeError(
                    f"{self.path} is in use by another run; wait for it, or give this one its own"
                ) from None
            self._read_places()  # another run may have added some since
            file.truncate(self._end)
            file.seek(self._end)
            yield AnswerWriter(file, self._places)

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
                    Answer(line["reply"], line["finish_reason"])
                    self._places[line["key"]] = self._end
                except (ValueError, LookupError, TypeError) as error:
                    raise JudgeError(
                        f"{self.path}: byte {self._end} begins a line that is no answer ({type(error).__name__}); "
                        "take that line out, or name another file"
                    ) from None
                self._end += len(content)


class AnswerWriter:
    """Appends answers; see :meth:`AnswerFile.writing`."""

    def __init__(self, file: BinaryIO, places: dict[str, int]) -> None:
        self._file = file
        self._places = places

    def add(self, key: str, answer: Answer) -> None:
        """Keep ``answer``: it is on the disk when this returns."""
        place = self._file.tell()
        self._file.write(json.dumps({"key": key, **asdict(answer)}).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._places[key] = place
