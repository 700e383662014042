"""A server that has imported what training needs, and runs every Python program it is asked for as a fork of itself.

Importing torch, transformers and DeepSpeed takes several seconds of a processor, more than a whole run of a tiny model
does. :mod:`preloaded` starts one server for a whole run of the tests, for all its workers.

A request arrives at a Unix socket: the length of a JSON object, and with it the descriptors that the program gets; then
the object. The reply is the process id, then the exit status. On the same connection a client sends signals. A client
that goes away, killed say, takes its program with it.
"""

from __future__ import annotations

import array
import base64
import contextlib
import gc
import importlib
import io
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any

PRELOADED = (
    "align.run",
    "align.sample",
    "align.sft.trainer",
    "align.train",
    "align.train_sft",
    "align.trainer",
    "deepspeed.launcher.launch",
    "deepspeed.launcher.runner",
    "keel.commands.run",
    "keel.pipeline.demo",
    "keel.pipeline.run",
    "matplotlib.backends.backend_agg",
    "peft",
    "reward_models.train",
    "reward_models.trainer",
    "sklearn.linear_model",
    "torch.distributed.run",
    "torch.utils.tensorboard",
    "transformers.models.qwen3.modeling_qwen3",
    "transformers.optimization",
    "trl",
)
# DeepSpeed imports these when it makes an engine; not every release has them.
LATE = ("deepspeed.comm.mori", "deepspeed.module_inject.auto_ep_comm", "deepspeed.module_inject.auto_ep_layer")
NO_CHARTS = "KEEL_TEST_NO_CHARTS"  # in the environment of a program: its charts are made, and not drawn
POINT = base64.b64decode(  # a PNG of one pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
LENGTH = struct.Struct("!I")
Program = dict[str, Any]


def receive(connection: socket.socket) -> tuple[Program, list[int]]:
    """A request and its descriptors.

    Raises:
        EOFError: the client went away.
    """
    descriptors = array.array("i")
    first, ancillary, _, _ = connection.recvmsg(LENGTH.size, socket.CMSG_SPACE(64 * descriptors.itemsize))
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    if len(first) < LENGTH.size:
        raise EOFError
    content = b""
    while len(content) < LENGTH.unpack(first)[0]:
        part = connection.recv(LENGTH.unpack(first)[0] - len(content))
        if not part:
            raise EOFError
        content += part
    return json.loads(content), list(descriptors)


class Server:
    """Forks programs until the process ``owner`` ends.

    Args:
        python: the file that programs find as ``sys.executable``.
    """

    def __init__(self, address: Path, owner: int, python: Path) -> None:
        self.python, self.children = python, dict[int, tuple[int, socket.socket]]()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(f"{address}.new")
        self.listener.listen(64)
        Path(f"{address}.new").rename(address)  # once the file is there, a client can connect
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ, self.accept)
        self.owner = os.pidfd_open(owner)
        self.selector.register(self.owner, selectors.EVENT_READ, self.leave)

    def serve(self) -> tuple[Program, list[int]]:
        """Serve requests; returns only in a child, with its own program and descriptors."""
        while True:
            for key, _ in self.selector.select():
                if self.selector.get_map().get(key.fd) is key and (mine := key.data(key.fileobj)) is not None:
                    return mine

    def leave(self, _: int) -> None:
        for child, _connection in self.children.values():
            os.kill(child, signal.SIGKILL)
        os._exit(0)

    def accept(self, listener: socket.socket) -> tuple[Program, list[int]] | None:
        connection, _ = listener.accept()
        try:
            program, descriptors = receive(connection)
        except EOFError:
            connection.close()
            return None
        pid = os.fork()
        if not pid:
            self.selector.close()
            for taken in (self.listener, connection, *(each for _, each in self.children.values())):
                taken.close()
            os.close(self.owner)
            return program, descriptors
        for each in descriptors:
            os.close(each)
        ended = os.pidfd_open(pid)
        self.children[ended] = pid, connection
        self.selector.register(ended, selectors.EVENT_READ, self.report)
        self.selector.register(connection, selectors.EVENT_READ, self.pass_on)
        self.send(connection, pid)
        return None

    def pass_on(self, connection: socket.socket) -> None:
        """Send the signals that a client asks for to its program; SIGKILL where the client is gone."""
        try:
            numbers = connection.recv(16)
        except OSError:
            numbers = b""
        (pid,) = (child for child, known in self.children.values() if known is connection)
        for number in numbers or [signal.SIGKILL]:
            os.kill(pid, number)  # it is not waited for yet, so the id is its own
        if not numbers:
            self.selector.unregister(connection)

    def report(self, ended: int) -> None:
        pid, connection = self.children.pop(ended)
        self.selector.unregister(ended)
        os.close(ended)
        self.send(connection, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        with contextlib.suppress(KeyError):
            self.selector.unregister(connection)
        connection.close()

    @staticmethod
    def send(connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError):
            connection.sendall(struct.pack("!i", number))


def run(program: Program, descriptors: list[int], python: Path) -> None:
    """Run the program as the interpreter would; like there, ``SystemExit`` and other exceptions are left to it."""
    (os.setsid if program["session"] else os.setpgrp)()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    place(descriptors, program["descriptors"])
    os.environ.clear()
    os.environ.update(program["environment"])
    os.chdir(program["folder"])
    unbuffered = bool(os.environ.get("PYTHONUNBUFFERED")) or program["unbuffered"]
    sys.stdout = sys.__stdout__ = stream(1, unbuffered, "strict")
    sys.stderr = sys.__stderr__ = stream(2, True, "backslashreplace")
    here = Path(__file__).parent
    there = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    rest = [folder for folder in sys.path if folder not in there and Path(folder) != here]
    sys.path[:] = [*there, *rest]
    importlib.invalidate_caches()
    sys.executable = str(python)
    if os.environ.get(NO_CHARTS):
        without_charts()
    if program["main"]:
        sys.exit(importlib.import_module(program["main"]).main(program["words"]))
    sys.argv = program["words"]
    if program["module"]:
        sys.path.insert(0, program["folder"])
        sys.modules.pop(program["module"], None)  # it runs as __main__
        runpy.run_module(program["module"], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(sys.argv[0]).resolve().parent))
        runpy.run_path(sys.argv[0], run_name="__main__")


