"""The exit status and the message of expected errors, the same for every command."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from reward_models.extras import MissingExtraError, needs

# Expected errors that are neither a ValueError nor an OSError. They are looked up among the modules that are loaded
# when an error arrives: importing them with the command line would make `keel --help` slow.
EXPECTED = (
    ("align.rewards.scoring", "RewardFailure"),
    ("align.rewards.terms", "TermError"),
    ("align.rewards.verifiers.worker", "WorkerError"),
    ("align.rewards.verifiers.sandbox", "SandboxError"),
    ("align.run", "GuardStop"),
    ("reward_models.endpoint.answers", "JudgeError"),
    ("reward_models.runtime.checkpoint", "CheckpointError"),
    ("reward_models.runtime.engine", "NonFiniteError"),
)


class CommandFailed(Exception):
    """A command ends with a message and an exit status of its own."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


@contextmanager
def failures(extra: str = "train") -> Iterator[None]:
    """Turn an expected error into a message on standard error and an exit status.

    Args:
        extra: the extra that installs the packages of the command, named where one is missing.

    1: more bad rows than allowed, or another result that is a failure. 2: the command cannot work with what it was
    given. 130: Ctrl-C. An error that is not expected is a fault of the program and keeps its traceback; with
    ``KEEL_TRACEBACK`` in the environment every error does.
    """
    try:
        with needs(extra):
            yield
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(128 + signal.SIGINT) from None
    except Exception as error:
        if not isinstance(error, _expected()) or os.environ.get("KEEL_TRACEBACK"):
            raise
        typer.echo(str(error).replace("max_bad=", "--max-bad "), err=True)  # the name of the option
        raise typer.Exit(_status(error)) from None


def _expected() -> tuple[type[Exception], ...]:
    loaded = [getattr(sys.modules[module], name) for module, name in EXPECTED if module in sys.modules]
    return (CommandFailed, MissingExtraError, ValueError, OSError, *loaded)


def _status(error: Exception) -> int:
    from reward_models.data.sources import BadRowsError

    if isinstance(error, CommandFailed):
        return error.status
    return 1 if isinstance(error, BadRowsError) else 2
