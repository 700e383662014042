"""Servers as processes, and a client with as little as HTTP needs, so that it takes no time from the server."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class Client:
    """``async with Client(port) as client: status, headers, body = await client.post(path, body)``."""

    def __init__(self, port: int, headers: dict[str, str] | None = None) -> None:
        self.port, self._headers = port, {"Host": "127.0.0.1", "Content-Type": "application/json"} | (headers or {})

    async def __aenter__(self) -> Client:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def send(self, path: str, body: bytes) -> None:
        """Only the request; whoever does not wait for the answer is a client that leaves."""
        lines = [f"POST {path} HTTP/1.1", *(f"{k}: {v}" for k, v in self._headers.items())]
        self.writer.write("\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body)

    async def post(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers in lower case, and the body of the answer."""
        self.send(path, body)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in head[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        return int(head[0].split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def listening(
    words: Sequence[str],
    port: int,
    variables: Mapping[str, str],
    seconds: float = 120,
    python: str | Path = sys.executable,
) -> subprocess.Popen[bytes]:
    """A Python process with these arguments, once something listens on ``port``.

    Raises:
        RuntimeError: it ended, or did not listen in time; the message has the end of its log.
    """
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "benchmarks")))
    env = {**os.environ, "PYTHONPATH": paths, **variables}
    with tempfile.TemporaryFile() as log:  # a file, which the process cannot fill as it would a pipe
        process = subprocess.Popen([str(python), *words], env=env, stdout=subprocess.DEVNULL, stderr=log)
        until = time.monotonic() + seconds
        while time.monotonic() < until and process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return process
            time.sleep(0.1)
        process.kill()
        log.seek(0)
        raise RuntimeError(f"{' '.join(words)} did not start: {log.read().decode(errors='replace')[-2000:]}")
