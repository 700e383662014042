"""Reward models: data, training, evaluation, scoring. It imports nothing else of ours."""

from __future__ import annotations

from typing import Any

from reward_models.extras import needs


def __getattr__(name: str) -> Any:
    # Loaded when asked for: reading data and labels must not wait for torch, nor need it.
    if name == "RewardModel":
        with needs("models"):
            from reward_models.inference.reward_model import RewardModel

        return RewardModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
