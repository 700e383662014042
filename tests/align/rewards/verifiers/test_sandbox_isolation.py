"""The sandbox's filter of system calls without a kernel, its control groups, and the isolation that it says."""

from __future__ import annotations

import errno
import struct
from pathlib import Path

import pytest

from align.rewards.verifiers import sandbox_cgroup, sandbox_filter
from align.rewards.verifiers.sandbox import Isolation, Limits, Sandbox, SandboxError
from align.rewards.verifiers.sandbox_filter import DENIED, MACHINES, seccomp_filter

LIMITS = Limits(seconds=60.0, cpu_seconds=5, memory=256 << 20, file_size=4 << 20, disk=16 << 20)

# ---- the filter


def verdict(code: bytes, number: int, *, audit: int, argument: int = 0) -> int:
    """Return value of the filter, by an interpreter of the five types of instructions that it has."""
    data = struct.pack("<iIQQ5Q", number if number < 1 << 31 else number - (1 << 32), audit, 0, argument, *[0] * 5)
    instructions = list(struct.iter_unpack("=HBBI", code))
    place, value = 0, 0
    while True:
        opcode, yes, no, constant = instructions[place]
        place += 1
        if opcode == sandbox_filter.LOAD:
            value = int.from_bytes(data[constant : constant + 4], "little")
        elif opcode == sandbox_filter.RETURN:
            return constant
        else:
            true = {
                sandbox_filter.EQUAL: value == constant,
                sandbox_filter.GREATER: value > constant,
                sandbox_filter.ANY_BIT: bool(value & constant),
            }[opcode]
            place += yes if true else no


@pytest.mark.parametrize("machine", list(MACHINES))
def test_the_filter_decides_every_call(machine: str) -> None:
    code, found = seccomp_filter(machine), MACHINES[machine]
    assert code is not None
    refused = {each[found.column] for each in DENIED.values()} - {None}
    allow, eperm, enosys = 0x7FFF0000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
    for number in range(1000):
        wanted = enosys if number > 450 or number == 435 else eperm if number in refused else allow
        if number not in (found.socket,):
            assert verdict(code, number, audit=found.audit) == wanted, number
        assert verdict(code, number, audit=0x40000003) == 0x80000000  # i386
    assert verdict(code, 0x40000000 | 1, audit=found.audit) == enosys  # x32
    assert verdict(code, 0xFFFFFFFF, audit=found.audit) == enosys
    families = [n for n in range(50) if verdict(code, found.socket, audit=found.audit, argument=n) == allow]
    assert families == [1, 2, 10]
    assert verdict(code, found.socket, audit=found.audit, argument=1 << 40 | 1) == allow  # an int: the low half counts
    threads = 0x3D0F00
    assert verdict(code, found.clone, audit=found.audit, argument=threads) == allow
    for bit in range(32):
        new = 1 << bit in (0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
        assert verdict(code, found.clone, audit=found.audit, argument=1 << bit) == (eperm if new else allow)
    assert verdict(code, found.prlimit64, audit=found.audit, argument=1) == eperm


def test_the_tables_name_each_call_once() -> None:
    for column in (0, 1):
        numbers = [each[column] for each in DENIED.values() if each[column] is not None]
        assert len(numbers) == len(set(numbers))
    assert seccomp_filter("vax") is None


# ---- control groups, and what is said


def hierarchy(tmp_path: Path, own: str, passed_on: str) -> Path:
    """A tree of control groups with this process in ``own``, as files."""
    proc, mount = tmp_path / "proc", tmp_path / "cgroup"
    group = mount / own.lstrip("/")
    group.mkdir(parents=True)
    proc.mkdir()
    (proc / "mounts").write_text(f"proc /proc proc rw 0 0\ncgroup2 {mount} cgroup2 rw 0 0\n")
    (proc / "cgroup").write_text(f"4:memory:/elsewhere\n0::{own}\n")
    parent = mount if own == "/" else group.parent
    (parent / "cgroup.subtree_control").write_text(passed_on)
    (parent / "cgroup.procs").write_text("")
    return proc


def test_a_control_group_is_made_where_the_parent_passes_memory_on(tmp_path: Path) -> None:
    proc = hierarchy(tmp_path, "/user.slice/app.scope", "cpu memory pids\n")
    parent = sandbox_cgroup.parent_group(proc)
    assert parent == tmp_path / "cgroup" / "user.slice"
    with sandbox_cgroup.memory_group(parent, 1000) as file:
        assert file is not None
        group = Path(file).parent
        assert group.parent == parent
        assert (group / "memory.max").read_text() == "1000"
        for each in group.iterdir():  # the kernel's files go with their directory
            each.unlink()
    assert not group.exists()


def test_no_control_group_where_there_is_no_right_to_one(tmp_path: Path) -> None:
    assert sandbox_cgroup.parent_group(hierarchy(tmp_path / "a", "/", "\n")) is None
    assert sandbox_cgroup.parent_group(hierarchy(tmp_path / "b", "/x/y", "cpu pids\n")) is None
    assert sandbox_cgroup.parent_group(hierarchy(tmp_path / "c", "/../x", "memory\n")) is None
    assert sandbox_cgroup.parent_group(tmp_path / "nothing") is None
    with sandbox_cgroup.memory_group(None, 1000) as file:
        assert file is None


def test_the_isolation_in_force_is_said(caplog: pytest.LogCaptureFixture) -> None:
    assert str(Isolation(namespaces=True, user=True, filter=True, memory_group=False)) == (
        "limits on each process, namespaces and a root directory of their own, another user, a filter of system calls; "
        "without a control group for memory"
    )
    with caplog.at_level("INFO", "align.rewards.verifiers.sandbox"):
        try:
            box = Sandbox(LIMITS)
        except SandboxError as error:
            pytest.skip(str(error))
    assert f"programs run with {box.isolation}" in caplog.text
