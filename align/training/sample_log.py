"""``samples.jsonl``: some responses of every rollout for people to read: of each domain some at random, the best and
the worst.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from align.rewards.mixer import Rewards
from align.rollouts.prompts import PromptSet
from align.rollouts.sampler import Sampler
from align.training.rollout import Rollout
from reward_models.runtime.metrics import JsonLines

Pick = Literal["random", "best", "worst"]


class SampleLog:
    """Appends to ``samples.jsonl`` in the run's directory. Only the main rank keeps one.

    Args:
        start_step: lines of rollouts that begin there or later are removed: a resumed run writes them again.
        count: responses of each rollout to prompts of each domain that are drawn at random; 0 writes none at all.
    """

    def __init__(self, directory: Path, start_step: int, count: int) -> None:
        self._lines, self._count = JsonLines(directory / "samples.jsonl", start_step - 1), count

    def back_to(self, step: int) -> None:
        """Remove the lines of rollouts after ``step`` updates: the run was rolled back there."""
        self._lines.back_to(step - 1)

    def write(
        self, step: int, phase: str, rollout: Rollout, rewards: Rewards, prompts: PromptSet, sampler: Sampler
    ) -> None:
        """Responses of the rollout that begins after ``step`` updates."""
        assert rollout.advantages_PG is not None
        advantages_N = rollout.advantages_PG.flatten()
        by_prompt = prompts.domains_of(rollout.prompt_P.numpy())
        domains = [domain for domain in by_prompt for _ in range(rollout.samples)]
        picks = picked(domains, rewards.reward_N, self._count, step)
        samples = sampler.samples_at(prompts, rollout, [row for row, _ in picks])
        for (row, pick), sample in zip(picks, samples, strict=True):
            extras = {name: known(values[row]) for name, values in rewards.extras.items()}
            line = {
                "step": step,
                "phase": phase,
                "domain": sample.domain,
                "pick": pick,
                "prompt": [m.to_dict() for m in sample.prompt],
                "response": sample.response,
                "answer": sample.answer,
                "tokens": sample.tokens,
                "finished": sample.finished,
                "terms": {name: known(values[row]) for name, values in rewards.raw.items()},
                "weighted": {name: known(values[row]) for name, values in rewards.weighted.items()},
                "reward": known(rewards.reward_N[row]),
                **({"extras": extras} if extras else {}),
                "advantage": float(advantages_N[row]),
            }
            self._lines.write(line)

    def close(self) -> None:
        self._lines.close()


def picked(domains: Sequence[str], reward_N: np.ndarray, count: int, seed: int) -> list[tuple[int, Pick]]:
    """The responses to write, and the reason for each; one may be picked twice.

    Of each domain ``count`` at random, then the one with the highest and the one with the lowest reward, where there is
    a difference. The result depends on the rollout alone, and not on the number of ranks.
    """
    found: list[tuple[int, Pick]] = []
    for place, domain in enumerate(sorted(set(domains)) if count else ()):
        members = np.array([number for number, each in enumerate(domains) if each == domain])
        draw = np.random.default_rng([seed, place]).choice(members, min(count, len(members)), replace=False)
        found += [(int(number), "random") for number in sorted(draw)]
        rewards = reward_N[members]
        scored, rewards = members[~np.isnan(rewards)], rewards[~np.isnan(rewards)]
        if len(scored) and rewards.max() > rewards.min():
            found += [(int(scored[rewards.argmax()]), "best"), (int(scored[rewards.argmin()]), "worst")]
    return found


def known(value: float) -> float | None:
    """``None`` for nan."""
    return None if math.isnan(value) else float(value)
