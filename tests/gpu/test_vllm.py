"""Rollouts by a vLLM server on a GPU: ``python -m pytest tests/gpu -m gpu``, in an environment that has vLLM.

Over NCCL the server has a GPU of its own, since NCCL takes no two ranks on one. Over the TCP store one GPU is enough.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from live_vllm import ENVIRONMENT, POLICY, LiveServer
from rollout_laws import RolloutLaws, save_base
from stand_in_vllm import free_port

GPUS = torch.cuda.device_count()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not GPUS, reason="needs a CUDA device"),
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="needs vLLM in this environment"),
]


class Process:
    """Starts a server as users do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def serve(self, words: list[str], log: Path) -> int:
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *words]
        place = {"CUDA_VISIBLE_DEVICES": str(GPUS - 1), "PYTHONPATH": ENVIRONMENT["PYTHONPATH"]}
        place |= {name: ENVIRONMENT[name] for name in ("HF_HUB_OFFLINE", "VLLM_NO_USAGE_STATS", "VLLM_SERVER_DEV_MODE")}
        with open(log, "w", encoding="utf-8") as output:
            started = subprocess.Popen(
                command, env=os.environ | place, stdout=output, stderr=output, start_new_session=True
            )
        return started.pid


@pytest.fixture(scope="module")
def trainer() -> torch.device:
    return torch.device("cuda", 0)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module", params=["nccl", "keel"])
def server(
    request: pytest.FixtureRequest, base: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    if request.param == "nccl" and GPUS < 2:
        pytest.skip("NCCL takes no two ranks on one GPU")
    words = [json.dumps({"backend": request.param}) if "backend" in word else word for word in POLICY]
    started = LiveServer(Process(tmp_path_factory.mktemp("vllm")), base, words, free_port())
    started.start()
    yield started.wait_until_up()
    started.kill()


class TestOnAGpu(RolloutLaws):
    pass
