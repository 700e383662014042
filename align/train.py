"""``deepspeed --module align.train --config FILE key=value …`` (also under torchrun, or as one process)."""

from __future__ import annotations

from reward_models import threads  # noqa: F401 - before torch is loaded

# isort: split
import argparse
import sys

from align.best import sentence_before
from align.config import AlignConfig
from align.foreign import foreign_code
from align.objective.config import describe
from align.planning.dry_run import check_run, idle_weights, memory_of_run, unwatched
from align.rewards.build import check_required, check_terms
from align.rewards.scoring import RewardFailure
from align.rewards.terms import TermError
from align.run import MAY_CHANGE, GuardStop
from align.starting_model import check_path, missing_model
from align.timetable import changes, engines_of, shortened
from align.trainer import train
from align.training.silence import NoSignalError
from reward_models.planning.fit import is_first_rank
from reward_models.runtime.config import ConfigError, load_config
from reward_models.runtime.program import add_dry_run, exit_status, training_parser
from reward_models.runtime.run import check_directory
from reward_models.start import absent_files, check_start


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and train; returns the exit status."""
    parser = training_parser("align.train", __doc__, "r1_zero", "engine.lr=1e-6 prompts.train=[a.jsonl]")
    add_dry_run(parser, "every change that the schedule makes and the memory of a rank")
    parser.add_argument("--shorten-to", type=int, metavar="STEPS", help="the whole schedule in so many steps")
    parsed = parser.parse_intermixed_args(arguments)
    return exit_status(lambda: _run(parsed), GuardStop, NoSignalError, RewardFailure, TermError)


def _run(parsed: argparse.Namespace) -> None:
    config = load_config(AlignConfig, parsed.config, parsed.overrides)
    if parsed.shorten_to is not None:
        config = shortened(config, parsed.shorten_to)
    if parsed.dry_run and not is_first_rank():
        return
    if parsed.dry_run:
        for line in foreign_code(config):
            print(line)
    check_terms(config.rewards, foreign=not parsed.dry_run)
    check_required(config.rewards)
    missing = missing_model(config.model.path)
    if not parsed.dry_run:
        if missing is not None:
            raise ConfigError(missing)
        train(config)
        return
    check_start(config, config.engine, config.prompts.train, "prompts.train")
    check_path(config.model.path)
    check_run(config)
    if missing is not None:
        print(f"warning: {missing}")
    for line in absent_files({"prompts.train": config.prompts.train, "evaluation.data": config.evaluation.data}):
        print(line)
    for sentence in engines_of(config):
        print(sentence)
    for line in describe(config.loss, config.rollout.engine):
        print(line)
    if config.keep_best is not None:
        print(sentence_before(config.keep_best, config.evaluation.every))
    for line in (*unwatched(config), *idle_weights(config)):
        print(line)
    for step, change in changes(config):
        print(f"step {step:>6,}  {change}")
    for line in memory_of_run(config):
        print(line)
    check_directory(config, MAY_CHANGE)


if __name__ == "__main__":
    sys.exit(main())
