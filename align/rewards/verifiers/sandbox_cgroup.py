"""A limit on the memory of a whole box: a control group of its own, where this process may make one.

The limits of a process bound each process alone. A control group also counts what the kernel allocates for them. It
needs version 2 of control groups and a parent group that is writable here and passes on its memory controller: usual
for root outside containers and for a user's own services, unusual in containers.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NUMBERS = itertools.count()
REMOVAL = 10.0  # seconds


def parent_group(proc: Path = Path("/proc/self")) -> Path | None:
    """The directory in which groups can be made beside the group of this process; ``None`` if there is none."""
    try:
        mounts = [line.split() for line in (proc / "mounts").read_text(encoding="utf-8").splitlines()]
        groups = (proc / "cgroup").read_text(encoding="utf-8").splitlines()
        mount = next(Path(each[1]) for each in mounts if len(each) > 2 and each[2] == "cgroup2")
        own = next(line[3:] for line in groups if line.startswith("0::"))
        if ".." in own:  # outside of this process' namespace of control groups
            return None
        parent = mount if own == "/" else (mount / own.lstrip("/")).parent
        passed_on = (parent / "cgroup.subtree_control").read_text(encoding="ascii").split()
    except (OSError, StopIteration):
        return None
    writable = os.access(parent, os.W_OK) and os.access(parent / "cgroup.procs", os.W_OK)
    return parent if writable and "memory" in passed_on else None


@contextmanager
def memory_group(parent: Path | None, limit: int) -> Iterator[str | None]:
    """A group in ``parent`` for at most ``limit`` bytes, without swap; yields its ``cgroup.procs``.

    Raises:
        OSError: it cannot be made.
    """
    if parent is None:
        yield None
        return
    group = parent / f"keel-sandbox-{os.getpid()}-{next(NUMBERS)}"
    group.mkdir()
    try:
        (group / "memory.max").write_text(str(limit), encoding="ascii")
        with suppress(OSError):  # a kernel without swap has no such file
            (group / "memory.swap.max").write_text("0", encoding="ascii")
        yield str(group / "cgroup.procs")
    finally:
        _remove(group)


def _remove(group: Path) -> None:
    """Remove an empty group; the kernel may need a moment to take the last process out of it."""
    until = time.monotonic() + REMOVAL
    while group.exists():
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > until:
                return
            time.sleep(0.01)
