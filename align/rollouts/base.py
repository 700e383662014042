"""The interface between the loop and a rollout engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from align.training.rollout import Rollout
from reward_models.data.trees import TokenIds
from reward_models.runtime.distributed import World


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Settings of sampling.

    Attributes:
        max_new_tokens: longest response in tokens, its end token included.
        temperature: 0 takes the likeliest token.
        top_p, top_k: sample from the likeliest tokens alone; 1 and 0 switch this off.
        samples: responses of each prompt.
        seeds: one per response, in the rollout's order. A response depends on its prompt, the weights and its own seed,
            and not on what it is sampled beside, nor on the number of ranks. Empty: as the engine likes.
        end_ids: a response ends with the first of these tokens, which belongs to it.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    samples: int = 1
    seeds: Sequence[int] = ()
    end_ids: Sequence[int] = ()


class RolloutEngine(Protocol):
    """Samples responses from the policy. Every rank has one, and every rank makes every call."""

    def sync_weights(self, step: int) -> None:
        """Take over the policy's weights after ``step`` updates."""

    def generate(self, prompts: Sequence[TokenIds], sampling: Sampling) -> Rollout:
        """``sampling.samples`` responses for each of this rank's prompts.

        Raises:
            ValueError: there is no prompt, or one is empty.
        """

    def shutdown(self) -> None:
        """Free what the engine holds outside of this process."""


class Lockstep:
    """Under ZeRO stage 3 every forward pass is a collective operation: all ranks must make equally many.

    Every rank asks :meth:`anyone` before each of its passes. A rank that has no more passes of its own makes dummy ones
    as long as :meth:`anyone` is true. In other stages nothing is communicated.
    """

    def __init__(self, model: torch.nn.Module, world: World) -> None:
        self._world = world
        self._needed = world.size > 1 and any(hasattr(p, "ds_id") for p in model.parameters())

    def anyone(self, working: bool) -> bool:
        """True if any rank is about to run the model."""
        if not self._needed:
            return working
        return bool(self._world.max(torch.tensor([float(working)])).item())


def check_prompts(prompts: Sequence[TokenIds]) -> None:
    """``ValueError`` if there is no prompt, or one is empty: nothing predicts its first token."""
    if not prompts or min(len(prompt) for prompt in prompts) == 0:
        raise ValueError("a rollout needs at least one prompt, and no prompt may be empty")
