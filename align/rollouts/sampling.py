"""Drawing tokens, and recording them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from align.rollouts.base import Sampling
from align.training.rollout import Rollout, new_rollout
from reward_models.data.trees import TokenIds

BLOCK = 64  # random numbers drawn at a time for a sample


def draw_tokens(logits_NV: torch.Tensor, uniform_N: np.ndarray, sampling: Sampling) -> tuple[np.ndarray, np.ndarray]:
    """A token of every row by inversion of its distribution function, and its log-probability before any truncation.

    Args:
        logits_NV: float32. ``uniform_N``: a number in [0, 1) for each row, which alone decides what is drawn.
    """
    scaled = logits_NV if sampling.temperature in (0, 1) else logits_NV / sampling.temperature
    log_p = scaled.log_softmax(1)
    if sampling.temperature == 0:
        tokens = logits_NV.argmax(1)
    else:
        mass = _truncated(log_p.exp(), sampling).cumsum(1)
        total = mass[:, -1:].contiguous()
        tokens = torch.searchsorted(mass, torch.from_numpy(uniform_N).to(mass)[:, None] * total, right=True)
        # A number that rounds to 1 must not draw what comes after the last possible token.
        tokens = torch.minimum(tokens, torch.searchsorted(mass, total))[:, 0]
    return tokens.cpu().numpy(), log_p.gather(1, tokens[:, None])[:, 0].cpu().numpy()


def _truncated(p_NV: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Probabilities with those outside top-k and top-p (the likeliest token always stays) set to 0."""
    if sampling.top_k <= 0 and sampling.top_p >= 1:
        return p_NV
    ordered, index = p_NV.sort(dim=1, descending=True)
    drop = (ordered.cumsum(1) - ordered) >= sampling.top_p
    if sampling.top_k > 0:
        drop[:, sampling.top_k :] = True
    drop[:, 0] = False
    return p_NV.masked_fill(torch.zeros_like(drop).scatter_(1, index, drop), 0.0)


class Recorder:
    """Tokens and log-probabilities of samples that are drawn in any order, and their random numbers.

    Args:
        count: samples. A sample's numbers come from a generator seeded with its own seed.
    """

    def __init__(self, count: int, sampling: Sampling) -> None:
        if sampling.seeds and len(sampling.seeds) != count:
            raise ValueError(f"{len(sampling.seeds)} seeds for {count} samples")
        self.sampling, self.count = sampling, count
        fresh = np.random.SeedSequence().generate_state(count, np.uint64).tolist()
        self._generators = [np.random.Generator(np.random.Philox(key=int(s))) for s in (sampling.seeds or fresh)]
        self._blocks = np.zeros((count, BLOCK))
        self._drawn = np.zeros(count, np.int64)
        self._newest = np.zeros(count, np.int64)
        self._finished = np.zeros(count, bool)
        self._steps: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def uniform(self, samples: Sequence[int] | np.ndarray) -> np.ndarray:
        """The next number of each of these samples, in [0, 1)."""
        numbers = np.asarray(samples)
        place = self._drawn[numbers] % BLOCK
        for sample in numbers[place == 0].tolist():
            self._blocks[sample] = self._generators[sample].random(BLOCK)
        return self._blocks[numbers, place]

    def record(self, samples: Sequence[int] | np.ndarray, tokens: np.ndarray, logprobs: np.ndarray) -> np.ndarray:
        """Record one token of each of these samples; returns which of them go on."""
        numbers = np.asarray(samples)
        self._steps.append((numbers, tokens, logprobs))
        self._drawn[numbers] += 1
        self._newest[numbers] = tokens
        ended = np.isin(tokens, self.sampling.end_ids)
        self._finished[numbers] = ended
        return ~ended & (self._drawn[numbers] < self.sampling.max_new_tokens)

    def newest(self, sample: int) -> int:
        return int(self._newest[sample])

    def rollout(self, prompts: Sequence[TokenIds]) -> Rollout:
        """The rollout of these prompts, once all samples have ended."""
        numbers, tokens, logprobs = (np.concatenate(part) for part in zip(*self._steps, strict=True))
        order = np.argsort(numbers, kind="stable")
        group = self.sampling.samples
        return new_rollout(prompts, group, tokens[order], logprobs[order], self._drawn, self._finished)
