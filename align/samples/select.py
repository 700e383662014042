"""The program of ``keel data select``: read, select, write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from align.samples.filters import Contamination
from align.samples.judging import judged
from align.samples.rows import read_samples
from align.samples.selection import SelectConfig, select
from align.samples.selection_report import RANDOM, REPORT, TRAIN, write_selection
from reward_models.data.prepare import evaluation_prompts
from reward_models.runtime.config import dump_config
from reward_models.runtime.run import CONFIG_FILE

ANSWERS = "answers.jsonl"  # of a judge


def run_selection(config: SelectConfig) -> dict[str, Any]:
    """Select, and write the files; returns the report. It is a function of its input and begins anew after a kill.

    Raises:
        ValueError: there are no samples, or none is left.
        FileExistsError: ``out`` holds something else than a selection.
        TermError, JudgeError: the judge cannot be used, or failed.
    """
    if not config.samples:
        raise ValueError("samples is empty: name at least one file that keel sample has written")
    out = Path(config.out)
    if (out / TRAIN).exists() and not any((out / name).exists() for name in (RANDOM, CONFIG_FILE)):
        raise FileExistsError(f"{out} holds other data in train.jsonl; name another directory")
    groups = read_samples(config.samples)
    evaluation = Contamination(
        evaluation_prompts(config.against) if config.against else [], config.filters.contamination_words
    )
    out.mkdir(parents=True, exist_ok=True)
    verdicts = judged(config.judge, groups, str(out / ANSWERS))
    selection = select(config, verdicts.groups, evaluation, verdicts.asked)
    (out / REPORT).unlink(missing_ok=True)  # it is written last
    (out / CONFIG_FILE).write_text(dump_config(config), encoding="utf-8")
    # The costs are of this call, and no part of the report: the same command finds its answers in the file.
    return write_selection(config, selection, verdicts.counts) | {"judge_costs": verdicts.costs}
