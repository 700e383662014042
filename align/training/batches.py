"""The division of prompts among ranks and into micro-batches. Groups of samples stay together."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from align.training.rollout import Rollout, SampleSlice
from reward_models.backbone.pretrained import Layout
from reward_models.data.batching import plan_padded, plan_trees
from reward_models.runtime.distributed import World


def share_groups(sizes: Sequence[int], ranks: int) -> list[list[int]]:
    """Divide prompt groups among ranks: rank → places in ``sizes``, ascending, every group on exactly one rank.

    Largest first to the rank with the least so far, so that ranks have about equal work. A group is never divided: its
    samples share the computation of their prompt, and reward terms may compare them.

    Args:
        sizes: the work of each group, in tokens.
    """
    loads = [(0, rank) for rank in range(ranks)]
    shares: list[list[int]] = [[] for _ in range(ranks)]
    for place in sorted(range(len(sizes)), key=lambda place: (-sizes[place], place)):
        load, rank = heapq.heappop(loads)
        shares[rank].append(place)
        heapq.heappush(loads, (load + sizes[place], rank))
    return [sorted(share) for share in shares]


def plan_micro_batches(
    rollout: Rollout, prompts: Sequence[int] | range, layout: Layout, budget: int, world: World
) -> list[list[SampleSlice]]:
    """This rank's micro-batches over the prompts' samples; every rank has equally many, some may be empty.

    Args:
        budget: most tokens of a micro-batch.
    """
    slices = rollout.slices(prompts, budget, layout)
    sizes, ranks = [each.tokens for each in slices], world.data
    if layout == "tree":
        cut = plan_trees(sizes, budget, ranks.size)
    else:
        cut = plan_padded(sizes, 1, budget, ranks.size)
    return [[slices[i] for i in batch] for batch in cut[ranks.rank]]
