"""Programs that try to do harm. Each is bounded, so that a sandbox that fails harms nothing either."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from align.rewards.verifiers import sandbox as sandbox_module
from align.rewards.verifiers import sandbox_init
from align.rewards.verifiers.sandbox import Execution, Limits, Sandbox, SandboxError

ROOT = psutil.Process().uids().real == 0
SYSTEM_PYTHON = Path("/usr/bin/python3")
LIMITS = Limits(seconds=60.0, cpu_seconds=2, memory=256 << 20, file_size=4 << 20, disk=16 << 20, output=1 << 20)


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    try:
        return Sandbox(LIMITS)
    except SandboxError as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def nobody_is_left_behind() -> Iterator[None]:
    yield
    deadline = time.monotonic() + 3  # the kernel ends a killed box in its own time
    while left := processes_of_boxes():
        assert time.monotonic() < deadline, left
        time.sleep(0.02)
    assert not list(Path(tempfile.gettempdir()).glob("keel-sandbox-*/*"))


def processes_of_boxes() -> list[int]:
    users = range(sandbox_init.FIRST_USER, sandbox_init.FIRST_USER + sandbox_init.USERS)
    alive = (p for p in psutil.process_iter(["uids", "status"]) if p.info["status"] != psutil.STATUS_ZOMBIE)
    return [p.pid for p in alive if p.info["uids"] and p.info["uids"].real in users]


def run(box: Sandbox, source: str, stdin: str = "") -> Execution:
    return box.run_python(dedent(source), stdin)


def test_programs_import_the_named_packages_and_no_others(sandbox: Sandbox) -> None:
    sums = run(sandbox, "import numpy\nprint(int(numpy.array([2, 3]).sum()))")
    assert (sums.status, sums.stdout) == (0, "5\n")
    for source, error in (
        ("import torch", "ModuleNotFoundError"),
        ("open('/packages/numpy/new', 'w')", "Read-only file system"),
    ):
        refused = run(sandbox, source)
        assert refused.status == 1
        assert error in refused.stderr
    alone = run(Sandbox(packages=()), "import numpy")
    assert "ModuleNotFoundError" in alone.stderr


def test_an_honest_program_runs(sandbox: Sandbox) -> None:
    done = run(sandbox, "print(int(input()) ** 2)\nopen('note.txt', 'w').write('x')", "12\n")
    assert (done.outcome, done.status, done.stdout, done.stderr) == ("ended", 0, "144\n", "")
    assert sandbox.isolation.namespaces
    assert sandbox.isolation.user


def test_exit_statuses_signals_and_errors_are_seen(sandbox: Sandbox) -> None:
    assert run(sandbox, "raise SystemExit(3)").status == 3
    assert run(sandbox, "import os; os.abort()").status == -signal.SIGABRT
    failed = run(sandbox, "print('half'); 1 / 0")
    assert (failed.status, failed.stdout) == (1, "half\n")
    assert "ZeroDivisionError" in failed.stderr


def test_300_processes(sandbox: Sandbox) -> None:
    done = run(
        sandbox,
        """
        import os, time
        started = 0
        for _ in range(300):
            try:
                if os.fork() == 0:
                    time.sleep(1)
                    os._exit(0)
                started += 1
            except OSError:
                break
        print(started)
        """,
    )
    assert 0 < int(done.stdout) < LIMITS.processes


def test_300_threads(sandbox: Sandbox) -> None:
    done = run(
        sandbox,
        """
        import threading, time
        started = 0
        try:
            for _ in range(300):
                threading.Thread(target=time.sleep, args=(0.5,)).start()
                started += 1
        except RuntimeError:
            pass
        print(started)
        """,
    )
    assert int(done.stdout) < LIMITS.processes


def test_2_gib_of_memory(sandbox: Sandbox) -> None:
    done = run(sandbox, "x = bytearray(2 << 30)")  # not touched, so that it costs nothing if it succeeds
    assert "MemoryError" in done.stderr


def test_200_mb_of_output(sandbox: Sandbox) -> None:
    done = run(sandbox, "import sys\nfor _ in range(200): sys.stdout.write('x' * 1_000_000)")
    assert done.outcome == "output"
    assert done.status is None
    assert len(done.stdout) == LIMITS.output


def test_200_mb_of_files(sandbox: Sandbox) -> None:
    one = run(sandbox, "f = open('f', 'wb')\nfor _ in range(200): f.write(bytes(1_000_000)); f.flush()")
    assert "File too large" in one.stderr
    many = run(sandbox, "for n in range(66): open(str(n), 'wb').write(bytes(3_000_000))")
    assert "No space left" in many.stderr
    names = run(sandbox, "for n in range(20_000): open(str(n), 'wb')")
    assert "No space left" in names.stderr


def test_zip_bomb(sandbox: Sandbox) -> None:
    done = run(
        sandbox,
        """
        import io, zipfile
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("bomb", "w") as entry:
            for _ in range(200):
                entry.write(bytes(1_000_000))
        print(len(packed.getvalue()))
        zipfile.ZipFile(packed).extractall()
        """,
    )
    assert int(done.stdout) < 1_000_000
    assert "File too large" in done.stderr


def test_network(sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        done = run(sandbox, f"import socket; socket.create_connection(('127.0.0.1', {port}), timeout=2).send(b'x')")
        assert "unreachable" in done.stderr
        with pytest.raises(TimeoutError):
            server.accept()
    abstract = "\0keel-test"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(abstract)
        server.listen()
        done = run(sandbox, f"import socket; socket.socket(socket.AF_UNIX).connect({abstract!r})")
        assert "refused" in done.stderr


def test_files_outside(sandbox: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret", encoding="utf-8")
    done = run(
        sandbox,
        f"""
        import os
        for action in (
            lambda: print(open({str(secret)!r}).read()),
            lambda: print(open("../../../../../../../.." + {str(secret)!r}).read()),
            lambda: open({str(secret)!r}, "w").write("changed"),
            lambda: os.remove({str(secret)!r}),
            lambda: open("/etc/passwd").read(),
            lambda: open("/proc/1/environ").read(),
            lambda: open("/usr/keel-was-here", "w"),
            lambda: open("/keel-was-here", "w"),
            lambda: os.chroot("/"),
        ):
            try:
                action()
                print("done")
            except OSError as error:
                print(type(error).__name__)
        print(sorted(os.environ))
        """,
    )
    lines = done.stdout.splitlines()
    assert "done" not in lines
    assert "s3cret" not in done.stdout
    assert len(lines) == 10
    assert secret.read_text(encoding="utf-8") == "s3cret"
    assert "KEEL" not in lines[-1]
    assert not Path("/usr/keel-was-here").exists()


def test_symbolic_links(sandbox: Sandbox, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("before", encoding="utf-8")
    done = run(
        sandbox,
        f"""
        import os
        for name in ("link", "stdin", "program.py"):
            if os.path.lexists(name):
                os.remove(name)
            os.symlink({str(target)!r}, name)
            try:
                print(open(name).read())
            except OSError as error:
                print(type(error).__name__)
        """,
    )
    assert done.stdout.split() == ["FileNotFoundError"] * 3
    assert target.read_text(encoding="utf-8") == "before"


def test_signals_to_its_parent(sandbox: Sandbox) -> None:
    received: list[int] = []
    previous = signal.signal(signal.SIGUSR1, lambda number, _: received.append(number))
    try:
        done = run(
            sandbox,
            """
            import os, signal
            try:
                os.kill(int(input()), signal.SIGUSR1)
            except ProcessLookupError as error:
                print("not there", flush=True)
            for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGALRM, signal.SIGKILL):
                try:
                    os.kill(os.getppid(), number)
                except PermissionError:
                    pass
            print("and on", flush=True)
            """,
            f"{psutil.Process().pid}\n",
        )
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert received == []
    assert done.outcome == "ended"
    assert done.stdout.splitlines() == ["not there", "and on"] if ROOT else ["not there"]


def test_more_rights(sandbox: Sandbox) -> None:
    done = run(
        sandbox,
        """
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        print(libc.unshare(0x10000000), libc.mount(b"tmpfs", b"/box", b"tmpfs", 0, None), end=" ")
        try:
            os.setuid(0)
        except OSError:
            print("no root", os.getuid() == 0)
        """,
    )
    assert done.stdout.split() == ["-1", "-1", "no", "root", "False"]


@pytest.mark.parametrize("source", ["while True: pass", "import time; time.sleep(60)"], ids=["busy", "idle"])
def test_endless_programs(source: str) -> None:
    try:
        box = Sandbox(Limits(seconds=1.0))
    except SandboxError as error:
        pytest.skip(str(error))
    done = run(box, source)
    assert (done.outcome, done.status) == ("time", None)


def test_processor_time(sandbox: Sandbox) -> None:
    assert run(sandbox, "while True: pass").status in (-signal.SIGXCPU, -signal.SIGKILL)


def test_what_a_program_leaves_running_ends_with_it(sandbox: Sandbox) -> None:
    done = run(
        sandbox,
        """
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(5)
                print("still here", flush=True)
            os._exit(0)
        print("parent ends")
        """,
    )
    assert done.stdout == "parent ends\n"


def test_several_at_a_time(sandbox: Sandbox) -> None:
    results: dict[int, str] = {}
    threads = [
        threading.Thread(target=lambda n=n: results.update({n: run(sandbox, "print(input())", str(n)).stdout}))
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: f"{n}\n" for n in range(4)}


# ---- where there are no namespaces, and where there is no root


@pytest.fixture
def no_namespaces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A stand-in for a kernel that grants none: unshare always fails."""
    init = Path(sandbox_init.__file__).read_text(encoding="utf-8")
    broken = tmp_path / "init.py"
    broken.write_text(
        init.replace('call("unshare",', 'raise OSError(1, "unshare: not permitted")\n    call("unshare",')
    )
    monkeypatch.setattr(sandbox_module, "INIT", broken)


