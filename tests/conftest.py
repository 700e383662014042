"""Fixtures for the tests of every package."""

from __future__ import annotations

from reward_models import threads  # noqa: F401 - before torch is loaded

# isort: split
import gc
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Generator
from pathlib import Path
from types import ModuleType

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


# Files that import one of these start programs, train, or look at pages.
SLOW = {"browsing", "live_vllm", "playwright.sync_api", "preloaded", "subprocess", "training_runs"}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each worker an equal number of tests, the files with slow ones first.

    A worker that has done its part takes over the last tests of another one: quick ones, so that both end together, and
    the runs that a file's tests share are made once.
    """
    parts: list[list[pytest.Item]] = [[] for _ in range(int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))]
    files = [list(group) for _, group in itertools.groupby(items, _unit)]
    quick = [file for file in files if not _is_slow(file[0])]
    for file in sorted((file for file in files if _is_slow(file[0])), key=len, reverse=True):
        min(parts, key=len).extend(file)
    rest = list(itertools.chain.from_iterable(quick))
    for number, part in enumerate(parts):
        missing = (len(items) * (number + 1)) // len(parts) - (len(items) * number) // len(parts) - len(part)
        part += rest[: max(missing, 0)]
        del rest[: max(missing, 0)]
    items[:] = itertools.chain(*parts, rest)


def _unit(item: pytest.Item) -> Path:
    """What one worker should run: a file; the folder of the tests with vLLM, whose servers come from one process."""
    return item.path.parent if item.get_closest_marker("live") else item.path


def _is_slow(item: pytest.Item) -> bool:
    values = vars(item.module).values() if isinstance(item, pytest.Function) else ()
    return any(
        (value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)) in SLOW
        for value in values
    )


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Let no collection of garbage look through what is imported: it stays as long as the process does."""
    gc.disable()
    found = yield
    gc.freeze()
    gc.enable()
    return found


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
