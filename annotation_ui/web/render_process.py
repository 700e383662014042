"""Processes that turn text into HTML, each text within a limit of processor time.

The parsers take quadratic time for some texts (30,000 times ``\\(``), hold the interpreter's lock while they do, and
cannot be interrupted from inside. A process that exceeds the limit ends itself by a signal; the text is then shown as
it is, and a new process takes its place.
"""

from __future__ import annotations

import json
import queue
import resource
import selectors
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Literal

Form = Literal["markdown", "response", "response, open"]
CPU_SECONDS = 1.0  # of one text; an ordinary one takes some milliseconds
WALL_SECONDS = 20.0  # of one text on a machine that is busy with something else
START_SECONDS = 120.0
PROCESSES = 2
MEMORY = 2 << 30
COMMAND = (sys.executable, "-m", "annotation_ui.web.render_process")


class RenderPool:
    """:data:`PROCESSES` processes, each started when it is needed first. Safe to use from several threads."""

    def __init__(self) -> None:
        self._free: queue.LifoQueue[_Process] = queue.LifoQueue()
        self._processes = [_Process() for _ in range(PROCESSES)]
        for process in self._processes:
            self._free.put(process)

    def start(self) -> None:
        """Start the processes without waiting for them, so that the first page does not."""
        for process in self._processes:
            process.start()

    def render(self, form: Form, text: str) -> str | None:
        """The HTML of ``text``; ``None`` where making it takes too long or too much memory."""
        process = self._free.get()
        try:
            return process.render(form, text)
        finally:
            self._free.put(process)


class _Process:
    """One process, by pipes: a line of JSON in, a line of JSON out. It ends with its parent, whose pipe it reads."""

    def __init__(self) -> None:
        self._running: subprocess.Popen[bytes] | None = None
        self._ready = False

    def start(self) -> None:
        if self._running is None:
            self._running = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def render(self, form: Form, text: str) -> str | None:
        self.start()
        if not self._ready:
            self._ready = self._line(START_SECONDS) is not None
            if not self._ready:
                return None
        assert self._running is not None
        assert self._running.stdin is not None
        with suppress(BrokenPipeError):
            self._running.stdin.write(json.dumps([form, text]).encode() + b"\n")
            self._running.stdin.flush()
        line = self._line(WALL_SECONDS)
        return None if line is None else str(json.loads(line))

    def _line(self, seconds: float) -> bytes | None:
        """The next line from the process; without one in time the process is ended and forgotten."""
        assert self._running is not None
        assert self._running.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._running.stdout, selectors.EVENT_READ)
            line = self._running.stdout.readline() if selector.select(seconds) else b""
        if line.endswith(b"\n"):
            return line
        self._running.kill()
        self._running.wait()
        for pipe in (self._running.stdin, self._running.stdout):
            with suppress(BrokenPipeError):
                pipe.close()  # type: ignore[union-attr]
        self._running, self._ready = None, False
        return None


def _serve() -> None:
    """Answer line after line. The timer's signal has no handler: it ends the process, whatever it is doing."""
    from annotation_ui.web.markup import markdown, response

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C at the terminal is the server's to handle
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        form, text = json.loads(line)
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
        html = markdown(text) if form == "markdown" else response(text, open_reasoning=form == "response, open")
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        sys.stdout.write(json.dumps(html) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