@pytest.mark.usefixtures("no_namespaces")
def test_without_namespaces_it_refuses() -> None:
    with pytest.raises(SandboxError, match=r"cannot be isolated here \(.*unshare: not permitted.*allow_unsandboxed"):
        Sandbox(LIMITS)


@pytest.mark.usefixtures("no_namespaces")
@pytest.mark.skipif(not SYSTEM_PYTHON.exists(), reason="needs an interpreter that every user may run")
def test_told_to_it_runs_under_the_limits_that_are_left_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(SYSTEM_PYTHON))
    box = Sandbox(LIMITS, allow_unsandboxed=True)
    assert not box.isolation.namespaces
    assert box.isolation.user == ROOT
    assert "MemoryError" in run(box, "x = bytearray(2 << 30)").stderr
    assert run(Sandbox(Limits(seconds=1.0), allow_unsandboxed=True), "while True: pass").outcome == "time"


FORKS = """
import os, time
for n in range(20):
    if os.fork() == 0:
        time.sleep(1)
        os._exit(0)
    print(n, flush=True)
"""
DRIVER = """
import sys
sys.path.insert(0, sys.argv[1])
from align.rewards.verifiers.sandbox import Limits, Sandbox
box = Sandbox()
print(box.isolation)
print(box.run_python("import os; print(os.listdir('/root'))").stderr.splitlines()[-1][:17])
print(len(box.run_python(sys.argv[2]).stdout.split()))
print(box.run_python("import ctypes; print(ctypes.CDLL(None).unshare(0x10000000))").stdout.strip())
print(box.run_python("import socket; socket.create_connection(('127.0.0.1', 9), 1)").stderr.split()[-1])
"""


@pytest.mark.skipif(not ROOT or not SYSTEM_PYTHON.exists(), reason="needs to give up root")
def test_an_ordinary_user_gets_a_box_too() -> None:
    """The same steps through a user namespace, by a copy of the sandbox that every user may read."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "align" / "rewards" / "verifiers"
        package.mkdir(parents=True)
        for file in Path(sandbox_module.__file__).parent.glob("sandbox*.py"):
            shutil.copy(file, package)
        subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
        done = subprocess.run(
            [SYSTEM_PYTHON, "-I", "-c", DRIVER, folder, FORKS],
            user=65534,
            group=65534,
            extra_groups=[],
            env={},
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
    if "cannot be isolated here" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.stderr == ""
    isolation, listing, forks, nested, network = done.stdout.splitlines()
    assert isolation.startswith("limits on each process, namespaces")
    assert "a filter of system calls" in isolation.partition("without")[0]
    assert listing == "FileNotFoundError"
    assert int(forks) == Limits().processes - 1
    assert nested == "-1"
    assert network == "unreachable"
