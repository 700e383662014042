"""Wall time of the parts of a training step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the work, when it was done (seconds since the epoch), and for which step (from 0).

    Attributes:
        where: the server that did it; empty for this process.
    """

    part: str
    began: float
    ended: float
    step: int
    where: str = ""

    def line(self) -> dict[str, object]:
        """The line for ``timeline.jsonl``, whose steps count from 1 as those of ``metrics.jsonl`` do."""
        place = {"where": self.where} if self.where else {}
        times = {"began": round(self.began, 4), "seconds": round(self.ended - self.began, 4)}
        return {"step": self.step + 1, "part": self.part, **times, **place}


class Timer:
    """Seconds since its creation, and of each named section of a step."""

    def __init__(self, step: int = 0) -> None:
        self._began, self._step = time.perf_counter(), step
        self.seconds: dict[str, float] = {}
        self.spans: list[Span] = []

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Add the time while it is open to the section ``name``."""
        began, clock = time.perf_counter(), time.time()
        yield
        seconds = time.perf_counter() - began
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        self.spans.append(Span(name, clock, clock + seconds, self._step))

    def metrics(self) -> dict[str, float]:
        """``seconds/SECTION`` of every section, and ``seconds/step``."""
        sections = {f"seconds/{name}": seconds for name, seconds in self.seconds.items()}
        return sections | {"seconds/step": time.perf_counter() - self._began}
