"""The record of a rollout: prompts, sampled responses, and everything computed about them. Every rank holds all of it.

Shapes: ``P`` prompts, ``G`` samples of each, ``N`` = P · G responses (those of a prompt side by side), ``T`` tokens of
all responses, one after the other.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from reward_models.backbone.pretrained import Layout
from reward_models.data.trees import PromptTree, TokenIds
from reward_models.runtime.distributed import World


@dataclass(frozen=True, eq=False)
class Rollout:
    """Responses to some prompts. A rollout engine fills the first fields; the loop adds the others.

    The suffix of a field's name says along what it runs, and :meth:`select` and :func:`concat` go by it.

    Attributes:
        samples: G, responses of each prompt.
        prompt_P: int64, the place of each prompt in the prompt set that it was drawn from.
        prompt_T, prompt_length_P: int64, token ids of the prompts one after the other, and how many each has.
        response_T, length_N: int64, the same of the responses.
        finished_N: bool, true where the response ends with an end token; false where it was cut at its length limit.
        rollout_logprobs_T: float32, log-probability of each response token under the policy that sampled it, at the
            sampling temperature (at 1 for temperature 0) and before any top-k or top-p, as the rollout engine computed
            it; nan where the engine does not know it.
        old_logprobs_T: the same as the trainer computes it; ``None`` where a rollout feeds a single step, whose own
            log-probabilities are the old ones.
        reference_logprobs_T: under the reference model; ``None`` without one.
        rewards_PG: float64, nan where a sample could not be scored. ``advantages_PG``: 0 there.
    """

    samples: int
    prompt_P: torch.Tensor
    prompt_T: torch.Tensor
    prompt_length_P: torch.Tensor
    response_T: torch.Tensor
    length_N: torch.Tensor
    finished_N: torch.Tensor
    rollout_logprobs_T: torch.Tensor
    old_logprobs_T: torch.Tensor | None = None
    reference_logprobs_T: torch.Tensor | None = None
    rewards_PG: torch.Tensor | None = None
    advantages_PG: torch.Tensor | None = None

    def __len__(self) -> int:
        """P, the number of prompts."""
        return len(self.prompt_P)

    def select(self, prompts: Sequence[int]) -> Rollout:
        """The rollout of some of the prompts (places from 0 to P − 1, in any order) with all their samples."""
        rows = self.rows(prompts)

        def chosen(name: str, value: torch.Tensor) -> torch.Tensor:
            if name.endswith("_T"):
                slices, wanted = (self._prompt_slices, prompts) if name == "prompt_T" else (self._slices, rows)
                return torch.cat([value[:0], *(value[slices[place]] for place in wanted)])
            return value[rows] if name.endswith("_N") else value[list(prompts)]

        return self._replaced({name: chosen(name, value) for name, value in self._tensors().items()})

    def with_advantages(self, reward_N: np.ndarray, advantages_PG: torch.Tensor) -> Rollout:
        """The rollout with its rewards and advantages."""
        return replace(self, rewards_PG=torch.from_numpy(reward_N).view(-1, self.samples), advantages_PG=advantages_PG)

    def rows(self, prompts: Iterable[int]) -> list[int]:
        """The places, among the N responses, of these prompts' samples."""
        return [prompt * self.samples + sample for prompt in prompts for sample in range(self.samples)]

    def responses(self) -> list[tuple[TokenIds, np.ndarray]]:
        """Token ids (int32) and the engine's log-probabilities (float32) of each of the N responses."""
        ids, logprobs = self.response_T.numpy().astype(np.int32), self.rollout_logprobs_T.numpy()
        return [(ids[part], logprobs[part]) for part in self._slices]

    def group_tokens(self) -> list[int]:
        """Tokens of each prompt with all its responses, the prompt counted once."""
        return (self.prompt_length_P + self.length_N.view(-1, self.samples).sum(1)).tolist()

    def trees(self, slices: Sequence[SampleSlice]) -> list[PromptTree]:
        """The slices' prompts, each with the responses that its slice names."""
        prompts, responses = self.prompt_T.numpy(), self.response_T.numpy()
        return [
            PromptTree(
                prompts[self._prompt_slices[each.prompt]].astype(np.int32),
                tuple(responses[self._slices[sample]].astype(np.int32) for sample in each.samples),
            )
            for each in slices
        ]

    def of(self, values_T: torch.Tensor, slices: Sequence[SampleSlice]) -> torch.Tensor:
        """The parts of a ``_T`` tensor that belong to the slices' samples, one after the other."""
        return torch.cat([values_T[self._slices[sample]] for each in slices for sample in each.samples])

    def slices(self, prompts: Iterable[int], budget: int, layout: Layout) -> list[SampleSlice]:
        """The samples of each prompt together, cut where a prompt with all of them exceeds ``budget`` tokens.

        In the padded layout, where a prompt is computed once for each sample, every sample is a slice of its own.
        """
        found = []
        for prompt in prompts:
            head = int(self.prompt_length_P[prompt])
            members: list[int] = []
            tokens = head
            for sample in self.rows([prompt]):
                length = int(self.length_N[sample])
                if members and (layout == "padded" or tokens + length > budget):
                    found.append(SampleSlice(prompt, tuple(members), tokens))
                    members, tokens = [], head
                members.append(sample)
                tokens += length
            found.append(SampleSlice(prompt, tuple(members), tokens))
        return found

    def _replaced(self, values: dict[str, Any]) -> Rollout:
        return replace(self, **values)

    def _tensors(self) -> dict[str, torch.Tensor]:
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}

    @cached_property
    def _slices(self) -> list[slice]:
        return _slices_of(self.length_N)

    @cached_property
    def _prompt_slices(self) -> list[slice]:
        return _slices_of(self.prompt_length_P)


