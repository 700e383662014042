"""The reward models that are loaded in this process, each once for all terms."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reward_models.inference.reward_model import Dtype, RewardModel


@functools.cache
def load_model(path: str, device: str, dtype: Dtype | None, max_tokens: int | None) -> RewardModel:
    """The model of a directory or hub name; see :meth:`RewardModel.load`."""
    # Loads torch. A server of rules clears the cache below, and needs none.
    from reward_models.inference.reward_model import RewardModel

    return RewardModel.load(path, device=device, dtype=dtype, max_tokens=max_tokens)


def forget_models() -> None:
    """Clear the cache: terms built later load their models again from their directories."""
    load_model.cache_clear()
