"""``deepspeed --module align.train_sft --config FILE key=value …`` (also under torchrun, or as one process)."""

from __future__ import annotations

from reward_models import threads  # noqa: F401 - before torch is loaded

# isort: split
import sys


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and train; returns the exit status."""
    # Not at the top: the processes that tokenize import this module again, and need neither torch nor DeepSpeed.
    from align.sft.trainer import SftConfig, train
    from reward_models.runtime.config import load_config
    from reward_models.runtime.program import exit_status, training_parser

    example = "engine.lr=1e-5 data.train=[a.jsonl]"
    parsed = training_parser("align.train_sft", __doc__, "sft_r1", example).parse_intermixed_args(arguments)
    return exit_status(lambda: train(load_config(SftConfig, parsed.config, parsed.overrides)))


if __name__ == "__main__":
    sys.exit(main())
