"""The command line that every training program has."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from reward_models.runtime.checkpoint import CheckpointError
from reward_models.runtime.distributed import lost_rank
from reward_models.runtime.engine import NonFiniteError


def training_parser(program: str, description: str | None, preset: str, example: str) -> argparse.ArgumentParser:
    """``--config FILE key=value …``; parse it with ``parse_intermixed_args``."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--config", help=f"YAML file, or the name of a preset, e.g. {preset}")
    parser.add_argument("--local_rank", help=argparse.SUPPRESS)  # the deepspeed launcher adds it
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=f"e.g. {example}")
    return parser


def add_dry_run(parser: argparse.ArgumentParser, prints: str) -> argparse.ArgumentParser:
    """``--dry-run`` for the programs that have one; ``prints`` is the content of its output."""
    parser.add_argument("--dry-run", action="store_true", help=f"print {prints}, and leave")
    return parser


def exit_status(run: Callable[[], object], *failures: type[Exception]) -> int:
    """0, or 1 where ``run`` fails in a way that a message tells all about; ``KEEL_TRACEBACK`` shows where.

    Args:
        failures: beside unusable settings, files and checkpoints, numbers that are not finite, and lost ranks.
    """
    expected: tuple[type[Exception], ...] = (CheckpointError, NonFiniteError, ValueError, OSError, *failures)
    try:
        run()
    except expected as error:
        if os.environ.get("KEEL_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        if os.environ.get("KEEL_TRACEBACK") or not lost_rank(error):
            raise
        print(
            f"error: another rank has ended or cannot be reached; its own messages say why. The same command resumes "
            f"the run from its last checkpoint. ({error})",
            file=sys.stderr,
        )
        return 1
    return 0
