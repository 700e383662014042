"""The progress of a project, for people: the report, which grows, and lines on the console."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from keel.pipeline.overview import figures_of
from keel.pipeline.stage import Stage

WRITE_SECONDS = 10.0  # the report is written so often while stages run, unless that takes long
SHARE = 20  # at least so many times the time that it takes lies between two writings
QUIET_SECONDS = 5.0  # without a line of any stage, after which a line says what is running; then twice that, and so on


@dataclass
class Outcome:
    """The status of a stage: ``not reached``, ``running``, ``finished``, ``finished before``, ``failed``, ``stopped``.

    Attributes:
        seconds: its time in all calls so far. ``began``: when its program was started, if it is running.
    """

    stage: Stage
    status: str = "not reached"
    seconds: float | None = None
    began: float | None = None

    def begin(self) -> None:
        self.status, self.began = "running", time.perf_counter()

    def end(self, status: str) -> float:
        """Returns the seconds of this call."""
        assert self.began is not None
        took = time.perf_counter() - self.began
        self.status, self.seconds, self.began = status, (self.seconds or 0.0) + took, None
        return took

    @property
    def seconds_so_far(self) -> float | None:
        if self.began is None:
            return self.seconds
        return (self.seconds or 0.0) + time.perf_counter() - self.began


Page = Callable[[Sequence[Outcome]], Path]  # writes the report, and returns its file


class Progress:
    """Writes the report again and again, and says what is running where the stages are silent.

    Args:
        page: writes the report. An error in it ends the run only at the end: a report is less than a model.
    """

    def __init__(self, page: Page, outcomes: Sequence[Outcome], console: Console) -> None:
        self.outcomes, self._page, self._console = outcomes, page, console
        self.file: Path | None = None  # the report, once it has been written
        self._due = self._quiet_since = time.monotonic()
        self._quiet = QUIET_SECONDS

    def finish(self) -> None:
        """Write the report for the last time."""
        self.file = self._page(self.outcomes)

    def write(self) -> None:
        """Write the report now."""
        began, first = time.monotonic(), self.file is None
        try:
            self.file = self._page(self.outcomes)
            if first:
                text = "shows how far the stages are; open it in a browser, which loads it again every few seconds"
                self._console.print(f"{self.file} {text}", soft_wrap=True)
        except Exception as error:  # whatever it is, the stages go on
            self._console.print(f"the report could not be written: {error}", markup=False, soft_wrap=True)
        now = time.monotonic()
        self._due = now + min(60.0, max(WRITE_SECONDS, SHARE * (now - began)))

    def tell(self, stage: Stage, text: str) -> None:
        """Print a line of a stage's output."""
        self._console.print(f"{stage.name} │ {text}", markup=False, soft_wrap=True)
        self._quiet_since, self._quiet = time.monotonic(), QUIET_SECONDS

    def pause(self) -> float:
        """Do what is due, and return the seconds until something is due again."""
        now = time.monotonic()
        if now >= self._due:
            self.write()
        if now >= self._quiet_since + self._quiet:
            running = [f"{o.stage.name} ({duration(o.seconds_so_far)})" for o in self.outcomes if o.began is not None]
            if running:
                self._console.print(f"running: {', '.join(running)}", markup=False, soft_wrap=True)
            self._quiet *= 2
        return max(0.05, min(self._due, self._quiet_since + self._quiet) - time.monotonic())

    def summary(self, title: str) -> None:
        """Print a table of the stages."""
        table = Table("stage", "status", "time", "figures", title=title)
        for outcome in self.outcomes:
            figures = "; ".join(f"{name} {value}" for name, value in figures_of(outcome.stage).items())
            table.add_row(outcome.stage.name, outcome.status, duration(outcome.seconds), figures)
        self._console.print(table)
        if self.file is not None:
            self._console.print(f"Report: {self.file}", soft_wrap=True)


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
