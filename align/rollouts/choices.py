"""The answers of vLLM's completions, read and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from align.rollouts.base import Sampling
from align.training.rollout import Rollout, new_rollout
from reward_models.data.trees import TokenIds


@dataclass(frozen=True, slots=True)
class Response:
    """One response as it came from the server: int32 ids and float32 log-probabilities."""

    ids: TokenIds
    logprobs: np.ndarray


def read_choices(
    choices: list[dict[str, Any]], prompt: Sequence[int], wanted: int, sampling: Sampling, vocabulary: int
) -> list[Response]:
    """The ``wanted`` responses in an answer of the server. ``ValueError`` if it answers something else."""
    if len(choices) != wanted:
        raise ValueError(f"{len(choices)} responses instead of {wanted}")
    known = sampling.temperature > 0 and sampling.top_p >= 1 and sampling.top_k <= 0
    found = []
    for choice in choices:
        response, details = choice["token_ids"], choice["logprobs"]
        if choice["prompt_token_ids"] != list(prompt):
            raise ValueError("the answer is to another prompt: does the server run the same model and tokenizer?")
        if details is None:
            raise ValueError("no log-probabilities, which were asked for")
        values = details["token_logprobs"]
        if not 1 <= len(response) <= sampling.max_new_tokens or len(values) != len(response):
            raise ValueError(
                f"a response of {len(response)} tokens with {len(values)} log-probabilities, where 1 to "
                f"{sampling.max_new_tokens} tokens were asked for"
            )
        if len(response) < sampling.max_new_tokens and response[-1] not in sampling.end_ids:
            raise ValueError(
                f"a response of {len(response)} tokens without an end token, where {sampling.max_new_tokens} were "
                "asked for: the server cuts responses short; start it with a larger --max-model-len"
            )
        if not all(0 <= token < vocabulary for token in response):
            raise ValueError(f"a token outside the vocabulary of {vocabulary}: does the server run another model?")
        if details["tokens"] != [f"token_id:{token}" for token in response]:
            raise ValueError("log-probabilities of other tokens than those of the response")
        unknown = [not known or value is None for value in values]
        found.append(Response(np.array(response, np.int32), np.where(unknown, np.nan, np.array(values, np.float32))))
    return found


def rollout_of(prompts: Sequence[TokenIds], groups: Sequence[Sequence[Response]], sampling: Sampling) -> Rollout:
    """The rollout of these prompts, each with a group of ``sampling.samples`` responses."""
    responses = [response for group in groups for response in group]
    return new_rollout(
        prompts,
        sampling.samples,
        np.concatenate([each.ids for each in responses]),
        np.concatenate([each.logprobs for each in responses]),
        np.array([len(each.ids) for each in responses]),
        np.array([int(each.ids[-1]) in sampling.end_ids for each in responses]),
    )
