"""Fixtures of the tests with a real vLLM on this machine's CPU: ``pytest -m live``, after ``.ci/vllm``."""

from __future__ import annotations

from collections.abc import Iterator

import live_vllm
import pytest


@pytest.fixture(scope="package")
def vllm() -> Iterator[live_vllm.Launcher]:
    """The process that starts servers; tests are skipped where vLLM's environment is absent."""
    if not (live_vllm.environment() / ".installed").is_file():
        pytest.skip(f"no vLLM for CPUs at {live_vllm.environment()}; .ci/vllm makes it")
    with live_vllm.launcher() as launcher:
        yield launcher
