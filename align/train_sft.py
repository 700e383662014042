"""``deepspeed --module align.train_sft --config FILE key=value …`` (also under torchrun, or as one process)."""

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
    parser = add_dry_run(training_parser("align.train_sft", __doc__, "sft_r1", example), "the memory of a rank")
    parsed = parser.parse_intermixed_args(arguments)
    return exit_status(lambda: _run(parsed))


def _run(parsed: argparse.Namespace) -> None:
    from align.sft.trainer import MAY_CHANGE, SftConfig, train
    from reward_models.planning.fit import train_or_plan

    def longest(config: SftConfig) -> int:
        return config.data.max_length or 0

    train_or_plan(parsed, SftConfig, train, MAY_CHANGE, longest=longest, scalar_head=False)


if __name__ == "__main__":
    sys.exit(main())
