"""Rewards for OpenRLHF (0.11): this file is its ``reward_func.py``.

    export KEEL_REWARD=configs/my_rewards.yaml     # or http://a:8000,http://b:8000
    file=$(python -c "from importlib.util import find_spec; print(find_spec('align.bridges.openrlhf').origin)")
    python -m openrlhf.cli.train_ppo_ray --reward.remote_url $file ...

OpenRLHF calls it in threads, with one sample at a time. It knows texts only: the prompt as it was rendered, and a
label. A label is the reference answer, or a JSON object with columns of our own prompts, ``{"prompt": [messages],
"domain": …, "answer": …}``; reward models need the messages in it, for the rendered text cannot be taken apart again.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from align.bridges.conversion import as_sample
from align.bridges.rewarder import a_number, breakdown, fixed_step, rewarder_from_environment, run
from align.rewards.mixer import as_list
from align.rewards.terms import Sample

if TYPE_CHECKING:
    import torch

LOGGER = logging.getLogger(__name__)
# Special tokens at the end of a response, which OpenRLHF decodes with them.
_ENDS = re.compile(r"(?:\s*(?:<\|[^|<>]*\|>|<｜[^｜<>]*｜>|</s>|<eos>|<end_of_turn>|<pad>|\[PAD\]))+\s*$")


def reward_func(
    queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any], **kwargs: Any
) -> dict[str, torch.Tensor | dict[str, torch.Tensor]]:
    """One reward per query; ``scores`` are the same, for dynamic filtering; ``extra_logs`` are every term's values.

    Raises:
        RewardFailure: there is no reward. OpenRLHF logs that at level INFO and goes on without one until it misses it,
            so it is logged as an error here too.
    """
    import torch  # OpenRLHF wants tensors; other bridges read labels with this module's functions, and need none

    try:
        samples = [_sample(*each) for each in zip(queries, prompts, labels, strict=True)]
        rewards = run(rewarder_from_environment().rewards(samples, fixed_step()))
        totals = torch.tensor([a_number(total) for total in as_list(rewards.reward_N)])
    except Exception:
        LOGGER.exception("no reward for %d samples: OpenRLHF will go on, and stop with another message", len(queries))
        raise
    logs = [breakdown(rewards, place) for place in range(len(samples))]
    return {
        "rewards": totals,
        "scores": totals,
        "extra_logs": {name: torch.tensor([log[name] for log in logs]) for name in logs[0]} if logs else {},
    }


def _sample(query: str, prompt: str, label: Any) -> Sample:
    row = labelled(label)
    response, prefilled = response_of(query, prompt), prompt.rstrip().endswith("<think>")
    said = _ENDS.sub("", response)
    messages = row.pop("prompt", None)
    return as_sample(messages, said, row, finished=said != response, think_prefilled=prefilled)


def response_of(query: str, prompt: str) -> str:
    """The response: the part of the query after the prompt.

    The prompt went through the tokenizer, which may have put a BOS in front or cut its beginning off; so what is looked
    for is its end.

    Raises:
        ValueError: it is not there.
    """
    for size in (len(prompt), 200, 40):
        tail = prompt[-size:]
        if tail and (at := query.find(tail)) >= 0:
            return query[at + len(tail) :]
    raise ValueError(f"the query {query[:80]!r} does not hold the end of its prompt {prompt[-80:]!r}")


def labelled(label: Any) -> dict[str, Any]:
    """The columns that a label holds, or the reference answer that it is."""
    if isinstance(label, dict):
        return dict(label)
    if isinstance(label, str) and label.lstrip().startswith("{"):
        try:
            if isinstance(row := json.loads(label), dict) and row.keys() & {"prompt", "answer", "domain", "kind"}:
                return row
        except ValueError:
            pass  # an answer that begins with a brace
    return {"answer": label} if label not in (None, "") else {"domain": "reasoning"}
