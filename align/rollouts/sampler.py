"""Prompts in, responses out, the same on every rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from deepspeed.runtime.rollout import RolloutEngine
from transformers import PreTrainedTokenizerBase

from align.rewards.terms import Sample
from align.rollouts.base import Rollout, Sampling, left_padded
from align.rollouts.prompts import PromptSet
from align.training.rollout import share_ragged
from reward_models.runtime.distributed import World


@dataclass(frozen=True, slots=True, eq=False)
class Responses:
    """Responses to some prompts, the same on every rank; see :class:`Experience` for the tensors.

    Attributes:
        items: which prompts of the set, one per group.
    """

    items: np.ndarray
    samples: int
    response_T: torch.Tensor
    length_N: torch.Tensor
    finished_N: torch.Tensor
    logprobs_T: torch.Tensor


class Sampler:
    """Answers prompts with the rollout engine, every rank its share."""

    def __init__(
        self, engine: RolloutEngine, tokenizer: PreTrainedTokenizerBase, end_ids: Sequence[int], world: World
    ) -> None:
        self.engine, self.tokenizer, self.end_ids, self.world = engine, tokenizer, tuple(end_ids), world

    def __call__(self, prompts: PromptSet, items: np.ndarray, sampling: Sampling, seed_key: Sequence[int]) -> Responses:
        """``sampling.n_samples_per_prompt`` responses for each of ``items``.

        Args:
            seed_key: with it and its own place, every response has a seed of its own, whatever rank samples it.
        """
        count, samples, rank, ranks = len(items), sampling.n_samples_per_prompt, self.world.rank, self.world.size
        seeds = (
            np.random.SeedSequence(list(seed_key)).generate_state(count * samples, np.uint64).reshape(count, samples)
        )
        mine = list(range(rank, count, ranks))
        asked = mine or [0]  # a rank without prompts samples one for company: engines may need all ranks
        request = left_padded([prompts.ids[items[p]] for p in asked], self._pad, self.world.device)
        ours = replace(sampling, seeds=[int(s) for p in asked for s in seeds[p]], end_ids=self.end_ids)
        rollout = self.engine.generate(request, ours)
        assert isinstance(rollout, Rollout)
        ids, logprobs = {}, {}
        finished = torch.zeros(count * samples, dtype=torch.uint8)
        for row, (tokens, values) in enumerate(rollout.responses() if mine else []):
            number = mine[row // samples] * samples + row % samples
            ids[number], logprobs[number] = tokens, values
            finished[number] = int(rollout.finished[row])
        response_T, length_N = share_ragged(ids, count * samples, torch.int64, self.world)
        logprobs_T, _ = share_ragged(logprobs, count * samples, torch.float32, self.world)
        return Responses(items, samples, response_T, length_N, self.world.sum(finished), logprobs_T)

    @property
    def _pad(self) -> int:
        return self.tokenizer.pad_token_id or 0

    def texts(self, responses: Responses) -> list[str]:
        parts = [part.tolist() for part in responses.response_T.split(responses.length_N.tolist())]
        return self.tokenizer.batch_decode(parts, skip_special_tokens=True)

    def as_samples(self, prompts: PromptSet, responses: Responses) -> list[Sample]:
        """The responses as reward terms see them."""
        samples = []
        for number, text in enumerate(self.texts(responses)):
            item = responses.items[number // responses.samples]
            record = prompts.records[item]
            samples.append(
                Sample(
                    prompt=record.prompt,
                    response=text,
                    domain=record.domain,
                    answer=record.answer,
                    language=record.language,
                    think_prefilled=prompts.prefilled[item],
                    tokens=int(responses.length_N[number]),
                    finished=bool(responses.finished_N[number]),
                    columns=record.columns,
                )
            )
        return samples
