"""A Python interpreter for training programs: the modules and the script below run in a fork of the server.

:mod:`preloaded` writes it with its first line into the server's folder. Signals are passed on. Everything else is run
by the real interpreter. Only what starts quickly is imported.
"""

import array
import json
import os
import signal
import socket
import struct
import sys

MODULES = (
    "align.train",
    "align.train_sft",
    "deepspeed.launcher.launch",
    "keel.cli",
    "reward_models.train",
    "torch.distributed.run",
)
SCRIPT = "deepspeed"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def connect(folder, words, *, descriptors, module=None, main=None, session=False, unbuffered=False):
    """Ask the server in ``folder`` for a program; returns the connection and the process id.

    Args:
        descriptors: number in the program -> descriptor here.
        main: a module whose function ``main`` is called with ``words``, in place of ``module`` or a script.
    """
    program = {
        "words": words,
        "module": module,
        "main": main,
        "session": session,
        "unbuffered": unbuffered,
        "descriptors": list(descriptors),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
    }
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.path.join(folder, "socket"))
    content = json.dumps(program).encode()
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors.values()))
    connection.sendmsg([struct.pack("!I", len(content))], [rights])
    connection.sendall(content)
    return connection, number(connection)


def number(connection):
    """The next number from the server: the process id, then the exit status. ``EOFError`` where the server is gone."""
    content = b""
    while len(content) < 4:
        part = connection.recv(4 - len(content))
        if not part:
            raise EOFError("the preload server is gone")
        content += part
    return struct.unpack("!i", content)[0]


def inherited():
    """The descriptors that this process was given, but for those of a directory listing under way."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor <= 2:
            found[descriptor] = descriptor
            continue
        try:
            if os.get_inheritable(descriptor):
                found[descriptor] = descriptor
        except OSError:
            pass
    return found


def main():
    words = sys.argv[1:]
    unbuffered = words[:1] == ["-u"]
    rest = words[1:] if unbuffered else words
    module = rest[1] if rest[:1] == ["-m"] and rest[1:2] and rest[1] in MODULES else None
    if not module and os.path.basename("".join(rest[:1])) != SCRIPT:
        os.execv(sys.executable, [sys.executable, *words])
    descriptors = inherited()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until there is somebody to pass them on to
    folder = os.path.dirname(os.path.abspath(__file__))
    program = rest[1:] if module else rest
    connection, _ = connect(folder, program, descriptors=descriptors, module=module, unbuffered=unbuffered)
    for each in SIGNALS:
        signal.signal(each, lambda received, _: connection.send(bytes([received])))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    for descriptor in descriptors:
        os.close(descriptor)  # the reader of its output sees its end
    status = number(connection)
    if status < 0:
        signal.signal(-status, signal.SIG_DFL) if -status not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -status)
    os._exit(status)


if __name__ == "__main__":
    main()
