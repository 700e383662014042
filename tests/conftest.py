"""Fixtures for the tests of every package."""

from __future__ import annotations

from reward_models import threads  # noqa: F401 - before torch is loaded

# isort: split
import os
import shutil
import signal
import tempfile
from pathlib import Path

import preloaded
import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:  # one process for each core
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts its background jobs with Ctrl-C ignored, and so would all be that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Generated examples have no time limit: on a busy machine it would fail tests for nothing.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

_MADE: list[str] = []


def pytest_configure() -> None:
    """Make the folder that the workers of this run share, unless this is one of them."""
    if preloaded.SHARED not in os.environ:
        _MADE.append(tempfile.mkdtemp(prefix="keel-tests-"))
        os.environ |= {preloaded.SHARED: _MADE[0], preloaded.OWNER: str(os.getpid())}
    os.environ["KEEL_CACHE"] = os.path.join(os.environ[preloaded.SHARED], "cache")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def pytest_unconfigure() -> None:
    for folder in _MADE:
        del os.environ[preloaded.SHARED], os.environ[preloaded.OWNER]
        shutil.rmtree(folder, ignore_errors=True)


DEFAULT_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def keel_data() -> Path:
    """The directory of real data named by ``KEEL_DATA``; tests that need it are skipped where it is absent."""
    path = Path(os.environ.get("KEEL_DATA", DEFAULT_DATA))
    if not (path / "MANIFEST.json").is_file():
        pytest.skip(f"no data kit at {path}; set KEEL_DATA to its directory")
    return path
