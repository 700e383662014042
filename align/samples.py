"""``samples.jsonl``: some responses of every rollout, to be read by people."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from align.collect import Scores
from align.rewards.terms import Sample
from reward_models.runtime.metrics import rewind


class SampleLog:
    """Appends to ``samples.jsonl`` in the run's directory. Only the main rank keeps one.

    Args:
        start_step: lines of later steps are removed: a resumed run writes them again.
        count: responses of each rollout, drawn at random.
    """

    def __init__(self, directory: Path, start_step: int, count: int) -> None:
        path = directory / "samples.jsonl"
        rewind(path, start_step)
        self._file, self._count = path.open("a", encoding="utf-8"), count

    def write(self, step: int, samples: Sequence[Sample], scores: Scores, advantages: Sequence[float]) -> None:
        """Responses of the rollout that begins after ``step`` updates."""
        count = min(self._count, len(samples))
        chosen = np.random.default_rng(step).choice(len(samples), count, replace=False)
        for number in sorted(chosen.tolist()):
            line = sample_line(samples[number]) | {
                "reward": known(scores.total_N[number]),
                "terms": {name: known(values[number]) for name, values in scores.raw.items()},
                "advantage": advantages[number],
            }
            self._file.write(json.dumps({"step": step, **line}, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def sample_line(sample: Sample) -> dict[str, Any]:
    return {
        "kind": sample.kind,
        "prompt": [{"role": m.role, "content": m.content} for m in sample.prompt],
        "response": sample.response,
        "answer": sample.answer,
        "tokens": sample.tokens,
        "finished": sample.finished,
    }


def known(value: Any) -> float | None:
    return None if math.isnan(value) else float(value)
