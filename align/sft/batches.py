"""The demonstrations of each optimizer step, and their division into micro-batches by a token budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from reward_models.backbone.pretrained import Layout
from reward_models.data.batching import MicroBatch, plan_padded, plan_trees
from reward_models.runtime.distributed import World


@dataclass(slots=True)
class Order:
    """Step number → demonstrations of that step: a seeded permutation per epoch; an epoch's last step may be smaller.

    It depends on nothing but these fields, so that a resumed run, or one with other ranks, sees the same steps.

    Attributes:
        lengths: tokens of each demonstration. ``batch_size``: demonstrations of a step, over all ranks.
    """

    lengths: np.ndarray
    batch_size: int
    seed: int
    _epochs: dict[int, np.ndarray] = field(default_factory=dict)  # the present one's permutation

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.lengths) / self.batch_size)

    def step(self, step: int) -> np.ndarray:
        """Places of the demonstrations of a 0-based step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        return self._permutation(epoch)[place * self.batch_size : (place + 1) * self.batch_size]

    def tokens_before(self, step: int) -> int:
        """Tokens of all demonstrations of the first ``step`` steps."""
        epoch, place = divmod(step, self.steps_per_epoch)
        begun = self.lengths[self._permutation(epoch)[: place * self.batch_size]]
        return int(epoch * self.lengths.sum() + begun.sum())

    def _permutation(self, epoch: int) -> np.ndarray:
        if epoch not in self._epochs:
            generator = torch.Generator().manual_seed(self.seed + epoch)
            self._epochs = {epoch: torch.randperm(len(self.lengths), generator=generator).numpy()}
        return self._epochs[epoch]


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
    sizes = lengths[items]
    if layout == "tree":
        cut = plan_trees(sizes, budget, world.size)
    else:
        cut = plan_padded(sizes, 1, budget, world.size)
    batches = [batch for rank in cut for batch in rank]
    computed = sum(_computed(sizes[batch], layout) for batch in batches)
    total = int(sizes.sum())
    mine = [[int(items[place]) for place in batch] for batch in cut[world.rank]]
    return Plan(mine, total / computed, total / (budget * len(batches)))


def _computed(sizes: Sequence[int] | np.ndarray, layout: Layout) -> int:
    """Tokens that a micro-batch of demonstrations of these sizes computes."""
    return int(sum(sizes)) if layout == "tree" else len(sizes) * int(max(sizes, default=0))