def place(descriptors: list[int], numbers: list[int]) -> None:
    """Give the descriptors the numbers that they have in the client; inheritable."""
    above = max([*descriptors, *numbers]) + 1
    for offset, descriptor in enumerate(descriptors):  # out of the way of one another
        os.dup2(descriptor, above + offset)
        os.close(descriptor)
    for offset, number in enumerate(numbers):
        os.dup2(above + offset, number)
        os.close(above + offset)


def stream(number: int, unbuffered: bool, errors: str) -> io.TextIOWrapper:
    raw = open(number, "wb", 0, closefd=False)  # noqa: SIM115  # open as long as the process lives
    buffer: Any = raw if unbuffered else io.BufferedWriter(raw)
    return io.TextIOWrapper(buffer, "utf-8", errors, write_through=unbuffered)


def without_charts() -> None:
    """Write a point where a chart would be drawn."""
    from matplotlib.figure import Figure

    Figure.savefig = lambda _, file, **options: file.write(POINT)  # type: ignore[method-assign]


def rehearse() -> None:
    """Do what libraries do once in a process and keep.

    They probe for compilers, read fonts, load image formats and the model that tells languages, list the names of
    weights that they convert, and compile the patterns of configurations.
    """
    import deepspeed
    from matplotlib.figure import Figure
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    from align.config import AlignConfig
    from align.rewards.rules.language import _detector
    from align.sft.trainer import SftConfig
    from reward_models.config import RewardModelConfig
    from reward_models.data.records import Message
    from reward_models.evaluation.language import language_of
    from reward_models.runtime.config import load_config

    for name in LATE:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    assert deepspeed.ops.__compatible_ops__
    get_checkpoint_conversion_mapping("qwen3")
    assert language_of((Message("user", "Which language is this sentence written in?"),), ()) == "en"
    assert _detector()
    for schema, preset in ((RewardModelConfig, "helpful_cpu"), (AlignConfig, "cpu"), (SftConfig, "sft_cpu")):
        load_config(schema, preset, ["seed=1"])
    figure = Figure(layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], label="a line")
    axes.legend()
    for form in ("png", "svg"):
        figure.savefig(io.BytesIO(), format=form)


def main() -> None:
    folder, owner = Path(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in PRELOADED:
        importlib.import_module(name)
    rehearse()
    gc.collect()
    gc.freeze()  # no collection writes to pages that forks share
    python = folder / "python"
    program, descriptors = Server(folder / "socket", owner, python).serve()
    run(program, descriptors, python)


if __name__ == "__main__":
    main()
