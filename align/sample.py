"""``torchrun --nproc-per-node N --module align.sample --config FILE key=value …`` (also as one process)."""

from __future__ import annotations

from reward_models import threads  # noqa: F401 - before torch is loaded

# isort: split
import sys

from align.rewards.scoring import RewardFailure
from align.rewards.terms import TermError
from align.samples.config import SampleConfig
from align.samples.sampling import sample
from reward_models.runtime.config import load_config
from reward_models.runtime.program import exit_status, training_parser


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and sample; returns the exit status."""
    example = "model.path=runs/policy prompts.train=[a.jsonl] out=samples.jsonl"
    parsed = training_parser("align.sample", __doc__, "sample_r1", example).parse_intermixed_args(arguments)
    config = load_config(SampleConfig, parsed.config, parsed.overrides)
    return exit_status(lambda: sample(config), TermError, RewardFailure)


if __name__ == "__main__":
    sys.exit(main())
