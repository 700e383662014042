"""Attacks on the sandbox: each tries to leave it, to read what lies outside, or to use more than its limits.

All are bounded (64 MiB at most), so that an attack that succeeds harms nothing. Where the kernel grants no namespaces
they are skipped.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from align.rewards.verifiers import sandbox as sandbox_module
from align.rewards.verifiers import sandbox_init
from align.rewards.verifiers.sandbox import Limits, Sandbox, SandboxError
from align.rewards.verifiers.sandbox_files import interpreter_files
from align.rewards.verifiers.sandbox_filter import DENIED, MACHINES

ROOT = os.geteuid() == 0
SYSTEM_PYTHON = Path("/usr/bin/python3")
LIMITS = Limits(seconds=60.0, cpu_seconds=5, memory=256 << 20, file_size=4 << 20, disk=16 << 20)
MACHINE = os.uname().machine
needs_user = pytest.mark.skipif(not ROOT or not SYSTEM_PYTHON.exists(), reason="needs to give up root")


@pytest.fixture(scope="module")
def box() -> Sandbox:
    try:
        return Sandbox(LIMITS)
    except SandboxError as error:
        pytest.skip(str(error))


def printed(box: Sandbox, source: str) -> list[str]:
    done = box.run_python(textwrap.dedent(source))
    assert done.stderr == ""
    assert (done.outcome, done.status) == ("ended", 0)
    return done.stdout.splitlines()


# ---- system calls


def test_every_denied_call_fails_with_eperm(box: Sandbox) -> None:
    numbers = {name: each[MACHINES[MACHINE].column] for name, each in DENIED.items()}
    lines = printed(
        box,
        f"""
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        for name, number in {numbers}.items():
            if number is not None:
                ctypes.set_errno(0)
                print(name, libc.syscall(number, 0, 1 << 16, 0, 0, 0, 0), ctypes.get_errno())
        """,
    )
    assert len(lines) == sum(number is not None for number in numbers.values()) > 80
    assert [line for line in lines if line.split()[1:] != ["-1", str(errno.EPERM)]] == []


def test_memory_outside_the_limits_on_a_process(box: Sandbox) -> None:
    """64 MiB each of System V shared memory, of messages and of a memfd, from a program of 256 MiB."""
    lines = printed(
        box,
        """
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        segments = [libc.shmget(0, 16 << 20, 0o1600) for _ in range(4)]
        print("shm", segments)
        print("messages", libc.msgget(0, 0o1600), "semaphores", libc.semget(0, 250, 0o1600))
        try:
            os.ftruncate(os.memfd_create("m"), 64 << 20)
            print("memfd")
        except OSError as error:
            print(error.strerror)
        """,
    )
    assert lines == ["shm [-1, -1, -1, -1]", "messages -1 semaphores -1", "Operation not permitted"]


def test_only_local_and_internet_sockets(box: Sandbox) -> None:
    """AF_VSOCK is not part of a network namespace: a program would reach the ports of the machine."""
    lines = printed(
        box,
        """
        import socket
        for family in range(46):
            try:
                socket.socket(family, socket.SOCK_STREAM)
                print(family)
            except OSError:
                pass
        """,
    )
    assert lines == ["1", "2", "10"]


def test_new_namespaces(box: Sandbox) -> None:
    clone = MACHINES[MACHINE].clone
    lines = printed(
        box,
        f"""
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        for flag in (0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
            print(libc.syscall({clone}, flag | 17, 0, 0, 0, 0), ctypes.get_errno())
        print(libc.syscall(435, 0, 0), ctypes.get_errno())
        """,
    )
    assert lines == [f"-1 {errno.EPERM}"] * 7 + [f"-1 {errno.ENOSYS}"]


def test_what_programs_need_is_allowed(box: Sandbox) -> None:
    lines = printed(
        box,
        """
        import asyncio, concurrent.futures, ctypes, decimal, hashlib, multiprocessing, os, resource, sqlite3, ssl
        import subprocess, sys, tempfile, threading, zoneinfo
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            print(sum(pool.map(abs, range(-5, 0))))
        print(subprocess.run([sys.executable, "-c", "print(2 + 3)"], capture_output=True, text=True).stdout.strip())
        print(asyncio.run(asyncio.sleep(0.01, "slept")))
        with tempfile.TemporaryFile() as file:
            file.write(b"x")
        connection = sqlite3.connect(":memory:")
        print(connection.execute("select 6 * 7").fetchone()[0])
        resource.setrlimit(resource.RLIMIT_STACK, (64 << 20, 64 << 20))
        sys.setrecursionlimit(20_000)
        threading.stack_size(64 << 20)
        thread = threading.Thread(target=lambda: print("deep"))
        thread.start()
        thread.join()
        if (child := os.fork()) == 0:
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """,
    )
    assert lines == ["15", "5", "slept", "42", "deep", "7"]


# ---- files


def test_only_the_files_of_the_interpreter_are_there(box: Sandbox) -> None:
    lines = printed(
        box,
        """
        import json, os
        found = [os.path.join(folder, name) for folder, _, names in os.walk("/") for name in names]
        print(json.dumps(found))
        """,
    )
    environment = tuple(sandbox_module.ENVIRONMENT.items())
    files = interpreter_files(os.path.realpath(sys.executable), environment, box.packages)
    known = (*(f"{each}/" for each in files.directories), "/box/", "/packages/numpy")
    others = {path for path in json.loads(lines[0]) if not path.startswith(known)}
    assert others - set(files.files) - set(files.links) == set()
    assert not [path for path in json.loads(lines[0]) if "site-packages" in path or "dist-packages" in path]


def test_data_below_usr_is_not_there(box: Sandbox) -> None:
    lines = printed(
        box,
        """
        import os
        for path in ("/usr/src", "/usr/local/lib", "/usr/share/doc", "/usr/bin/env", "/bin/sh", "/etc/passwd", "/proc"):
            print(os.path.exists(path))
        """,
    )
    assert lines == ["False"] * 7


BELOW = """
import ctypes, os, sys, sysconfig
sys.path.insert(0, sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
user, group = os.getuid(), os.getgid()
if libc.unshare(0x20000 | (0 if user == 0 else 0x10000000)) != 0:
    sys.exit("skip: no namespace for the test itself")
if user != 0:
    for file, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        open(f"/proc/self/{file}", "w").write(text)
libc.mount(None, b"/", None, 16384 | (1 << 18), None)
below = os.path.join(sysconfig.get_paths()["stdlib"], "wsgiref")
if libc.mount(b"tmpfs", below.encode(), b"tmpfs", 0, b"size=1m,mode=777") != 0:
    sys.exit("skip: the test cannot mount")
with open(below + "/note", "w") as note:
    note.write("before")
os.chmod(below + "/note", 0o666)
from align.rewards.verifiers.sandbox import Sandbox
done = Sandbox().run_python('''
import os
for attack in (
    lambda: open(BELOW + "/note", "w").write("after"),
    lambda: open(BELOW + "/new", "w"),
    lambda: os.remove(BELOW + "/note"),
):
    try:
        attack()
        print("done")
    except OSError as error:
        print("refused")
'''.replace("BELOW", repr(below)))
print(done.stdout.split(), done.stderr, open(below + "/note").read(), os.listdir(below))
"""


@pytest.mark.skipif(not ROOT, reason="needs to mount a file system")
@pytest.mark.parametrize("ordinary_user", [False, pytest.param(True, marks=needs_user)])
def test_a_file_system_below_a_mounted_directory_stays_read_only(ordinary_user: bool) -> None:
    python = SYSTEM_PYTHON if ordinary_user else Path(os.path.realpath(sys.executable))
    done = driver(BELOW, python, ordinary_user=ordinary_user)
    assert done.stdout == "['refused', 'refused', 'refused']  before ['note']\n", done.stderr


def test_on_an_older_kernel_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before Linux 5.12 there is no mount_setattr."""
    init = Path(sandbox_init.__file__).read_text(encoding="utf-8")
    older = tmp_path / "init.py"
    known = "MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE = 442,"
    assert known in init
    older.write_text(init.replace(known, known.replace("442", "9999")), encoding="utf-8")
    monkeypatch.setattr(sandbox_module, "INIT", older)
    try:
        box = Sandbox(LIMITS)
    except SandboxError as error:
        pytest.skip(str(error))
    source = "import json\ntry:\n    open(json.__file__, 'a')\nexcept OSError as error:\n    print(error.strerror)"
    assert printed(box, source)[0] in ("Read-only file system", "Permission denied")


# ---- process 1 of the box, and keys


def test_signals_to_process_1_change_no_verdict(box: Sandbox) -> None:
    source = """
    import os, resource, signal, sys, time
    for number in range(1, 65):
        if number != signal.SIGALRM:
            try:
                os.kill(1, number)
            except (PermissionError, OSError):
                pass
    try:
        resource.prlimit(1, resource.RLIMIT_CPU, (0, 0))
        print("limited process 1")
    except PermissionError:
        print("refused")
    sys.stdout.flush()
    time.sleep(0.2)
    sys.exit(3)
    """
    done = box.run_python(textwrap.dedent(source))
    assert (done.outcome, done.status, done.stdout) == ("ended", 3, "refused\n")


HIDE = """
import sys
sys.path.insert(0, sys.argv[1])
from align.rewards.verifiers.sandbox import Sandbox
box = Sandbox()
for number in (2, 14, 9, 15):
    done = box.run_python(f"import os, time; os.kill(1, {number}); time.sleep(0.5); os._exit(3)")
    print(done.outcome, done.status)
done = box.run_python("import resource\\nresource.prlimit(1, resource.RLIMIT_CPU, (0, 0))")
print(done.outcome, done.status)
"""


@needs_user
def test_an_ordinary_users_program_that_signals_process_1_has_failed() -> None:
    """It runs as the same user as process 1: SIGINT used to end the box, and the program had no score in place of 0."""
    done = driver(HIDE, SYSTEM_PYTHON, ordinary_user=True)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["ended 3", "ended -14", "ended 3", "ended 3", "ended 1"]


def test_a_box_that_ends_while_its_program_runs_is_the_programs_failure() -> None:
    started, ended = b'{"started": true}\n', b'{"status": 0}\n'
    status = sandbox_module._status
    assert status(bytearray(started + ended), bytearray()) == 0
    assert status(bytearray(started), bytearray()) == -9
    with pytest.raises(SandboxError, match="no room"):
        status(bytearray(b'{"error": "no room"}\n'), bytearray())
    with pytest.raises(SandboxError, match="without a report: unshare"):
        status(bytearray(), bytearray(b"unshare"))


KEYS = """
import ctypes, os, sys
sys.path.insert(0, sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
KEYCTL, ADD_KEY, REQUEST_KEY = {"x86_64": (250, 248, 249), "aarch64": (219, 217, 218)}[os.uname().machine]
libc.syscall(KEYCTL, 1, None)
libc.syscall.restype = ctypes.c_long
if libc.syscall(ADD_KEY, b"user", b"trainer", b"s3cret", 6, -3) < 0:
    sys.exit("skip: no keys here")
libc.syscall(KEYCTL, 5, libc.syscall(REQUEST_KEY, b"user", b"trainer", None, -3), 0x3f3f3f3f)
from align.rewards.verifiers.sandbox import Sandbox
box = Sandbox()
SOURCE = f'''
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
key = libc.syscall({REQUEST_KEY}, b"user", b"trainer", None, 0)
print(key > 0, ctypes.get_errno())
'''
print(box.run_python(SOURCE).stdout.strip())
box._filter = b""  # the keyring alone
print(box.run_python(SOURCE).stdout.strip())
"""


@pytest.mark.skipif(MACHINE not in MACHINES, reason="system call numbers are not known")
def test_the_callers_session_keyring_is_not_inherited() -> None:
    done = driver(KEYS, Path(os.path.realpath(sys.executable)))
    denied, alone = (line.split() for line in done.stdout.splitlines())
    assert denied == ["False", str(errno.EPERM)]
    assert alone[0] == "False"


def driver(source: str, python: Path, *, ordinary_user: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a script with a copy of the sandbox that every user may read; skips where it says so."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "align" / "rewards" / "verifiers"
        package.mkdir(parents=True)
        for file in Path(sandbox_module.__file__).parent.glob("sandbox*.py"):
            shutil.copy(file, package)
        subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
        user = {"user": 65534, "group": 65534, "extra_groups": []} if ordinary_user else {}
        done = subprocess.run(
            [python, "-I", "-B", "-c", source, folder],
            env={},
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            **user,  # type: ignore[call-overload]
        )
    if "cannot be isolated here" in done.stderr or done.stderr.startswith("skip"):
        pytest.skip(done.stderr.splitlines()[-1])
    return done
