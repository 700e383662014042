"""Progress of a run, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Reporter:
    """Progress messages: a bar on a terminal, a line every few steps in a log file. Only the main rank prints."""

    def __init__(self, is_main: bool) -> None:
        self.console = Console(stderr=True, quiet=not is_main, highlight=False)
        self._every = 1

    def say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)

    @contextmanager
    def progress(self, title: str, total: int, start: int, every: int) -> Iterator[Progress]:
        """A progress display; advance it with :meth:`step`."""
        self._every = every
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[values]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, disable=not self.console.is_terminal) as bar:
            bar.add_task(title, total=total, completed=start, values="")
            yield bar

    def step(self, bar: Progress, step: int, values: Mapping[str, float]) -> None:
        """``step`` updates have been made."""
        text = " ".join(f"{name} {value:,.{'0f' if abs(value) >= 1000 else '4g'}}" for name, value in values.items())
        task = bar.tasks[0]
        bar.update(task.id, completed=step, values=text)
        last = step == task.total
        if not self.console.is_terminal and (step % self._every == 0 or last):
            left = f", {task.time_remaining:.0f} s left" if task.time_remaining else ""
            self.say(f"{task.description} {step}/{task.total:.0f}: {text}{left}")
