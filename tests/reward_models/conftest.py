"""Fixtures for the tests of reward models."""

from __future__ import annotations

import os
from collections.abc import Iterator
from unittest.mock import patch

import pytest

from reward_models.runtime import distributed
from reward_models.runtime.distributed import World


@pytest.fixture
def world() -> Iterator[World]:
    """This process as a job of one rank. What that leaves in the environment is taken out again."""
    with patch.dict(os.environ):
        yield distributed.start()
