"""The rollout engine that the configuration names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from align.rollouts.base import RolloutEngine
from align.rollouts.local import LocalRollout
from align.rollouts.plain import PlainRollout
from align.rollouts.vllm import VllmRollout
from reward_models.runtime.distributed import World


@dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    """The rollout engine and its settings.

    Attributes:
        engine: ``local``: the training model itself. ``vllm``: a vLLM server, which is sent the weights before each
            rollout.
        max_rows: local: sequences sampled at once on one rank.
        vllm_base_url: of the server. ``vllm_group_port``: of the main rank's machine, for the weights.
        vllm_start_seconds: how long to wait for the server to be up.
        vllm_request_seconds: longest time for the responses to one prompt; ``timeout_seconds`` must be longer than a
            whole rollout, during which all ranks wait.
    """

    engine: Literal["local", "vllm"] = "local"
    max_rows: int = 256
    vllm_base_url: str = "http://127.0.0.1:8000"
    vllm_group_port: int = 51216
    vllm_start_seconds: float = 600.0
    vllm_request_seconds: float = 1800.0

    def __post_init__(self) -> None:
        if self.max_rows < 1 or min(self.vllm_start_seconds, self.vllm_request_seconds) <= 0:
            raise ValueError("rollout: max_rows, vllm_start_seconds and vllm_request_seconds must be positive")
        if not self.vllm_base_url.startswith(("http://", "https://")):
            raise ValueError(f"rollout.vllm_base_url={self.vllm_base_url!r} must begin with http:// or https://")


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
