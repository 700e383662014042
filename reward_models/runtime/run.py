"""A training run: its settings, directory, lock, seeds and signals."""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import platform
import random
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

import numpy as np
import torch
import yaml
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from reward_models.runtime import distributed
from reward_models.runtime.checkpoint import CheckpointError
from reward_models.runtime.config import (
    CONFIG_FILE,
    ConfigError,
    differing,
    dump_config,
    refusal,
    unknown_keys,
    with_defaults,
)
from reward_models.runtime.distributed import World
from reward_models.runtime.metrics import NullLog, RunLog, check_loggers
from reward_models.runtime.reporter import Reporter
from reward_models.runtime.training_config import RunConfig

LOCK_FILE = ".lock"  # held while a run works in the directory
BEGINNING = {CONFIG_FILE, LOCK_FILE, f".{CONFIG_FILE}.tmp"}  # files of a run that has not taken a step
ONE_REQUEST = 1.0  # seconds
SHARED_SECONDS = 15.0  # that a file of another machine may need to appear


@dataclass(frozen=True, slots=True)
class Run:
    """A run that has begun: this process's place in the job, its reporter, and the run's directory.

    Attributes:
        finished: the directory holds the finished result already; there is nothing to train.
        name: equal in all processes of this run, and new each time that it is started or resumed.
    """

    config: RunConfig
    world: World
    reporter: Reporter
    directory: RunDirectory
    finished: bool
    name: str

    @property
    def path(self) -> Path:
        return self.directory.path

    def open_log(self, start_step: int) -> RunLog | NullLog:
        """The metrics log on the main rank, a log that drops everything on the others.

        Args:
            start_step: the run goes on behind this step; lines of later steps are removed.
        """
        if not self.world.is_main:
            return NullLog()
        return RunLog(self.path, self.config.loggers, start_step, yaml.safe_load(dump_config(self.config)))


@contextmanager
def begin_run(
    config: RunConfig, *, may_change: tuple[str, ...], manifest: str, result: str, sequence_parallel: int = 1
) -> Iterator[Run]:
    """Join the job, and create the run's directory or open it again. The directory is locked until the block ends.

    Args:
        may_change: prefixes of the keys that a resumed run may set differently, see :meth:`RunDirectory.begin`.
        manifest: name of the file that is written last; a directory that holds it is finished.
        result: the word for what the run trains, for messages.
        sequence_parallel: see :func:`reward_models.runtime.distributed.start`.

    Raises:
        ValueError: a logger is not installed, or the ranks cannot be divided into sequence groups.
        ConfigError: the directory holds something else, or another process works in it.
    """
    check_loggers(config.loggers)
    world = distributed.start(config.timeout_seconds, sequence_parallel)
    reporter, directory = Reporter(world.is_main), RunDirectory(Path(config.output_dir))
    lock = None
    try:
        if world.is_main:  # where it refuses, the launcher ends the other ranks
            lock = directory.lock(reporter)
            directory.begin(dump_config(config), overwrite=config.overwrite, may_change=may_change, schema=type(config))
        world.barrier()
        check_shared(directory.path, world)
        finished = (directory.path / manifest).is_file()
        if finished:
            reporter.say(f"{directory.path} holds the finished {result} already; overwrite=true trains it anew")
        yield Run(config, world, reporter, directory, finished, f"{world.from_main(secrets.randbits(62)):016x}")
    finally:
        if lock is not None:
            lock.close()


def check_directory(config: RunConfig, may_change: tuple[str, ...]) -> None:
    """``ConfigError`` if :func:`begin_run` would refuse the directory as it is: for dry runs."""
    directory = RunDirectory(Path(config.output_dir))
    directory.check(dump_config(config), overwrite=config.overwrite, may_change=may_change, schema=type(config))


def check_shared(directory: Path, world: World) -> None:
    """Every rank must see what the main rank writes: a checkpoint is files of all ranks, which any rank may read.

    Raises:
        ConfigError: a rank does not, because its machine has another folder of the same name. Every rank raises it.
    """
    if world.size == 1:
        return
    number = world.from_main(secrets.randbits(62))
    mark = (
        directory / f".shared-{number}"
    )  # never looked for before, so that no network file system remembers its absence
    if world.is_main:
        mark.touch()
    world.barrier()
    end = time.monotonic() + SHARED_SECONDS
    while not (seen := mark.exists()) and time.monotonic() < end:
        time.sleep(0.1)
    blind_N = torch.zeros(world.size, dtype=torch.int64)
    blind_N[world.rank] = not seen
    blind = world.sum(blind_N).nonzero().flatten().tolist()
    if world.is_main:
        mark.unlink()
    if blind:
        raise ConfigError(
            f"output_dir: ranks {blind} do not see what the main rank writes to {directory}. It must be on a file "
            "system that all machines of the job share"
        )


def seed_everything(seed: int, step: int, rank: int) -> None:
    """Seed Python, NumPy and torch for one step of one rank.

    A step's random numbers depend on nothing else, so a resumed run draws the same as an uninterrupted one.
    """
    number = (seed * 1_000_003 + step) * 65_537 + rank
    random.seed(number)
    np.random.seed(number % 2**32)  # NumPy takes 32 bits
    torch.manual_seed(number)


def check_sources(checkpoint: Path, saved: object, now: object, what: str, changed: Sequence[str] = ()) -> None:
    """Raise :class:`CheckpointError` unless the fingerprint that a checkpoint was trained on is the one read now.

    Args:
        what: the word for the data, in the plural.
        changed: what differs, where it is known.
    """
    if saved != now:
        differs = f" ({'; '.join(changed)})" if changed else ""
        raise CheckpointError(
            f"{checkpoint} was trained on other {what}: the sources have changed since{differs}. Restore them, or "
            "start anew with another output_dir or overwrite=true"
        )


