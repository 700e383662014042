"""``torchrun --nproc-per-node N --module align.evaluate --config FILE key=value …`` (also as one process)."""

from __future__ import annotations

from reward_models import threads  # noqa: F401 - before torch is loaded

# isort: split
import sys

from align.rewards.scoring import RewardFailure
from align.rewards.terms import TermError
from align.samples.config import EvaluateConfig
from align.samples.evaluate import evaluate_policy
from align.samples.evaluation_report import print_figures
from reward_models.runtime.config import load_config
from reward_models.runtime.program import exit_status, training_parser


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, sample and measure; returns the exit status."""
    example = "model.path=runs/policy prompts.train=[test.jsonl] out=runs/evaluation/samples.jsonl"
    parsed = training_parser("align.evaluate", __doc__, "sample_r1", example).parse_intermixed_args(arguments)
    config = load_config(EvaluateConfig, parsed.config, parsed.overrides)

    def run() -> None:
        if (figures := evaluate_policy(config)) is not None:
            print_figures(figures, config.out)

    return exit_status(run, TermError, RewardFailure)


if __name__ == "__main__":
    sys.exit(main())
