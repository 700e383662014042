"""Runs programs nobody has read, so that the worst of them harms nothing.

What a box consists of is in :mod:`align.rewards.verifiers.sandbox_init`; this side stays outside: it feeds
the program, reads what it prints up to a limit, and ends it when its time is over. Linux only; no tool needs to be
installed.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

INIT = Path(__file__).with_name("sandbox_init.py")
SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/null", "/dev/urandom")
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"}
END = 60.0  # seconds that a busy machine may take to end a box that was killed
PROBE = 60.0  # seconds that it may take for the first program: being busy is no reason to refuse

Outcome = Literal["ended", "time", "output"]


class SandboxError(RuntimeError):
    """There is no box, or it did not work; the program is not to blame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a program may use. Sizes in bytes, times in seconds.

    Memory is per process: all of a box's processes together may use ``processes`` times ``memory``, and ``disk``.

    Args:
        seconds: wall time, to build the box included. It is for programs that wait; leave it well above
            ``cpu_seconds``, or the load of the machine decides who passes.
        cpu_seconds: processor time of each process.
        memory: address space of each process.
        processes: processes and threads at a time.
        file_size: size of one file.
        disk: size of all files; they are in memory.
        output: what is kept of stdout, and of stderr; a program that prints more is ended.
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
    """What keeps a program in, as found to work on this machine; written into the run's records.

    Args:
        namespaces: own network, processes, mounts and IPC, and a root directory with nothing of the machine's in it but
            system libraries, read-only.
        user: another user than the caller's, or the caller's without rights, in a user namespace.

    The kernel's limits on a process are always in force.
    """

    namespaces: bool
    user: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How a program ran.

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
    """A way to run programs, each in a box of its own; safe to use from several threads.

    Args:
        limits: of every program.
        allow_unsandboxed: run programs even where the kernel grants no namespaces, under its limits alone and, if this
            is root, as another user: they see the network, files and other processes. Only for programs you trust.

    Raises:
        SandboxError: namespaces are not to be had and ``allow_unsandboxed`` is false.
    """

    def __init__(self, limits: Limits | None = None, *, allow_unsandboxed: bool = False):
        limits = limits or Limits()
        self.limits = replace(limits, seconds=max(limits.seconds, PROBE))
        self._namespaces = True
        try:
            self._probe()
        except SandboxError as error:
            if not allow_unsandboxed:
                raise SandboxError(
                    f"programs cannot be isolated here ({error}). Run as root with CAP_SYS_ADMIN, or let users make "
                    "namespaces (sysctl kernel.unprivileged_userns_clone=1 and "
                    "kernel.apparmor_restrict_unprivileged_userns=0; docker: --security-opt seccomp=unconfined). "
                    "allow_unsandboxed=true runs them without isolation."
                ) from error
            self._namespaces = False
            self._probe()
        self.limits = limits
        self.isolation = Isolation(namespaces=self._namespaces, user=self._namespaces or os.geteuid() == 0)

    def run_python(self, source: str, stdin: str = "", files: Mapping[str, str] | None = None) -> Execution:
        """Run a Python program with this interpreter and its standard library.

        Args:
            files: further files in the program's directory, by name.
        """
        python = os.path.realpath(sys.executable)
        return self.run([python, "-I", "-B", "program.py"], {**(files or {}), "program.py": source}, stdin)

    def run(self, command: Sequence[str], files: Mapping[str, str], stdin: str = "") -> Execution:
        """Run ``command`` in a new directory that holds ``files``; everything it leaves behind is gone afterwards.

        Raises:
            SandboxError: the box could not be built.
        """
        start = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="keel-sandbox-") as root, _Pipe() as report:
            job = {
                "command": list(command),
                "files": dict(files),
                "stdin": stdin,
                "environment": ENVIRONMENT,
                "namespaces": self._namespaces,
                "root": root,
                "sources": _sources(),
                "limits": asdict(self.limits),
                "report": report.write_end,
            }
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
                outcome, streams = self._collect(process, report.read_end, start + self.limits.seconds)
            finally:
                process.kill()
                process.wait()
                for stream in (process.stdout, process.stderr):
                    if stream is not None:
                        stream.close()
        message = json.loads(streams["report"] or "{}")
        if "error" in message:
            raise SandboxError(message["error"])
        if outcome == "ended" and "status" not in message:
            raise SandboxError(f"the box ended without a report: {streams['stderr'][-500:].decode(errors='replace')}")
        return Execution(
            outcome=outcome,
            status=message.get("status") if outcome == "ended" else None,
            stdout=streams["stdout"].decode(errors="replace"),
            stderr=streams["stderr"].decode(errors="replace"),
            seconds=time.monotonic() - start,
        )

    def _collect(
        self, process: subprocess.Popen[bytes], report: int, deadline: float
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
                    stream += chunk[: self.limits.output - len(stream)]
                    if len(stream) >= self.limits.output and outcome == "ended":
                        outcome, deadline = "output", time.monotonic() + END
                        process.kill()
        return outcome, streams

    def _probe(self) -> None:
        execution = self.run_python("print('in the box')")
        if execution.stdout != "in the box\n":
            raise SandboxError(f"a program that prints a line ended as {execution}")


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
        pass  # it died; its report, or the lack of one, says why


def _sources() -> list[str]:
    """Directories that a program sees: system libraries, and the interpreter's home unless it is among them."""
    home = os.path.realpath(sys.base_prefix)
    return [*SYSTEM, *([] if home.startswith("/usr") else [home])]
