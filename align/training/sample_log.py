"""``samples.jsonl``: some responses of every rollout, to be read by people: of each domain some at random, the
best and the worst.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from align.training.collect import Collected
from reward_models.runtime.metrics import JsonLines

Pick = Literal["random", "best", "worst"]


class SampleLog:
    """Appends to ``samples.jsonl`` in the run's directory. Only the main rank keeps one.

    Args:
        start_step: lines of rollouts that begin there or later are removed: a resumed run writes them again.
        count: responses of each rollout in each domain that are drawn at random; 0 writes none at all.
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
        for number, pick in picked([sample.domain for sample in samples], rewards.total_N, self._count, step):
            sample = samples[number]
            line = {
                "step": step,
                "phase": phase,
                "domain": sample.domain,
                "pick": pick,
                "prompt": [{"role": m.role, "content": m.content} for m in sample.prompt],
                "response": sample.response,
                "answer": sample.answer,
                "tokens": sample.tokens,
                "finished": sample.finished,
                "terms": {name: known(values[number]) for name, values in rewards.raw.items()},
                "weighted": {name: known(values[number]) for name, values in rewards.weighted.items()},
                "reward": known(rewards.total_N[number]),
                **({"beside": {k: known(v[number]) for k, v in rewards.beside.items()}} if rewards.beside else {}),
                "advantage": float(advantages[number]),
            }
            self._lines.write(line)

    def close(self) -> None:
        self._lines.close()


def picked(domains: Sequence[str], total_N: torch.Tensor, count: int, seed: int) -> list[tuple[int, Pick]]:
    """Which responses to write, and why; one may be picked twice.

    Of each domain ``count`` at random, then the one with the highest and the one with the lowest reward, where there is
    a difference. Every rank holds the same domains and rewards, so their number changes nothing.
    """
    found: list[tuple[int, Pick]] = []
    for place, domain in enumerate(sorted(set(domains)) if count else ()):
        members = np.array([number for number, each in enumerate(domains) if each == domain])
        draw = np.random.default_rng([seed, place]).choice(members, min(count, len(members)), replace=False)
        found += [(int(number), "random") for number in sorted(draw)]
        rewards = total_N.numpy()[members]
        scored, rewards = members[~np.isnan(rewards)], rewards[~np.isnan(rewards)]
        if len(scored) and rewards.max() > rewards.min():
            found += [(int(scored[rewards.argmax()]), "best"), (int(scored[rewards.argmin()]), "worst")]
    return found


def known(value: torch.Tensor) -> float | None:
    """``None`` for nan."""
    return None if value.isnan() else float(value)
