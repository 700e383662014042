"""Metrics that carry their own reduction, and the log they end up in."""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from reward_models.runtime.distributed import World

Logger = Literal["tensorboard", "wandb", "trackio"]


class Metrics:
    """Metrics of one step, gathered over micro-batches and ranks.

    Means carry their count, so ragged micro-batches weigh as much as they hold. Every rank declares the same names, for
    a rank that had nothing to report must still take part in the reduction.
    """

    def __init__(self, means: Sequence[str], maxima: Sequence[str] = ()) -> None:
        self._means = {name: [0.0, 0.0] for name in means}
        self._maxima = dict.fromkeys(maxima, -math.inf)

    def add(self, name: str, values: torch.Tensor) -> None:
        """Add every element of ``values`` to the mean ``name``."""
        entry = self._means[name]
        entry[0] += float(values.detach().double().sum())
        entry[1] += values.numel()

    def add_sum(self, name: str, total: torch.Tensor, count: float) -> None:
        """Add to the mean ``name`` what is a sum over ``count`` things already."""
        entry = self._means[name]
        entry[0] += float(total.detach().double().sum())
        entry[1] += count

    def max(self, name: str, value: float) -> None:
        self._maxima[name] = max(self._maxima[name], value)

    def reduce(self, world: World) -> dict[str, float]:
        """The values over all ranks; a mean over nothing is left out."""
        sums = torch.tensor([x for entry in self._means.values() for x in entry], dtype=torch.float64)
        world.sum(sums)
        result = {}
        for name, (total, count) in zip(self._means, sums.view(-1, 2).tolist(), strict=True):
            if count:
                result[name] = total / count
        if self._maxima:
            maxima = world.max(torch.tensor(list(self._maxima.values()), dtype=torch.float64))
            result |= {n: v for n, v in zip(self._maxima, maxima.tolist(), strict=True) if v > -math.inf}
        return result


class JsonLines:
    """A JSONL file that a run appends to; every line has a ``step``. Only the main rank keeps one.

    Args:
        start_step: lines of later steps are removed: a resumed run writes them again.
    """

    def __init__(self, path: Path, start_step: int) -> None:
        self.path = path
        rewind(path, start_step)
        self._file = path.open("a", encoding="utf-8")

    def write(self, *lines: Mapping[str, Any]) -> None:
        self._file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        self._file.flush()

    def back_to(self, step: int) -> None:
        """Forget the lines of later steps: the run has gone back there."""
        self._file.close()
        rewind(self.path, step)
        self._file = self.path.open("a", encoding="utf-8")

    def close(self) -> None:
        self._file.close()


class RunLog:
    """``metrics.jsonl`` and, if asked for, TensorBoard, W&B or trackio. Only the main rank keeps one.

    Args:
        directory: the run directory.
        start_step: lines of later steps are removed: a resumed run writes them again.
    """

    def __init__(self, directory: Path, loggers: Sequence[Logger], start_step: int, config: Mapping[str, Any]) -> None:
        self._lines = JsonLines(directory / "metrics.jsonl", start_step)
        self._writer: Any = None
        self._trackers: list[Any] = []
        for name in loggers:
            if name == "tensorboard":
                from torch.utils.tensorboard import SummaryWriter

                self._writer = SummaryWriter(str(directory / "tensorboard"), purge_step=start_step + 1)
            else:
                module = importlib.import_module(name)
                module.init(project="keel", name=directory.name, config=dict(config), resume="allow")
                self._trackers.append(module)

    def write(self, step: int, values: Mapping[str, float], **tags: Any) -> None:
        """One line: ``step`` updates have been made. ``tags`` go into the line only."""
        self._lines.write({"step": step, **tags, **values})
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)
        for tracker in self._trackers:
            tracker.log(dict(values), step=step)

    def back_to(self, step: int) -> None:
        """Forget the lines of later steps: the run has gone back there."""
        self._lines.back_to(step)

    def close(self) -> None:
        self._lines.close()
        if self._writer is not None:
            self._writer.close()
        for tracker in self._trackers:
            tracker.finish()


class NullLog:
    """The log of the ranks that write none: it takes the calls of every log and drops them."""

    def write(self, *values: Any, **tags: Any) -> None:
        """Do nothing."""

    def back_to(self, step: int) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def check_loggers(loggers: Sequence[Logger]) -> None:
    """Fail before anything expensive if a logger that was asked for is not installed."""
    for name in loggers:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:  # no origin: a mere folder of that name, as wandb leaves them
            raise ValueError(f"loggers: {name} is not installed; pip install {name}, or take it out of the list")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a ``metrics.jsonl``; a last line cut short by a kill is left out."""
    return [line for line, _ in _lines(path)]


def rewind(path: Path, step: int) -> None:
    """Remove the lines of later steps from a JSONL file, if there is one; the others stay as they are."""
    if path.is_file():
        kept = [text for line, text in _lines(path) if line["step"] <= step]
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(f"{text}\n" for text in kept), encoding="utf-8")
        temporary.replace(path)


def _lines(path: Path) -> list[tuple[dict[str, Any], str]]:
    """Each line, read and as it stands, up to one that a kill has cut short."""
    found = []
    # Not splitlines(): a text in JSON may hold other characters that it takes for the end of a line.
    for text in path.read_text(encoding="utf-8").split("\n") if path.is_file() else []:
        if not text:
            continue
        try:
            found.append((json.loads(text), text))
        except json.JSONDecodeError:
            break
    return found
