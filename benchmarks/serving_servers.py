"""The servers that ``serving.py`` compares: how each is started, asked, and what it answers."""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import cpu_seconds
from http_client import free_port, listening

VLLM = "vLLM's /classify with prefix caching"
OPENRLHF = "RewardModelProxy of openrlhf/cli/serve_rm.py, SDPA, behind the handler of that file"
PEERS = {"vllm": VLLM, "openrlhf": OPENRLHF}
VLLM_DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
START_SECONDS = 600.0  # of vLLM on a busy machine


@dataclass(frozen=True)
class Server:
    """A server that listens.

    Attributes:
        path: of the requests: ``/classify`` of vLLM, or ``/get_reward`` of OpenRLHF.
    """

    process: subprocess.Popen[bytes]
    port: int
    path: str

    def body(self, texts: Sequence[str]) -> dict[str, Any]:
        if self.path == "/classify":
            return {"model": "model", "input": list(texts), "use_activation": False, "add_special_tokens": False}
        return {"query": list(texts), "prompts": list(texts), "labels": [""] * len(texts)}

    def scores(self, answer: Any) -> list[float]:
        if self.path == "/classify":
            return [each["probs"][0] for each in answer["data"]]
        return list(answer["rewards"])

    @property
    def cpu_seconds(self) -> float:
        """Processor time of all its processes so far."""
        return cpu_seconds(self.process, descendants=True)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        finally:
            self.process.kill()


def vllm_python() -> Path | None:
    """The Python of an environment with vLLM: this one, or the one for CPUs that ``.ci/vllm`` makes."""
    if importlib.util.find_spec("vllm") is not None:
        return Path(sys.executable)
    python = Path(os.environ.get("KEEL_VLLM") or Path.home() / ".cache" / "keel" / "vllm") / "bin" / "python"
    return python if python.is_file() else None


def start(name: str, directory: Path, arguments: argparse.Namespace) -> Server:
    """Start ``keel`` or a peer with the model in ``directory``, and wait until it listens."""
    port = free_port()
    threads = {"OMP_NUM_THREADS": str(arguments.threads)}
    if name == "vllm":
        return Server(_vllm(directory, port, arguments, threads), port, "/classify")
    if name == "openrlhf":
        words = [str(Path(__file__).with_name("serving_peer.py")), "--model", str(directory), "--port", str(port)]
        words += ["--openrlhf", str(arguments.openrlhf), "--threads", str(arguments.threads)]
        return Server(listening([*words, "--dtype", arguments.dtype], port, threads), port, "/get_reward")
    words = ["-m", "keel.cli", "serve", "--model", f"model={directory}", "--port", str(port)]
    words += ["--device", arguments.device, f"prefix_bytes={arguments.prefix_bytes}"]
    words += ["--max-tokens", str(arguments.max_tokens)] if arguments.max_tokens else []
    path = "/get_reward" if arguments.peer == "openrlhf" else "/classify"
    return Server(listening(words, port, threads), port, path)


def _vllm(
    directory: Path, port: int, arguments: argparse.Namespace, threads: dict[str, str]
) -> subprocess.Popen[bytes]:
    """vLLM with as much memory for prefixes as ours has, and as little in its logs."""
    python = vllm_python()
    if python is None:
        raise RuntimeError("there is no vLLM: install it into this environment, or run .ci/vllm for CPUs")
    words = ["-m", "vllm.entrypoints.openai.api_server", "--model", str(directory), "--served-model-name", "model"]
    words += ["--host", "127.0.0.1", "--port", str(port), "--dtype", VLLM_DTYPES[arguments.dtype]]
    words += ["--enable-prefix-caching", "--disable-uvicorn-access-log", "--max-model-len", "4096"]
    variables = threads | {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "PYTHONPATH": ""}
    if arguments.device == "cpu":
        words += ["--enforce-eager", "--kv-cache-memory-bytes", str(arguments.prefix_bytes)]
        variables |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "TORCH_COMPILE_DISABLE": "1"}
    else:
        words += ["--gpu-memory-utilization", "0.4"]  # the other server is on the same card
    return listening(words, port, variables, START_SECONDS, python=python)
