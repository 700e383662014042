"""``deepspeed --module reward_models.train --config FILE key=value …`` (also under torchrun, or as one process)."""

from __future__ import annotations

from reward_models import threads  # noqa: F401 - before torch is loaded

# isort: split
import argparse
import sys


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and train; returns the exit status."""
    # Not at the top: the processes that tokenize import this module again, and need neither torch nor DeepSpeed.
    from reward_models.runtime.program import add_dry_run, exit_status, training_parser

    example = "engine.lr=1e-5 data.train=[a.jsonl]"
    parser = add_dry_run(training_parser("reward_models.train", __doc__, "helpful_r1", example), "the memory of a rank")
    parsed = parser.parse_intermixed_args(arguments)
    return exit_status(lambda: _run(parsed))


def _run(parsed: argparse.Namespace) -> None:
    from reward_models.config import RewardModelConfig
    from reward_models.planning.fit import train_or_plan
    from reward_models.trainer import MAY_CHANGE, train

    def longest(config: RewardModelConfig) -> int:
        sequences = 2 if config.task == "preference" and not config.attributes else 1
        return sequences * config.data.max_length

    train_or_plan(parsed, RewardModelConfig, train, MAY_CHANGE, longest=longest, scalar_head=True)


if __name__ == "__main__":
    sys.exit(main())
