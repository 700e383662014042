"""The program of ``keel evaluate policy``: sample on every rank, measure on the main one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch.distributed

from align.samples.config import EvaluateConfig
from align.samples.evaluation import evaluate_samples
from align.samples.evaluation_report import files_of, write_policy_evaluation
from align.samples.rows import read_samples
from align.samples.sampling import sample


def evaluate_policy(config: EvaluateConfig) -> dict[str, Any] | None:
    """Sample, or continue, and measure the samples; every rank must call it.

    Returns the figures; ``None`` where a signal stopped it, and on all ranks but the main one.

    Raises:
        ValueError, ResumeError, RewardFailure: as :func:`align.samples.sampling.sample`.
        SourceError, BadRowsError: ``against`` cannot be read.
    """
    compared = read_samples(config.against) if config.against else []
    out = Path(config.out).parent
    done = sample(config.sampling, describing=files_of(out))
    if not done.complete or (torch.distributed.is_initialized() and torch.distributed.get_rank() > 0):
        return None
    return measure([config.out], config.against, out, compared)


def measure(
    samples: Sequence[str], against: Sequence[str], out: Path, compared: Sequence[Any] | None = None
) -> dict[str, Any]:
    """Measure the samples in files, and write ``evaluation.json`` and ``report.html`` into ``out``.

    Those of an earlier evaluation are deleted once the samples have been read: a kill leaves none of other samples.

    Args:
        compared: the groups of ``against``, where they have been read already.
    """
    if compared is None:
        compared = read_samples(against) if against else []
    groups = read_samples(samples)
    for file in files_of(out):
        file.unlink(missing_ok=True)
    figures = evaluate_samples(groups, compared) | {"files": list(samples), "against": list(against)}
    write_policy_evaluation(figures, groups, out)
    return figures
