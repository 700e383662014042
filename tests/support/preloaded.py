"""Python programs that find torch and the rest imported: forks of one server for a whole run of the tests.

:func:`start` runs a program as a process that a test can wait for and kill. :func:`python` is an interpreter to name in
place of ``sys.executable`` where the code under test starts programs itself.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from unittest.mock import patch

import preload_client

# Set by conftest.py: a folder for all workers of a run of the tests, and the process that the run begins and ends with.
SHARED, OWNER = "KEEL_TEST_SHARED", "KEEL_TEST_OWNER"
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
    "PYTHONWARNINGS": "ignore",
    "TOKENIZERS_PARALLELISM": "false",
}


class Program:
    """A program under way; it leads a session of its own.

    Attributes:
        pid: of its process. ``log``: the file of its output and its errors.
    """

    def __init__(self, pid: int, log: Path, connection: socket.socket) -> None:
        self.pid, self.log, self._connection = pid, log, connection
        self._status: int | None = None

    @property
    def exitcode(self) -> int | None:
        """The exit status, negative for a signal; ``None`` while it runs."""
        return self._wait(0)

    def join(self, seconds: float) -> None:
        """Wait for the end; ``TimeoutError`` after ``seconds``."""
        if self._wait(seconds) is None:
            raise TimeoutError(f"it still runs after {seconds} s: {self.said()}")

    def finish(self, status: int = 0, seconds: float = 300) -> str:
        """Wait for the end, which must be with ``status``; returns what was said."""
        self.join(seconds)
        assert self._status == status, self.said()[-3000:]
        return self.said()

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def send(self, number: int) -> None:
        if self.exitcode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.join(60)

    def _wait(self, seconds: float) -> int | None:
        if self._status is None and select.select([self._connection], [], [], seconds)[0]:
            self._status = preload_client.number(self._connection)
            self._connection.close()
        return self._status


def start(
    words: Sequence[str],
    log: Path,
    *,
    module: str | None = None,
    main: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Program:
    """Start ``python -m module words…``, or ``main(words)`` of the module ``main``; its output is added to ``log``."""
    folder = _server()
    with log.open("ab") as out, open(os.devnull, "rb") as nothing:
        descriptors = {0: nothing.fileno(), 1: out.fileno(), 2: out.fileno()}
        with patch.dict(os.environ, {**ENVIRONMENT, **(environment or {})}):
            named = [module, *words] if module else list(words)
            connection, pid = preload_client.connect(
                folder, named, descriptors=descriptors, module=module, main=main, session=True
            )
    return Program(pid, log, connection)


def python() -> str:
    """The path of an interpreter that runs training programs as forks of the server."""
    return str(_server() / "python")


def _server() -> Path:
    """The folder of the server, which is started where it does not run yet."""
    folder = Path(os.environ[SHARED])
    if (folder / "socket").exists():
        return folder
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / "socket").exists():
            return folder
        client = folder / "python"
        text = Path(preload_client.__file__).read_text(encoding="utf-8")
        client.write_text(f"#!{sys.executable} -IS\n{text}", encoding="utf-8")
        client.chmod(0o700)
        command = [sys.executable, str(Path(__file__).with_name("preload_server.py")), str(folder), os.environ[OWNER]]
        with (folder / "server.log").open("w") as log:
            server = subprocess.Popen(
                command,
                env=os.environ | ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + 600
        while not (folder / "socket").exists():
            if server.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the server did not start: {(folder / 'server.log').read_text()}")
            time.sleep(0.02)
    return folder
