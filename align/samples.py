"""``samples.jsonl``: some responses of every rollout, to be read by people."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from align.collect import Collected
from align.rewards.terms import Sample
from reward_models.runtime.metrics import rewind


class SampleLog:
    """Appends to ``samples.jsonl`` in the run's directory. Only the main rank keeps one.

    Args:
        start_step: lines of rollouts that begin there or later are removed: a resumed run writes them again.
        count: responses of each rollout, drawn at random.
    """

    def __init__(self, directory: Path, start_step: int, count: int) -> None:
        self._path, self._count = directory / "samples.jsonl", count
        rewind(self._path, start_step - 1)
        self._file = self._path.open("a", encoding="utf-8")

    def back_to(self, step: int) -> None:
        """Forget the lines of rollouts after ``step`` updates: the run has gone back there."""
        self._file.close()
        rewind(self._path, step - 1)
        self._file = self._path.open("a", encoding="utf-8")

    def write(self, step: int, phase: str, collected: Collected) -> None:
        """Responses of the rollout that begins after ``step`` updates."""
        samples, rewards = collected.samples, collected.rewards
        advantages = collected.experience.advantages_PG.flatten()
        count = min(self._count, len(samples))
        chosen = np.random.default_rng(step).choice(len(samples), count, replace=False)
        for number in sorted(chosen.tolist()):
            line = sample_line(samples[number]) | {
                "reward": known(rewards.total_N[number]),
                "terms": {name: known(values[number]) for name, values in rewards.raw.items()},
                "weighted": {name: known(values[number]) for name, values in rewards.weighted.items()},
                "advantage": float(advantages[number]),
            }
            self._file.write(json.dumps({"step": step, "phase": phase, **line}, ensure_ascii=False) + "\n")
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
