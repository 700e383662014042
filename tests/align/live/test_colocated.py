"""A real vLLM inside the training process, on this machine's CPU."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import live_vllm
import pytest
from rollout_laws import save_base
from stand_in_vllm import free_port
from training_runs import PARTITION_ALL, metrics

pytestmark = pytest.mark.live


def run(base: Path, *words: str, ranks: int = 1) -> str:
    """Processes of vLLM's environment; what they said."""
    if not (live_vllm.environment() / ".installed").is_file():
        pytest.skip(f"no vLLM for CPUs at {live_vllm.environment()}; .ci/vllm makes it")
    program = Path(live_vllm.__file__).with_name("colocated_run.py")
    command = [live_vllm.environment() / "bin" / "python", program, sysconfig.get_path("purelib"), base, *words]
    paths = os.pathsep.join([str(live_vllm.ROOT), str(program.parent)])
    job = {"PYTHONPATH": paths, "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
    job |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    processes = []
    for rank in range(ranks):
        environment = os.environ | live_vllm.ENVIRONMENT | job | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        processes.append(subprocess.Popen(command, env=environment, **pipes))
    said = ""
    try:
        for process in processes:
            said += process.communicate(timeout=600)[0]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * ranks, said[-3000:]
    return said


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("base"))


def test_responses_are_those_of_the_weights_after_every_update(base: Path) -> None:
    run(base)


@pytest.mark.parametrize(
    ("ranks", "more"), [(1, ("model.lora={r: 4}",)), (2, ("engine.zero_stage=3", PARTITION_ALL, "steps_per_rollout=3"))]
)
def test_a_run_trains_on_what_its_own_policy_samples(
    ranks: int, more: tuple[str, ...], base: Path, tmp_path: Path
) -> None:
    said = run(
        base,
        *(f"output_dir={tmp_path / 'run'}", "prompts.train=['synthetic:reasoning:train']", "prompts.limit=20"),
        *("rewards=[{term: 'letters:Letters'}]", "evaluation.data=[]", "prompts_per_step=2", "samples_per_prompt=4"),
        *("steps_per_rollout=1", "max_new_tokens=10", "max_tokens=120", "engine.dtype=fp32", "engine.lr=3e-3"),
        *("loggers=[]", "steps=3", "rollout.engine=vllm_colocated", "rollout.max_rows=16"),
        *("timeout_seconds=300", "ref_update_steps=0", *more),
        ranks=ranks,
    )
    assert "sampled by vLLM in the training processes" in said
    lines = metrics(tmp_path / "run")
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert max(line["mismatch_max"] for line in lines) < 1e-4
    assert all(line["grad_norm"] > 0 for line in lines)
