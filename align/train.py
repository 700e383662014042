"""``deepspeed --module align.train --config FILE key=value …`` (also under torchrun, or as one process)."""

from __future__ import annotations

import argparse
import os
import sys

from align.config import AlignConfig
from align.parts import GuardStop
from align.phases import changes
from align.rewards.terms import TermError
from align.scorer import RewardFailure
from align.trainer import train
from reward_models.runtime.checkpoint import CheckpointError
from reward_models.runtime.config import load_config
from reward_models.runtime.engine import NonFiniteError


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and train; returns the exit status."""
    parser = argparse.ArgumentParser(prog="align.train", description=__doc__)
    parser.add_argument("--config", help="YAML file, or the name of a preset, e.g. r1_zero")
    parser.add_argument("--local_rank", help=argparse.SUPPRESS)  # the deepspeed launcher adds it
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. engine.lr=1e-6 prompts.train=[a.jsonl]")
    parser.add_argument("--dry-run", action="store_true", help="print every change that the schedule makes, and leave")
    parsed = parser.parse_intermixed_args(arguments)
    try:
        config = load_config(AlignConfig, parsed.config, parsed.overrides)
        if parsed.dry_run:
            for step, change in changes(config):
                print(f"step {step:>6,}  {change}")
            return 0
        train(config)
    except (CheckpointError, GuardStop, NonFiniteError, RewardFailure, TermError, ValueError, OSError) as error:
        if os.environ.get("KEEL_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
