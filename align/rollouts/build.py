"""The rollout engine that the configuration names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from align.policy.policy import Policy
from align.rollouts.base import RolloutEngine
from align.rollouts.colocated import ColocatedRollout
from align.rollouts.config import RolloutConfig
from align.rollouts.local import LocalRollout
from align.rollouts.plain import PlainRollout
from align.rollouts.vllm import VllmRollout
from reward_models.runtime.distributed import World

ADAPTERS = "rollout_adapters"  # a folder in the run's directory


def build_rollout(
    config: RolloutConfig,
    policy: Policy,
    tokenizer: PreTrainedTokenizerBase,
    world: World,
    say: Callable[[str], None] = print,
    folder: Path = Path(),
    max_tokens: int = 0,
) -> RolloutEngine:
    """The rollout engine over a policy, which may be in training and partitioned over the ranks.

    Args:
        say: reports what happens to servers.
        folder: of the run, where adapters are put for servers to read.
        max_tokens: of the longest prompt with a whole response.
    """
    if config.engine == "vllm":
        return VllmRollout(
            policy.model,
            world,
            urls=config.urls,
            group_port=config.vllm_group_port,
            start_seconds=config.vllm_start_seconds,
            request_seconds=config.vllm_request_seconds,
            adapters=folder / ADAPTERS if config.adapters == "sent" else None,
            say=say,
        )
    if config.engine == "vllm_colocated":
        return ColocatedRollout(
            policy.model, world, max_tokens=max_tokens, max_rows=config.max_rows, memory=config.vllm_memory
        )
    if policy.layout == "tree":
        return LocalRollout(policy.model, world, max_rows=config.max_rows)
    return PlainRollout(policy.model, tokenizer.pad_token_id or 0, world, max_rows=config.max_rows)
