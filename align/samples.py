"""``samples.jsonl``: some responses of every rollout, to be read by people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from align.collect import Collected
from reward_models.runtime.metrics import JsonLines


class SampleLog:
    """Appends to ``samples.jsonl`` in the run's directory. Only the main rank keeps one.

    Args:
        start_step: lines of rollouts that begin there or later are removed: a resumed run writes them again.
        count: responses of each rollout, drawn at random.
    """

    def __init__(self, directory: Path, start_step: int, count: int) -> None:
        self._lines, self._count = JsonLines(directory / "samples.jsonl", start_step - 1), count

    def back_to(self, step: int) -> None:
        """Forget the lines of rollouts after ``step`` updates: the run has gone back there."""
        self._lines.back_to(step - 1)

    def write(self, step: int, phase: str, collected: Collected) -> None:
        """Responses of the rollout that begins after ``step`` updates."""
        samples, rewards = collected.samples, collected.rewards
        advantages = collected.experience.advantages_PG.flatten()
        count = min(self._count, len(samples))
        chosen = np.random.default_rng(step).choice(len(samples), count, replace=False)
        for number in sorted(chosen.tolist()):
            sample = samples[number]
            line = {
                "step": step,
                "phase": phase,
                "kind": sample.kind,
                "prompt": [{"role": m.role, "content": m.content} for m in sample.prompt],
                "response": sample.response,
                "answer": sample.answer,
                "tokens": sample.tokens,
                "finished": sample.finished,
                "terms": {name: known(values[number]) for name, values in rewards.raw.items()},
                "weighted": {name: known(values[number]) for name, values in rewards.weighted.items()},
                "reward": known(rewards.total_N[number]),
                "advantage": float(advantages[number]),
            }
            self._lines.write(line)

    def close(self) -> None:
        self._lines.close()


def known(value: torch.Tensor) -> float | None:
    """``None`` for nan."""
    return None if value.isnan() else float(value)
