"""Rows of a file of samples: written by ``keel sample``, read by the selection and the evaluation."""

from __future__ import annotations

from typing import Any

from align.rewards.mixer import Rewards, accuracy_of, as_list
from align.rollouts.prompts import PromptSet
from align.rollouts.sampler import Sampler
from align.training.rollout import Rollout
from reward_models.data.formats import to_row


def rows_of(prompts: PromptSet, rollout: Rollout, sampler: Sampler, rewards: Rewards | None) -> list[dict[str, Any]]:
    """A row per sample: the prompt's own row, the response, and the scores. Columns of the same name are replaced."""
    verdicts = as_list(accuracy_of(rewards)) if rewards is not None else [None] * len(rollout.length_N)
    raw = {name: as_list(values) for name, values in rewards.raw.items()} if rewards is not None else {}
    mixed = as_list(rewards.reward_N) if rewards is not None else [None] * len(rollout.length_N)
    rows = []
    for place, found in enumerate(sampler.samples(prompts, rollout)):
        record = prompts.records[int(rollout.prompt_P[place // rollout.samples])]
        rows.append(
            {
                **to_row(record),
                "sample": place % rollout.samples,
                "response": found.whole,
                "tokens": found.tokens,
                "finished": found.finished,
                "correct": verdicts[place],
                "scores": {name: values[place] for name, values in raw.items()},
                "reward": mixed[place],
            }
        )
    return rows
