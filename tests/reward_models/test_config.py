"""Settings of a reward model's training that cannot be are refused when the configuration is read."""

from __future__ import annotations

import pytest

from reward_models.config import RewardModelConfig
from reward_models.runtime.config import ConfigError, load_config


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("eval_every=-1", "eval_every=-1 must not be negative"),
        ("timeout_seconds=0", "timeout_seconds=0 must be positive"),
        ("data.limit=0", r"data\.limit=0 must be at least 1"),
        ("data.max_bad=-1", r"data\.max_bad=-1 must be at least 0"),
        ("loss.margin=-0.5", r"loss\.margin and loss\.centering must not be negative"),
        ("loss.centering=-0.5", r"loss\.margin and loss\.centering must not be negative"),
        ("model.lora={r: 0}", r"model\.lora: r and alpha must be positive"),
        ("model.lora={dropout: 1.0}", "dropout at least 0 and below 1"),
        ("model.tokenizer=./nowhere", r"model\.tokenizer: no directory \./nowhere"),
    ],
)
def test_settings_that_cannot_be_are_refused(setting: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_config(RewardModelConfig, "helpful_cpu", [setting])
