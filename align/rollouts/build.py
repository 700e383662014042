"""The rollout engine that the configuration names."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedTokenizerBase

from align.rollouts.base import RolloutEngine
from align.rollouts.config import RolloutConfig
from align.rollouts.local import LocalRollout
from align.rollouts.plain import PlainRollout
from align.rollouts.vllm import VllmRollout
from reward_models.runtime.distributed import World


def build_rollout(
    config: RolloutConfig, engine: Any, tokenizer: PreTrainedTokenizerBase, world: World
) -> RolloutEngine:
    """The rollout engine over the policy that ``engine``, DeepSpeed's, trains."""
    policy = engine.module
    if config.engine == "vllm":
        return VllmRollout(
            policy.model,
            world,
            base_url=config.vllm_base_url,
            group_port=config.vllm_group_port,
            start_seconds=config.vllm_start_seconds,
            request_seconds=config.vllm_request_seconds,
        )
    if policy.layout == "tree":
        return LocalRollout(policy.model, world, max_rows=config.max_rows)
    return PlainRollout(policy.model, tokenizer.pad_token_id or 0, world, max_rows=config.max_rows)
