"""vLLM's server, started quickly; run by the Python of vLLM's environment, with the server's own arguments.

A server is three processes, each of which imports vLLM and what it needs. Here they are forks of one process that has
imported all of it. Every line of the standard input starts one server: JSON with ``arguments`` and ``log``, the file
for its output; its process id, which is that of its group too, is the answer. The end of the input ends all servers.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import Any

IMPORTS = (
    "transformers",
    "torch._inductor.config",
    "vllm.entrypoints.launchers.api_server.entry",
    "vllm.entrypoints.openai.api_server",
    "vllm.v1.engine.async_llm",
    "vllm.v1.engine.core",
    "vllm.v1.executor.multiproc_executor",
    "vllm.v1.worker.cpu_worker",
    "vllm.v1.worker.cpu_model_runner",
    "vllm.model_executor.models.qwen3",
    "vllm.model_executor.models.llama",
    "vllm.model_executor.models.bert",
)
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve(job: dict[str, Any]) -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.argv = ["vllm", *job["arguments"]]
    from vllm.entrypoints.launchers.api_server.entry import main
    from vllm.utils import system_utils

    # vLLM would start the engine and the worker anew.
    fork = multiprocessing.get_context("fork")
    system_utils.get_mp_context = lambda: fork
    for name, module in list(sys.modules.items()):
        if name.startswith("vllm.") and hasattr(module, "get_mp_context"):
            module.get_mp_context = system_utils.get_mp_context
    wait_for_port(job["arguments"])
    main()


def wait_for_port(arguments: list[str]) -> None:
    """A killed server's children keep its port for a moment."""
    port = int(arguments[arguments.index("--port") + 1])
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return
        time.sleep(0.1)


def run() -> None:
    for number in SIGNALS:  # they are sent to the group of the tests; the end of the input follows
        signal.signal(number, signal.SIG_IGN)
    for name in IMPORTS:
        importlib.import_module(name)
    print("ready", flush=True)
    servers = []
    for line in sys.stdin:
        child = os.fork()
        if not child:
            with suppress(SystemExit):
                serve(json.loads(line))
            os._exit(0)
        servers.append(child)
        print(child, flush=True)
    for server in servers:
        with suppress(ProcessLookupError):
            os.killpg(server, signal.SIGKILL)
    os._exit(0)  # what was imported has nothing to put away


if __name__ == "__main__":
    run()
