"""Which engine samples, as the configuration says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from deepspeed.runtime.rollout import RolloutEngine
from transformers import PreTrainedTokenizerBase

from align.rollouts.local import LocalRollout
from align.rollouts.plain import PlainRollout
from reward_models.runtime.distributed import World


@dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    """How responses are sampled.

    Attributes:
        engine: ``local``: the training model itself.
        max_rows: local: sequences sampled at once on one rank.
    """

    engine: Literal["local"] = "local"
    max_rows: int = 256


def build_rollout(
    config: RolloutConfig, engine: Any, tokenizer: PreTrainedTokenizerBase, world: World
) -> RolloutEngine:
    """The rollout engine over the policy that ``engine``, DeepSpeed's, trains."""
    policy = engine.module
    local = LocalRollout if policy.layout == "tree" else PlainRollout
    return local(policy.model, tokenizer.pad_token_id or 0, world, max_rows=config.max_rows)
