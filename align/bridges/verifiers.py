"""Rewards for verifiers (0.4): the mixture as a reward function of any environment.

    export KEEL_REWARD=configs/my_rewards.yaml     # or http://a:8000,http://b:8000
    vf-eval my-environment --env.taskset.task.rewards.keel.fn align.bridges.verifiers:reward ...

The fields of the environment's task data are the columns of our prompts: ``answer``, ``domain``, ``language``, …. Every
term's raw and weighted value is recorded as a metric. verifiers adds up all rewards of a task: those of the environment
itself get weight 0 (``--env.taskset.task.rewards.NAME.weight 0``), or the reward is their sum, which is logged once.

An error here fails the rollout; verifiers records it on the trace, which then has no reward.
"""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Mapping
from typing import Any

from align.bridges.conversion import as_sample
from align.bridges.rewarder import a_number, breakdown, fixed_step, rewarder_from_environment
from align.rewards.mixer import as_list
from align.rewards.terms import Sample

LOGGER = logging.getLogger(__name__)


async def reward(task: Any, trace: Any) -> float:
    """The reward of a finished rollout. verifiers fills the arguments by their names.

    Args:
        task: the ``TaskData`` of the rollout.
        trace: its ``Trace``: the last response is scored, and everything before it is the prompt.

    Raises:
        ValueError: the trace does not end with a response of the model.
        RewardFailure: there is no reward.
    """
    rewards = await rewarder_from_environment().rewards([_sample(task, trace)], fixed_step())
    values = {name: value for name, value in breakdown(rewards, 0).items() if value == value}
    trace.record_metrics({f"keel/{name}": value for name, value in values.items()})
    _tell_of_others(tuple(name for name in trace.rewards if name != "keel"))
    return a_number(as_list(rewards.reward_N)[0])


@functools.cache
def _tell_of_others(names: tuple[str, ...]) -> None:
    if names:
        LOGGER.warning(
            "verifiers adds the environment's own rewards to Keel's unless their weights are 0: %s", ", ".join(names)
        )


def _sample(task: Any, trace: Any) -> Sample:
    messages = [message.model_dump(exclude_none=True) for message in trace.messages]
    if not messages or messages[-1]["role"] != "assistant":
        raise ValueError("the trace does not end with a response of the model, so there is nothing to score")
    call = next((call for call in reversed(trace.calls) if call.error is None), None)
    return as_sample(
        [_plain(message) for message in messages[:-1]],
        _text(messages[-1]),
        _columns(task),
        tokens=call.usage.completion_tokens if call is not None and call.usage is not None else 0,
        finished=not trace.is_truncated,
    )


def _columns(task: Any) -> dict[str, Any]:
    """The fields that an environment adds to verifiers' own fields of a task."""
    own = importlib.import_module("verifiers.v1").TaskData.model_fields
    return {name: value for name, value in task.model_dump(exclude_none=True).items() if name not in own}


def _plain(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message before the response, as text of its role; earlier reasoning and the provider's own fields go."""
    return {name: value for name, value in message.items() if name not in ("reasoning_content", "provider_state")}


def _text(message: Mapping[str, Any]) -> str:
    """The response, with the reasoning that a server took out of it between its marks again."""
    text, reasoning = message.get("content") or "", message.get("reasoning_content")
    return f"<think>{reasoning}</think>{text}" if reasoning else text
