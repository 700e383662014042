"""Rewards for slime (0.3): a function for ``--custom-rm-path``.

    export KEEL_REWARD=configs/my_rewards.yaml     # or http://a:8000,http://b:8000
    python train.py --custom-rm-path align.bridges.slime.reward --group-rm ...

With ``--group-rm`` it is given the samples of a prompt together. One that cannot be scored then gets the mean of the
others, and is taken out of the loss; without it, it is an error, or worth what ``KEEL_UNSCORABLE`` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from align.bridges.conversion import as_sample, filled
from align.bridges.rewarder import a_number, fixed_step, rewarder_from_environment
from align.rewards.mixer import as_list
from align.rewards.terms import Sample


async def reward(args: Any, samples: Any, **kwargs: Any) -> float | list[float]:
    """The reward of a sample, or of each of a list of them."""
    if not isinstance(samples, Sequence):
        rewards = await rewarder_from_environment(knows_tokens=True).rewards([_sample(samples)], fixed_step())
        return a_number(as_list(rewards.reward_N)[0])
    rewarder = rewarder_from_environment(knows_tokens=True, knows_groups=True)
    rewards = await rewarder.rewards([replace(_sample(s), group=0) for s in samples], fixed_step())
    for sample, total in zip(samples, as_list(rewards.reward_N), strict=True):
        if total is None:
            sample.remove_sample = True
    totals = filled(as_list(rewards.reward_N), [str(sample.prompt) for sample in samples])
    return [a_number(total) for total in totals]


def _sample(sample: Any) -> Sample:
    """From slime's ``Sample``: the label is the reference answer, the metadata hold other columns of our prompts.

    A prompt that slime has rendered already is text. Then reward models need the messages: ``prompt`` in the metadata.
    """
    row = dict(sample.metadata or {})
    told = row.pop("prompt", None) if isinstance(sample.prompt, str) else sample.prompt
    if sample.label not in (None, ""):
        row["answer"] = sample.label
    return as_sample(
        told,
        sample.response,
        row,
        tokens=sample.response_length,
        finished=sample.status.value == "completed",
        think_prefilled=isinstance(sample.prompt, str) and sample.prompt.rstrip().endswith("<think>"),
    )
