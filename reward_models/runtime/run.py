"""A run's directory, its signals, and what a person sees while it works."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from yaml import YAMLError

from reward_models.runtime.config import ConfigError
from reward_models.runtime.distributed import World

CONFIG_FILE = "config.yaml"
ONE_REQUEST = 1.0


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """Where a run keeps everything: resolved configuration, checkpoints, logs, and the result."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def begin(self, resolved: str, *, overwrite: bool, may_change: tuple[str, ...]) -> None:
        """Create the directory, or make sure that it holds this very run. For the main rank.

        Args:
            resolved: the configuration as YAML. ``may_change``: prefixes of keys that a resumed run may set
                differently, because they change how it is computed and not what.
            overwrite: throw away the run that is there.

        Raises:
            ConfigError: it holds a run with another configuration, or something that is not a run at all.
        """
        file, temporary = self.path / CONFIG_FILE, self.path / f".{CONFIG_FILE}.tmp"
        before = _read_config(file)
        if before is None and self.path.is_dir() and any(entry != temporary for entry in self.path.iterdir()):
            raise ConfigError(f"output_dir={self.path} is neither empty nor a run of ours; choose another")
        if before is not None and overwrite:
            shutil.rmtree(self.path)
        elif before is not None and (differs := self.differences(resolved, may_change)):
            raise ConfigError(
                f"{self.path} holds a run with another configuration ({'; '.join(differs[:5])}). Choose another "
                "output_dir, go back to its configuration to resume it, or set overwrite=true to delete it"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        temporary.write_text(resolved, encoding="utf-8")
        temporary.replace(file)  # a kill leaves the old one or the new one

    def differences(self, resolved: str, may_change: tuple[str, ...]) -> list[str]:
        """What the run that is here has otherwise than ``resolved``, key by key; nothing if there is none."""
        before = _read_config(self.path / CONFIG_FILE)
        return [] if before is None else _differences(before, OmegaConf.create(resolved), may_change)


def _read_config(file: Path) -> Any:
    """The configuration of the run that ``file`` belongs to; ``None`` if there is no such file or it is not ours."""
    try:
        config = OmegaConf.load(file)
    except (OSError, YAMLError):
        return None
    return config if isinstance(config, DictConfig) and "output_dir" in config else None


def _differences(old: Any, new: Any, may_change: tuple[str, ...]) -> list[str]:
    before, after = _flatten(OmegaConf.to_container(old)), _flatten(OmegaConf.to_container(new))
    return [
        f"{key}: {before.get(key)} there, {after.get(key)} here"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and not key.startswith(may_change)
    ]


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping) and value:
        return {k: v for key, inner in value.items() for k, v in _flatten(inner, f"{prefix}{key}.").items()}
    return {prefix.rstrip("."): value}


class StopSignal:
    """Turns the first Ctrl-C or SIGTERM into a flag, so that a run can save and leave; a second one stops at once.

    Signals within :data:`ONE_REQUEST` seconds of the first are part of it: a terminal sends Ctrl-C to every process,
    and a launcher then passes it on to its ranks once more.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._at = 0.0

    def __enter__(self) -> StopSignal:
        self._previous = {s: signal.signal(s, self._handle) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def anywhere(self, world: World) -> bool:
        """Whether any rank has received one; every rank must ask."""
        return bool(world.max(torch.tensor([float(self.received is not None)])).item())

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.received is None:
            self.received, self._at = signal.Signals(number).name, now
        elif now - self._at > ONE_REQUEST:
            os._exit(128 + number)


class Reporter:
    """Progress for people: a bar on a terminal, a line now and then in a log file. Silent on all ranks but one."""

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
        text = " ".join(f"{name} {value:,.4g}" for name, value in values.items())
        task = bar.tasks[0]
        bar.update(task.id, completed=step, values=text)
        last = step == task.total
        if not self.console.is_terminal and (step % self._every == 0 or last):
            left = f", {task.time_remaining:.0f} s left" if task.time_remaining else ""
            self.say(f"{task.description} {step}/{task.total:.0f}: {text}{left}")
