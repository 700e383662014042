"""Fixtures for the tests of every package."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded: a waiting thread sleeps, not spins

# Generated examples have no time limit: on a busy machine it would fail tests for nothing.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

DEFAULT_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def keel_data() -> Path:
    """The directory of real data named by ``KEEL_DATA``; tests that need it are skipped where it is absent."""
    path = Path(os.environ.get("KEEL_DATA", DEFAULT_DATA))
    if not (path / "MANIFEST.json").is_file():
        pytest.skip(f"no data kit at {path}; set KEEL_DATA to its directory")
    return path