def package_versions(*more: str) -> dict[str, str]:
    """Versions of Python and of the packages that every run depends on, and of ``more``."""
    packages = ("keel-align", "torch", "transformers", "deepspeed", "peft", *more)
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in packages}}


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The directory of a run: resolved configuration, checkpoints, logs, and the result."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def begin(self, resolved: str, *, overwrite: bool, may_change: tuple[str, ...], schema: type | None = None) -> None:
        """Create the directory, or check that it holds this very run. For the main rank.

        Args:
            resolved: the configuration as YAML. ``may_change``: prefixes of keys that a resumed run may set
                differently, because they do not change its result. ``schema``: as for :meth:`differences`.
            overwrite: delete the run that is there.

        Raises:
            ConfigError: it holds a run with another configuration, or something that is not a run at all.
        """
        file, temporary = self.path / CONFIG_FILE, self.path / f".{CONFIG_FILE}.tmp"
        self.check(resolved, overwrite=overwrite, may_change=may_change, schema=schema)
        if overwrite and not self._has_not_begun() and _read_config(file) is not None:
            self._empty()
        self.path.mkdir(parents=True, exist_ok=True)
        temporary.write_text(resolved, encoding="utf-8")
        temporary.replace(file)  # a kill leaves the old one or the new one

    def check(self, resolved: str, *, overwrite: bool, may_change: tuple[str, ...], schema: type | None = None) -> None:
        """Refuse what :meth:`begin` refuses; nothing is written."""
        self._check_ours()
        if overwrite or not (differs := self.differences(resolved, may_change, schema)):
            return
        resume = self.cannot_be_resumed(schema) or "Go back to its configuration to resume it."
        raise ConfigError(
            f"{self.path} holds a run with another configuration ({'; '.join(differs[:5])}). {resume} To begin anew, "
            "choose another output_dir, or set overwrite=true to delete the run"
        )

    def cannot_be_resumed(self, schema: type | None) -> str:
        """A sentence about a run whose own configuration this version refuses; empty if it takes it."""
        before = _read_config(self.path / CONFIG_FILE)
        written: Any = OmegaConf.to_container(before) if before is not None else None
        if schema is None or written is None or not (reason := refusal(schema, written)):
            return ""
        return (
            f"This version cannot resume it, for it refuses its configuration: {reason}. The version that began it can."
        )

    def differences(self, resolved: str, may_change: tuple[str, ...], schema: type | None = None) -> list[str]:
        """The settings in which the run here differs from ``resolved``, a text each; empty if there is no run.

        Args:
            schema: dataclass of the configuration. A setting that the run here does not have, because an earlier
                version began it, has its default there. One that only the run here has is a difference.
        """
        before = None if self._has_not_begun() else _read_config(self.path / CONFIG_FILE)
        if before is None:
            return []
        written: Any = OmegaConf.to_container(before)
        here: Any = OmegaConf.to_container(OmegaConf.create(resolved))
        if schema is None:
            return differing(written, here, may_change)
        whole = with_defaults(schema, written)
        found = differing(whole, here, may_change, unknown_keys(schema, written))
        return found or (schema.changes_of_result(whole, here) if issubclass(schema, RunConfig) else [])

    def lock(self, reporter: Reporter) -> IO[str] | None:
        """Lock the directory for this process; close the returned file to unlock it. The lock ends with the process.

        Returns ``None`` where the file system has no locks, which the reporter says.

        Raises:
            ConfigError: another process holds the lock, or the directory is not a run of ours.
        """
        self._check_ours()
        self.path.mkdir(parents=True, exist_ok=True)
        file = (self.path / LOCK_FILE).open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            raise ConfigError(
                f"output_dir={self.path} is in use by {holder}; wait for its end, stop it, or choose another output_dir"
            ) from None
        except OSError as error:
            file.close()
            reporter.say(f"{self.path}: no lock ({error.strerror}); start no second run there")
            return None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        return file

    def _has_not_begun(self) -> bool:
        """True if a run left nothing but its configuration here: it failed before it wrote any result.

        Such a run is not resumed, so that the same directory takes the corrected configuration.
        """
        return {entry.name for entry in self.path.glob("*")} <= BEGINNING

    def _check_ours(self) -> None:
        """``ConfigError`` if the directory has no configuration of ours, and files that no beginning run leaves."""
        if _read_config(self.path / CONFIG_FILE) is None and self.path.is_dir():
            beginning = BEGINNING - {CONFIG_FILE}
            if any(entry.name not in beginning for entry in self.path.iterdir()):
                raise ConfigError(f"output_dir={self.path} is neither empty nor a run of ours; choose another")

    def _empty(self) -> None:
        """Delete everything but the lock. The configuration goes last: after a kill the rest is still a run of ours."""
        for entry in sorted(self.path.iterdir(), key=lambda entry: entry.name == CONFIG_FILE):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != LOCK_FILE:
                entry.unlink()


def _read_config(file: Path) -> Any:
    """The configuration of the run that ``file`` belongs to; ``None`` if there is no such file or it is not ours."""
    try:
        config = OmegaConf.load(file)
    except (OSError, YAMLError):
        return None
    return config if isinstance(config, DictConfig) and ("output_dir" in config or "out" in config) else None


class StopSignal:
    """Turns the first Ctrl-C or SIGTERM into a flag, so that a run can save and end; a second one stops at once.

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
        """True if any rank has received a signal; every rank must call this."""
        return bool(world.max(torch.tensor([float(self.received is not None)])).item())

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.received is None:
            self.received, self._at = signal.Signals(number).name, now
        elif now - self._at > ONE_REQUEST:
            os._exit(128 + number)
