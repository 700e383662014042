"""Wall time of the parts of a training step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Timer:
    """Seconds since its creation, and of each named section."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Add the time while it is open to the section ``name``."""
        began = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    def metrics(self) -> dict[str, float]:
        """``seconds/SECTION`` of every section, and ``seconds/step``."""
        sections = {f"seconds/{name}": seconds for name, seconds in self.seconds.items()}
        return sections | {"seconds/step": time.perf_counter() - self._began}
