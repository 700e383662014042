"""Samples for tests of reward terms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from align.rewards.terms import Sample
from reward_models.data.records import Message


@pytest.fixture(scope="session")
def sample() -> Callable[..., Sample]:
    """Makes a sample from a response and whatever else matters to the test."""

    def make(response: str, **fields: Any) -> Sample:
        defaults: dict[str, Any] = {"domain": "reasoning", "tokens": len(response), "finished": True}
        return Sample(prompt=(Message("user", "question"),), response=response, **defaults | fields)

    return make
