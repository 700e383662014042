"""Real vLLM servers on this machine's CPU, from the environment that ``.ci/vllm`` makes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from stand_in_vllm import free_port

ROOT = Path(__file__).parents[2]
START_SECONDS = 600.0
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(ROOT),  # of the worker extension
    "TORCH_COMPILE_DISABLE": "1",  # of a function that counts ranks: half a minute at the first request
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_SERVER_DEV_MODE": "1",
}
COMMON = ("--host", "127.0.0.1", "--enforce-eager", "--kv-cache-memory-bytes", str(64 * 2**20))
# A seed with chunked prefill ends the CPU engine of vLLM 0.32.
POLICY = (
    *("--dtype", "float32", "--max-model-len", "256", "--logprobs-mode", "processed_logprobs"),
    *("--no-enable-chunked-prefill", "--max-num-batched-tokens", "4096"),
    *("--weight-transfer-config", json.dumps({"backend": "keel"})),
    *("--worker-extension-cls", "align.rollouts.vllm_worker.Worker"),
)


def environment() -> Path:
    """The folder of vLLM's environment, whether it is there or not."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("KEEL_VLLM") or cache / "keel" / "vllm")


@dataclass
class LiveServer:
    """A vLLM server, a process group of its own."""

    launcher: Launcher
    model: Path
    arguments: Sequence[str]
    port: int
    pid: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.launcher.folder / f"{self.port}.log"

    def start(self) -> None:
        words = ["--model", str(self.model), "--port", str(self.port), *COMMON, *self.arguments]
        self.pid = self.launcher.serve(words, self.log)

    def wait_until_up(self) -> LiveServer:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            with suppress(httpx2.HTTPError):
                if httpx2.get(f"{self.url}/health", timeout=5).status_code == 200:
                    return self
            alive = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
            assert alive, f"vLLM ended: {self.log.read_text()[-3000:]}"
            time.sleep(0.1)
        raise AssertionError(f"vLLM is not up after {START_SECONDS:g} s: {self.log.read_text()[-3000:]}")

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def post(self, path: str, body: Any) -> Any:
        answer = httpx2.post(self.url + path, json=body, timeout=300)
        assert answer.status_code == 200, answer.text
        return answer.json()


@dataclass
class Launcher:
    """The process that has imported vLLM, of which servers are forks; see :mod:`serve_vllm`."""

    folder: Path
    process: subprocess.Popen[str]

    def serve(self, words: Sequence[str], log: Path) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"arguments": list(words), "log": str(log)}) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(self, model: Path, *arguments: str) -> LiveServer:
        """Begin to start a server of the model in the directory ``model``."""
        server = LiveServer(self, model, arguments, free_port())
        server.start()
        return server


@contextmanager
def launcher() -> Iterator[Launcher]:
    python = environment() / "bin" / "python"
    with tempfile.TemporaryDirectory(prefix="keel-vllm-") as folder:
        command = [str(python), str(Path(__file__).with_name("serve_vllm.py"))]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": folder}
        with open(Path(folder) / "launcher.log", "w", encoding="utf-8") as log:
            process = subprocess.Popen(command, env=os.environ | ENVIRONMENT, stderr=log, **pipes)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            ready = process.stdout.readline()
            assert ready == "ready\n", (Path(folder) / "launcher.log").read_text()[-3000:]
            yield Launcher(Path(folder), process)
        finally:
            process.stdin.close()  # it ends its servers
            try:
                process.wait(20)
            finally:
                process.kill()