@dataclass(frozen=True, slots=True)
class SampleSlice:
    """One prompt with some of its samples: the unit that micro-batches are made of.

    Attributes:
        prompt: its place among the P prompts. ``samples``: places among the N responses.
        tokens: of the prompt and these samples together.
    """

    prompt: int
    samples: tuple[int, ...]
    tokens: int


def new_rollout(
    prompts: Sequence[TokenIds],
    samples: int,
    response_T: np.ndarray,
    logprobs_T: np.ndarray,
    length_N: np.ndarray,
    finished_N: np.ndarray,
) -> Rollout:
    """The rollout of a rollout engine, for prompts in the order given; see :class:`Rollout` for the shapes."""
    return Rollout(
        samples=samples,
        prompt_P=torch.arange(len(prompts)),
        prompt_T=torch.from_numpy(np.concatenate([np.asarray(prompt, np.int64) for prompt in prompts])),
        prompt_length_P=torch.tensor([len(prompt) for prompt in prompts]),
        response_T=torch.from_numpy(np.asarray(response_T, np.int64)),
        length_N=torch.from_numpy(np.asarray(length_N, np.int64)),
        finished_N=torch.from_numpy(np.asarray(finished_N, bool)),
        rollout_logprobs_T=torch.from_numpy(np.asarray(logprobs_T, np.float32)),
    )


def concat(rollouts: Sequence[Rollout]) -> Rollout:
    """Rollouts of equally many samples per prompt as one, in order.

    Raises:
        ValueError: they differ in the samples per prompt, or in the fields that are filled.
    """
    first = rollouts[0]
    names = first._tensors().keys()
    if any(each.samples != first.samples or each._tensors().keys() != names for each in rollouts):
        raise ValueError("rollouts that differ in samples per prompt or in filled fields cannot be put together")
    return first._replaced({name: torch.cat([getattr(each, name) for each in rollouts]) for name in names})


def _slices_of(length: torch.Tensor) -> list[slice]:
    """Slices of arrays of these lengths in their concatenation."""
    ends = length.cumsum(0).tolist()
    return [slice(end - n, end) for end, n in zip(ends, length.tolist(), strict=True)]


def save_rollout(rollout: Rollout, path: Path) -> None:
    """Write a safetensors file; a kill leaves the file that was there before, or the new one."""
    tensors = {name: value.contiguous() for name, value in rollout._tensors().items()}
    temporary = path.with_suffix(".tmp")
    save_file(tensors, temporary, {"samples": str(rollout.samples)})
    os.replace(temporary, path)


def load_rollout(path: Path) -> Rollout:
    """Inverse of :func:`save_rollout`."""
    tensors = load_file(path)
    return Rollout(samples=len(tensors["length_N"]) // len(tensors["prompt_P"]), **tensors)


def share_ragged(parts: dict[int, Any], count: int, dtype: torch.dtype, world: World) -> tuple[Any, Any]:
    """Bring together arrays that ranks hold apart: ``(flat, length)`` with ``count`` arrays one after the other.

    Args:
        parts: this rank's arrays by their number; every number from 0 to ``count`` − 1 is on exactly one rank.
    """
    length = torch.zeros(count, dtype=torch.int64)
    for number, array in parts.items():
        length[number] = len(array)
    world.sum(length)
    flat = torch.zeros(int(length.sum()), dtype=dtype)
    places = _slices_of(length)
    for number, array in parts.items():
        flat[places[number]] = torch.as_tensor(array, dtype=dtype)
    return world.sum(flat), length
