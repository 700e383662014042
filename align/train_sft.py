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
    from reward_models.planning.fit import is_first_rank, training_lines
    from reward_models.runtime.config import load_config
    from reward_models.runtime.run import check_directory

    config = load_config(SftConfig, parsed.config, parsed.overrides)
    if not parsed.dry_run:
        train(config)
    elif is_first_rank():
        longest = max(config.max_tokens, config.data.max_length or 0)  # a longer conversation is computed alone
        for line in training_lines(config.engine, config.model, longest, scalar_head=False):
            print(line)
        check_directory(config, MAY_CHANGE)


if __name__ == "__main__":
    sys.exit(main())
