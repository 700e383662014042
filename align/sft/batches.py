"""The demonstrations of each optimizer step, and their division into micro-batches by a token budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from reward_models.backbone.pretrained import Layout
from reward_models.data.batching import EpochSampler, MicroBatch, plan_padded, plan_trees
from reward_models.runtime.distributed import World


@dataclass(frozen=True, slots=True)
class DemonstrationSampler(EpochSampler):
    """Step number → demonstrations of that step, see :class:`EpochSampler`.

    Attributes:
        lengths: tokens of each demonstration.
    """

    lengths: np.ndarray

    def permutation(self, epoch: int) -> np.ndarray:
        """By torch's generator, as in all versions: a resumed run goes on in the order in which it began."""
        return _permutation(self.items, self.seed + epoch)

    def tokens_before(self, step: int) -> int:
        """Tokens of all demonstrations of the first ``step`` steps."""
        epoch, place = divmod(step, self.steps_per_epoch)
        begun = self.lengths[self.permutation(epoch)[: place * self.batch_size]]
        return int(epoch * self.lengths.sum() + begun.sum())


@lru_cache(maxsize=1)
def _permutation(items: int, seed: int) -> np.ndarray:
    return torch.randperm(items, generator=torch.Generator().manual_seed(seed)).numpy()


@dataclass(frozen=True, slots=True)
class Plan:
    """The micro-batches of a step.

    Attributes:
        mine: this rank's, as places among all demonstrations. Every rank has equally many; some may be empty.
        useful: share of the computed tokens that belong to demonstrations, over all ranks; the rest is padding.
        filled: demonstrations' tokens over the budgets of all micro-batches.
    """

    mine: list[MicroBatch]
    useful: float
    filled: float


def plan_step(items: np.ndarray, lengths: np.ndarray, layout: Layout, budget: int, world: World) -> Plan:
    """Divide the demonstrations of a step among ranks and micro-batches.

    Args:
        items: places of the step's demonstrations. ``lengths``: tokens of all demonstrations.
        budget: most tokens of a micro-batch, padding included; a longer demonstration is computed alone.
    """
    sizes, ranks = lengths[items], world.data
    if layout == "tree":
        cut = plan_trees(sizes, budget, ranks.size)
    else:
        cut = plan_padded(sizes, 1, budget, ranks.size)
    batches = [batch for rank in cut for batch in rank]
    computed = sum(_computed(sizes[batch], layout) for batch in batches)
    total = int(sizes.sum())
    mine = [[int(items[place]) for place in batch] for batch in cut[ranks.rank]]
    return Plan(mine, total / computed, total / (budget * len(batches)))


def _computed(sizes: Sequence[int] | np.ndarray, layout: Layout) -> int:
    """Tokens that a micro-batch of demonstrations of these sizes computes."""
    return int(sum(sizes)) if layout == "tree" else len(sizes) * int(max(sizes, default=0))
