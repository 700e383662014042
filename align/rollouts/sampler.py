"""Sampling over all ranks: prompts in, the same rollout on every rank out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from align.rewards.terms import Sample
from align.rollouts.base import RolloutEngine, Sampling
from align.rollouts.prompts import PromptSet
from align.training.batches import share_groups
from align.training.rollout import Rollout, new_rollout, share_ragged
from reward_models.runtime.distributed import World


def seeds_of(prompts: int, sampling: Sampling, seed_key: Sequence[int]) -> np.ndarray:
    """The seed of every response, uint64 ``[P, G]``: those of ``sampling``, or drawn from ``seed_key``."""
    count = prompts * sampling.samples
    drawn = sampling.seeds or np.random.SeedSequence(list(seed_key)).generate_state(count, np.uint64)
    return np.asarray(drawn, np.uint64).reshape(prompts, sampling.samples)


class Sampler:
    """Samples with the rollout engine; every rank takes whole prompts."""

    def __init__(
        self, engine: RolloutEngine, tokenizer: PreTrainedTokenizerBase, end_ids: Sequence[int], world: World
    ) -> None:
        self.engine, self.tokenizer, self.end_ids, self.world = engine, tokenizer, tuple(end_ids), world

    def __call__(
        self, prompts: PromptSet, items: np.ndarray, sampling: Sampling, seed_key: Sequence[int] = ()
    ) -> Rollout:
        """``sampling.samples`` responses for each of ``items``, int64 places of prompts in the set, shape ``[P]``.

        Args:
            seed_key: with it and its own place, every response has a seed of its own, whatever rank samples it;
                without effect where ``sampling`` has seeds, one per response of all ranks.
        """
        samples, ids = sampling.samples, [prompts.ids[item] for item in items]
        seeds = seeds_of(len(items), sampling, seed_key)
        # How long responses will be is not known: ranks get equally many prompts, and their lengths in balance.
        shares = share_groups([len(each) + sampling.max_new_tokens * samples for each in ids], self.world.size)
        mine = shares[self.world.rank]
        asked = mine or [0]  # a rank without prompts samples one dummy prompt: collectives need every rank
        ours = replace(sampling, seeds=[int(s) for p in asked for s in seeds[p]], end_ids=self.end_ids)
        sampled = self.engine.generate([ids[p] for p in asked], ours)
        if self.world.size > 1:
            sampled = self._gathered(sampled, mine, ids)
        return replace(sampled, prompt_P=torch.from_numpy(items.astype(np.int64)))

    def _gathered(self, sampled: Rollout, mine: Sequence[int], ids: Sequence[np.ndarray]) -> Rollout:
        """The rollout of all ranks' prompts, of which this rank has sampled ``mine``."""
        samples, count = sampled.samples, len(ids) * sampled.samples
        numbers = [prompt * samples + sample for prompt in mine for sample in range(samples)]
        parts = dict(zip(numbers, sampled.responses() if mine else [], strict=True))
        tokens = {number: response for number, (response, _) in parts.items()}
        logprobs = {number: values for number, (_, values) in parts.items()}
        response_T, length_N = share_ragged(tokens, count, torch.int64, self.world)
        logprobs_T, _ = share_ragged(logprobs, count, torch.float32, self.world)
        finished_N = torch.zeros(count, dtype=torch.uint8)
        if mine:
            finished_N[numbers] = sampled.finished_N.to(torch.uint8)
        self.world.sum(finished_N)
        return new_rollout(
            ids, samples, response_T.numpy(), logprobs_T.numpy(), length_N.numpy(), finished_N.bool().numpy()
        )

    def samples(self, prompts: PromptSet, rollout: Rollout, groups: Iterable[int] | None = None) -> list[Sample]:
        """The responses as reward terms see them, of the prompts ``groups`` (default: all) of the rollout, in order."""
        wanted = range(len(rollout)) if groups is None else list(groups)
        return self.samples_at(prompts, rollout, rollout.rows(wanted))

    def samples_at(self, prompts: PromptSet, rollout: Rollout, rows: Sequence[int]) -> list[Sample]:
        """The same for single responses, by their places among the N of the rollout."""
        responses = rollout.responses()
        texts = self.tokenizer.batch_decode([responses[row][0].tolist() for row in rows], skip_special_tokens=True)
        items = {int(rollout.prompt_P[row // rollout.samples]) for row in rows}
        records = {item: prompts.records[item] for item in items}  # read from a file once, not for every response
        found = []
        for row, text in zip(rows, texts, strict=True):
            group = row // rollout.samples
            item = int(rollout.prompt_P[group])
            record = records[item]
            found.append(
                Sample(
                    prompt=record.prompt,
                    response=text,
                    domain=record.domain,
                    answer=record.answer,
                    language=record.language,
                    think_prefilled=prompts.prefilled[item],
                    tokens=int(rollout.length_N[row]),
                    finished=bool(rollout.finished_N[row]),
                    group=group,
                    columns=record.columns,
                )
            )
        return found
