"""Run untrusted programs, each isolated from the machine and from the others.

:mod:`~align.rewards.verifiers.sandbox_init` builds the box, :mod:`~align.rewards.verifiers.sandbox_files` says which
files it holds, :mod:`~align.rewards.verifiers.sandbox_filter` which system calls are refused in it. This module stays
outside: it feeds the program, reads its output up to a limit, and ends it when its time is over. Linux only; no tool
needs to be installed.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from align.rewards.verifiers.sandbox_cgroup import memory_group, parent_group
from align.rewards.verifiers.sandbox_files import PACKAGE_ROOT, Files, interpreter_files, merged, package_folder
from align.rewards.verifiers.sandbox_filter import seccomp_filter

LOGGER = logging.getLogger(__name__)
INIT = Path(__file__).with_name("sandbox_init.py")
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"}
END = 60.0  # seconds that a busy machine may take to end a box that was killed
PROBE = 60.0  # seconds for the first program: a busy machine is no reason to refuse
PACKAGES = ("numpy",)  # solutions of contests use it
OVERHEAD = 64 << 20  # bytes that the box itself takes, beside the program
KILLED = -9  # status of a program that ended its box

Outcome = Literal["ended", "time", "output"]


class SandboxError(RuntimeError):
    """Programs cannot be isolated, or a box could not be built. The program is not the cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of a program. Sizes in bytes, times in seconds.

    Memory is per process: all processes of a box together may use ``processes`` times ``memory``, and ``disk``. Other
    memory of the kernel's (shared memory, message queues, ``memfd``) cannot be allocated.

    Args:
        seconds: wall time, building the box included. It ends programs that wait; keep it well above ``cpu_seconds``,
            otherwise the verdict depends on the load of the machine.
        cpu_seconds: processor time of each process.
        memory: address space of each process.
        processes: processes and threads at a time.
        file_size: size of one file.
        disk: size of all files; they are in memory.
        output: size of stdout, and of stderr; a program that prints more is ended.
    """

    seconds: float = 30.0
    cpu_seconds: int = 10
    memory: int = 512 << 20
    processes: int = 4
    file_size: int = 16 << 20
    disk: int = 64 << 20
    output: int = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """The isolation that works on this machine; it is logged when a :class:`Sandbox` is made.

    Args:
        namespaces: own network, processes, mounts and IPC, and a root directory with the files of the interpreter,
            read-only, and nothing else of the machine.
        user: another user than the caller's, or the caller's without rights, in a user namespace.
        filter: a seccomp filter refuses system calls that an interpreter does not need.
        memory_group: a control group bounds the memory of the whole box.

    The kernel's limits on a process are always in force.
    """

    namespaces: bool
    user: bool
    filter: bool
    memory_group: bool

    def __str__(self) -> str:
        parts = {
            "namespaces and a root directory of their own": self.namespaces,
            "another user": self.user,
            "a filter of system calls": self.filter,
            "a control group for memory": self.memory_group,
        }
        missing = [name for name, there in parts.items() if not there]
        text = ", ".join(["limits on each process", *(name for name, there in parts.items() if there)])
        return f"{text}; without {' and '.join(missing)}" if missing else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """The run of a program.

    Args:
        outcome: ``ended`` by itself (or by one of the kernel's limits), ended for its ``time``, or for its ``output``.
        status: exit status, −n after signal n; ``None`` unless ``ended``.
        stdout, stderr: text, what is not UTF-8 replaced.
        seconds: wall time, starting and ending the box included.
    """

    outcome: Outcome
    status: int | None
    stdout: str
    stderr: str
    seconds: float


class Sandbox:
    """Runs programs, each in a box of its own; safe to use from several threads.

    Args:
        limits: of every program.
        packages: installed packages that programs may import beside the standard library, if they are installed; they
            are mounted read-only.
        allow_unsandboxed: run programs even where the kernel grants no namespaces, under its limits alone and, if this
            is root, as another user: they see the network, files and other processes. Only for programs you trust.

    Raises:
        SandboxError: programs cannot be isolated here and ``allow_unsandboxed`` is false.
    """

    def __init__(
        self, limits: Limits | None = None, *, packages: Sequence[str] = PACKAGES, allow_unsandboxed: bool = False
    ):
        limits = limits or Limits()
        self.packages = tuple(packages)
        self.limits = replace(limits, seconds=max(limits.seconds, PROBE))
        self._namespaces, self._group = True, parent_group()
        self._filter = seccomp_filter(platform.machine()) or b""
        self._find_isolation(allow_unsandboxed)
        self.limits = limits
        self.isolation = Isolation(
            namespaces=self._namespaces,
            user=self._namespaces or os.geteuid() == 0,
            filter=bool(self._filter),
            memory_group=self._group is not None,
        )
        LOGGER.info("programs run with %s", self.isolation)

    def _find_isolation(self, allow_unsandboxed: bool) -> None:
        """Run a harmless program, with less isolation each time until it runs, as far as that is allowed."""
        problem = None if self._filter else f"no filter of system calls is known for {platform.machine()}"
        if problem is None:
            try:
                if self._group is not None and self._works() is not None:
                    self._group = None
                problem = self._works()
            except OSError as error:
                problem = str(error)
        if problem is None:
            return
        if not allow_unsandboxed:
            raise SandboxError(
                f"programs cannot be isolated here ({problem}). Run as root with CAP_SYS_ADMIN, or let users make "
                "namespaces (sysctl kernel.unprivileged_userns_clone=1 and "
                "kernel.apparmor_restrict_unprivileged_userns=0; docker: --security-opt seccomp=unconfined). "
                "allow_unsandboxed=true runs them without isolation."
            )
        LOGGER.warning("programs are not isolated from this machine: %s", problem)
        self._namespaces = False
        if self._works() is not None:
            self._filter = b""
            if problem := self._works():
                raise SandboxError(problem)

    def _works(self) -> str | None:
        """The reason why a program that prints a line does not run; ``None`` if it runs."""
        try:
            execution = self.run_python("print('in the box')")
        except SandboxError as error:
            return str(error)
        return None if execution.stdout == "in the box\n" else f"a program that prints a line ended as {execution}"

    def run_python(
        self, source: str, stdin: str = "", files: Mapping[str, str] | None = None, **options: Any
    ) -> Execution:
        """Run a Python program with this interpreter, its standard library and :attr:`packages`.

        Args:
            files: further files in the program's directory, by name.
            options: of :meth:`run`.
        """
        python = os.path.realpath(sys.executable)
        # not -I: it would ignore PYTHONPATH, and nothing else of the environment comes from outside
        command = [python, "-P", "-s", "-B", "program.py"]
        return self.run(command, {**(files or {}), "program.py": source}, stdin, **options)

    def run(
        self,
        command: Sequence[str],
        files: Mapping[str, str],
        stdin: str = "",
        *,
        more: Files | None = None,
        limits: Limits | None = None,
    ) -> Execution:
        """Run ``command`` in a new directory that holds ``files``; everything it leaves behind is gone afterwards.

        Args:
            more: files of the machine that it needs beside those of the interpreter.
            limits: in place of the sandbox's own.

        Raises:
            SandboxError: the box could not be built.
        """
        limits = limits or self.limits
        start = time.monotonic()
        python, environment = os.path.realpath(sys.executable), tuple(ENVIRONMENT.items())
        found = merged(interpreter_files(python, environment, self.packages), more) if self._namespaces else None
        total = self.limits.processes * self.limits.memory + max(self.limits.disk, limits.disk) + OVERHEAD
        with (
            tempfile.TemporaryDirectory(prefix="keel-sandbox-") as root,
            _Pipe() as report,
            memory_group(self._group, total) as group,
        ):
            job = {
                "command": list(command),
                "files": dict(files),
                "stdin": stdin,
                "environment": {**ENVIRONMENT, "PYTHONPATH": self._package_path()},
                "namespaces": self._namespaces,
                "group": group,
                "filter": self._filter.hex(),
                "root": root,
                "mounted": {} if found is None else found.as_json(),
                "limits": asdict(limits),
                "report": report.write_end,
            }
            outcome, streams = self._run_job(job, report, start + limits.seconds, limits.output)
        status = _status(streams["report"], streams["stderr"]) if outcome == "ended" else None
        return Execution(
            outcome=outcome,
            status=status,
            stdout=streams["stdout"].decode(errors="replace"),
            stderr=streams["stderr"].decode(errors="replace"),
            seconds=time.monotonic() - start,
        )

    def _package_path(self) -> str:
        if self._namespaces:
            return PACKAGE_ROOT
        return os.pathsep.join(sorted({folder for name in self.packages if (folder := package_folder(name))}))

    def _run_job(
        self, job: Mapping[str, Any], report: _Pipe, deadline: float, output: int
    ) -> tuple[Outcome, dict[str, bytearray]]:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(INIT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[report.write_end],
            start_new_session=True,
            cwd="/",
        )
        report.close_write_end()
        try:
            _send(process, json.dumps(job).encode())
            return self._collect(process, report.read_end, deadline, output)
        finally:
            process.kill()
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()

    def _collect(
        self, process: subprocess.Popen[bytes], report: int, deadline: float, output: int
    ) -> tuple[Outcome, dict[str, bytearray]]:
        """Read until everything is closed. Killing the outer process ends the box, and that closes everything."""
        outcome: Outcome = "ended"
        assert process.stdout is not None
        assert process.stderr is not None
        ends = {process.stdout.fileno(): "stdout", process.stderr.fileno(): "stderr", report: "report"}
        streams = {name: bytearray() for name in ends.values()}
        with selectors.DefaultSelector() as selector:
            for end in ends:
                selector.register(end, selectors.EVENT_READ)
            while selector.get_map():
                events = selector.select(max(deadline - time.monotonic(), 0))
                if not events and outcome == "ended":
                    outcome, deadline = "time", time.monotonic() + END
                    process.kill()
                elif not events:
                    raise SandboxError(f"a program is still there {END:.0f} s after it was killed")
                for key, _ in events:
                    chunk = os.read(key.fd, 1 << 16)
                    if not chunk:
                        selector.unregister(key.fd)
                    stream = streams[ends[key.fd]]
                    stream += chunk[: output - len(stream)]
                    if len(stream) >= output and outcome == "ended":
                        outcome, deadline = "output", time.monotonic() + END
                        process.kill()
        return outcome, streams


class _Pipe:
    """A pipe whose ends are closed at the latest when the ``with`` block is left."""

    def __enter__(self) -> _Pipe:
        self.read_end, self.write_end = os.pipe()
        self._open = {self.read_end, self.write_end}
        return self

    def close_write_end(self) -> None:
        os.close(self.write_end)
        self._open.remove(self.write_end)

    def __exit__(self, *_: object) -> None:
        for end in self._open:
            os.close(end)


def _send(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    try:
        with process.stdin as stream:
            stream.write(data)
    except BrokenPipeError:
        pass  # the process has ended; its report says why


def _status(report: bytearray, stderr: bytearray) -> int:
    """The exit status in the report of a box.

    Raises:
        SandboxError: the program was not started.
    """
    messages = [json.loads(line) for line in report.splitlines()]
    last = messages[-1] if messages else {}
    if "error" in last:
        raise SandboxError(last["error"])
    if not messages:
        raise SandboxError(f"the box ended without a report: {stderr[-500:].decode(errors='replace')}")
    return last.get("status", KILLED)  # started, and no end was reported: the program has ended process 1 of its box
