"""What a rollout has gathered: responses, their log-probabilities and advantages. Every rank holds all of it.

Shapes: ``P`` prompts, ``G`` samples of each, ``N`` = P · G responses (those of a prompt side by side), ``T`` tokens of
all responses, one after the other.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from reward_models.backbone.pretrained import Layout
from reward_models.data.trees import PromptTree
from reward_models.runtime.distributed import World


@dataclass(frozen=True, eq=False)
class Experience:
    """One rollout.

    Attributes:
    prompt_P: which prompts of the training set. ``samples``: G.
    prompt_T, prompt_length_P: their token ids, one after the other. ``response_T``, ``length_N``: the responses'.
    finished_N: the policy ended the response itself.
    rollout_logprobs_T: under the policy that sampled, as the rollout engine computed them; nan where it cannot tell.
    old_logprobs_T: the same, as the trainer computes them; ``None`` where a rollout feeds a single step, whose own
        log-probabilities are the old ones.
    reference_logprobs_T: under the reference model; ``None`` without one.
    rewards_PG: float64, nan where nothing could score a sample. ``advantages_PG``: 0 there.
    """

    samples: int
    prompt_P: torch.Tensor
    prompt_T: torch.Tensor
    prompt_length_P: torch.Tensor
    response_T: torch.Tensor
    length_N: torch.Tensor
    finished_N: torch.Tensor
    rollout_logprobs_T: torch.Tensor
    rewards_PG: torch.Tensor
    advantages_PG: torch.Tensor
    old_logprobs_T: torch.Tensor | None = None
    reference_logprobs_T: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.prompt_P)

    def trees(self, pieces: Sequence[Piece]) -> list[PromptTree]:
        """The prompts with those of their samples that the pieces name."""
        prompts, responses = self.prompt_T.numpy(), self.response_T.numpy()
        heads, places = self._prompt_places, self._places
        return [
            PromptTree(
                prompts[heads[piece.prompt]].astype(np.int32),
                tuple(responses[places[sample]].astype(np.int32) for sample in piece.samples),
            )
            for piece in pieces
        ]

    def of(self, values_T: torch.Tensor, pieces: Sequence[Piece]) -> torch.Tensor:
        """The stretches of a ``_T`` tensor that belong to the pieces' samples, one after the other."""
        return torch.cat([values_T[self._places[sample]] for piece in pieces for sample in piece.samples])

    @cached_property
    def _places(self) -> list[slice]:
        return _stretches(self.length_N)

    @cached_property
    def _prompt_places(self) -> list[slice]:
        return _stretches(self.prompt_length_P)

    def pieces(self, prompts: Iterable[int], budget: int, layout: Layout) -> list[Piece]:
        """The prompts' samples, cut where a prompt with all of them is more than ``budget`` tokens.

        Where prompts are not shared, every sample is a piece of its own.
        """
        found = []
        for prompt in prompts:
            head = int(self.prompt_length_P[prompt])
            members: list[int] = []
            tokens = head
            for sample in range(prompt * self.samples, (prompt + 1) * self.samples):
                length = int(self.length_N[sample])
                if members and (layout == "padded" or tokens + length > budget):
                    found.append(Piece(prompt, tuple(members), tokens))
                    members, tokens = [], head
                members.append(sample)
                tokens += length
            found.append(Piece(prompt, tuple(members), tokens))
        return found


def _stretches(length: torch.Tensor) -> list[slice]:
    """Where arrays of these lengths stand, one after the other."""
    ends = length.cumsum(0).tolist()
    return [slice(end - n, end) for end, n in zip(ends, length.tolist(), strict=True)]


@dataclass(frozen=True, slots=True)
class Piece:
    """A prompt with some of its samples, by their numbers, and the tokens they are together."""

    prompt: int
    samples: tuple[int, ...]
    tokens: int


def save_experience(experience: Experience, path: Path) -> None:
    """As safetensors; a kill leaves the file that was there before, or the new one."""
    values = {f.name: getattr(experience, f.name) for f in fields(experience)}
    tensors = {name: v.contiguous() for name, v in values.items() if isinstance(v, torch.Tensor)}
    temporary = path.with_suffix(".tmp")
    save_file(tensors, temporary, {"samples": str(experience.samples)})
    os.replace(temporary, path)


def load_experience(path: Path) -> Experience:
    tensors = load_file(path)
    samples = len(tensors["length_N"]) // len(tensors["prompt_P"])
    return Experience(samples=samples, **tensors)


def share_ragged(parts: dict[int, np.ndarray], count: int, dtype: torch.dtype, world: World) -> tuple[Any, Any]:
    """Arrays that ranks hold apart, brought together: ``(flat, length)`` with ``count`` arrays one after the other.

    Args:
        parts: this rank's arrays by their number; every number from 0 to ``count`` − 1 is on exactly one rank.
    """
    length = torch.zeros(count, dtype=torch.int64)
    for number, array in parts.items():
        length[number] = len(array)
    world.sum(length)
    ends = length.cumsum(0).tolist()
    flat = torch.zeros(ends[-1], dtype=dtype)
    for number, array in parts.items():
        flat[ends[number] - len(array) : ends[number]] = torch.as_tensor(array, dtype=dtype)
    return world.sum(flat), length
