"""Whole training runs: ranks, ZeRO stages, kills, signals, and values that are not finite."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

MODEL = (
    "model.config={model_type: qwen3, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, "
    "num_attention_heads: 2, num_key_value_heads: 1, head_dim: 16, max_position_embeddings: 512}"
)
SETTINGS = (
    MODEL,
    "model.vocab_size=400",
    "data.train=['synthetic:helpful:train']",
    "data.limit=150",
    "data.eval_fraction=0.2",
    "batch_size=16",
    "max_tokens=512",
    "max_steps=6",
    "save_every=2",
    "loggers=[]",
    "engine.dtype=fp32",
    "engine.lr=1e-2",
    "timeout_seconds=120",
)
# Everything partitioned: without these a tiny model never leaves the ranks' memory whole.
PARTITION_ALL = (
    "engine.zero_options={stage3_param_persistence_threshold: 0, stage3_max_live_parameters: 0, "
    "stage3_max_reuse_distance: 0}"
)
TIMES = ("tokens_per_second",)


def command(out: Path, *words: str, ranks: int = 1) -> list[str]:
    launch = [sys.executable, "-W", "ignore", "-m"]
    if ranks > 1:
        launch += ["torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}", "--module"]
    return [*launch, "reward_models.train", f"output_dir={out}", *SETTINGS, *words]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def run(out: Path, *words: str, ranks: int = 1, status: int = 0) -> str:
    done = subprocess.run(
        command(out, *words, ranks=ranks), capture_output=True, text=True, timeout=300, env=environment(), check=False
    )
    assert done.returncode == status, done.stderr[-3000:]
    return done.stderr


def metrics(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model.safetensors")


def assert_same_run(out: Path, other: Path) -> None:
    assert metrics(out) == metrics(other)
    ours, theirs = weights(out), weights(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def assert_close_run(out: Path, other: Path) -> None:
    for line, expected in zip(metrics(out), metrics(other), strict=True):
        assert line == pytest.approx(expected, rel=2e-3, abs=2e-4)
    ours, theirs = weights(out), weights(other)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=2e-4, msg=lambda m, n=name: f"{n}: {m}")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    run(out)
    return out


def test_training_learns_and_leaves_a_complete_model(uninterrupted: Path) -> None:
    lines = metrics(uninterrupted)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    manifest = json.loads((uninterrupted / "manifest.json").read_text())
    assert manifest["span"] == "summary"
    assert manifest["evaluation"]["n"] > 10
    for name in ("config.yaml", "deepspeed.json", "evaluation.json", "README.md", "plots/training.png"):
        assert (uninterrupted / name).is_file()


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_every_zero_stage_equals_stage_0(stage: int, uninterrupted: Path, tmp_path: Path) -> None:
    run(tmp_path / "run", f"engine.zero_stage={stage}", *([PARTITION_ALL] if stage == 3 else []))
    assert_close_run(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_two_ranks_equal_one(stage: int, uninterrupted: Path, tmp_path: Path) -> None:
    run(tmp_path / "run", f"engine.zero_stage={stage}", *([PARTITION_ALL] if stage == 3 else []), ranks=2)
    assert_close_run(tmp_path / "run", uninterrupted)


def test_the_result_does_not_depend_on_the_cut_into_micro_batches(uninterrupted: Path, tmp_path: Path) -> None:
    run(tmp_path / "run", "max_tokens=64")
    assert_close_run(tmp_path / "run", uninterrupted)


def test_padded_batches_give_what_trees_give(uninterrupted: Path, tmp_path: Path) -> None:
    run(tmp_path / "run", "model.layout=padded")
    assert_close_run(tmp_path / "run", uninterrupted)


def test_two_ranks_go_on_as_one_in_another_stage(uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        command(out, "engine.zero_stage=2", "save_every=1", ranks=2), env=environment(), stderr=subprocess.DEVNULL
    )
    wait_for(lambda: len(list((out / "checkpoints").glob("step-*"))) > 0, process)
    for pid in descendants(process.pid):
        os.kill(pid, signal.SIGKILL)
    process.kill()
    process.wait()
    assert not (out / "manifest.json").exists()
    run(out, "engine.zero_stage=1")
    assert_close_run(out, uninterrupted)


def test_killed_at_random_moments_a_run_resumes_to_the_same_bits(uninterrupted: Path, tmp_path: Path) -> None:
    out, moments = tmp_path / "run", random.Random(5)
    seconds = (uninterrupted / "manifest.json").stat().st_mtime - (uninterrupted / "config.yaml").stat().st_mtime
    for _ in range(10):
        began = time.time()
        process = subprocess.Popen(command(out, "save_every=1"), env=environment(), stderr=subprocess.DEVNULL)
        wait_for(lambda t=began: (out / "config.yaml").is_file() and (out / "config.yaml").stat().st_mtime > t, process)
        time.sleep(moments.uniform(0, seconds / 4))
        process.kill()
        process.wait()
        if (out / "manifest.json").exists():
            break
    run(out)
    assert_same_run(out, uninterrupted)


def test_sigterm_saves_and_the_same_command_goes_on(uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(command(out, "save_every=0"), env=environment(), stderr=subprocess.PIPE, text=True)
    wait_for(
        lambda: (out / "metrics.jsonl").is_file() and (out / "metrics.jsonl").read_text().count("\n") >= 1, process
    )
    process.terminate()
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "stopped by a signal" in said
    assert len(list((out / "checkpoints").glob("step-*"))) == 1
    assert not (out / "manifest.json").exists()
    run(out, "save_every=0")
    assert_same_run(out, uninterrupted)


def test_a_finished_run_is_not_trained_again_and_another_configuration_is_refused(uninterrupted: Path) -> None:
    before = (uninterrupted / "manifest.json").stat().st_mtime_ns
    assert "holds the finished model already" in run(uninterrupted)
    assert (uninterrupted / "manifest.json").stat().st_mtime_ns == before
    assert "engine.lr" in run(uninterrupted, "engine.lr=0.5", status=1)


@pytest.mark.parametrize("stage", [0, 1, 3])
def test_a_value_that_is_not_finite_stops_the_run_before_the_weights(stage: int, tmp_path: Path) -> None:
    # A learning rate this large makes the second step's loss overflow.
    said = run(tmp_path / "run", "engine.lr=1e30", "engine.warmup=1", f"engine.zero_stage={stage}", status=1)
    assert "not finite" in said
    kept = list((tmp_path / "run").glob("nonfinite-step-*-rank-0.json"))
    assert len(kept) == 1
    assert json.loads(kept[0].read_text())[0][0]["sequences"]


def test_bf16_trains_and_resumes(tmp_path: Path) -> None:
    words = ("engine.dtype=bf16", "engine.zero_stage=1")
    run(tmp_path / "whole", *words)
    out = tmp_path / "run"
    process = subprocess.Popen(command(out, *words, "save_every=1"), env=environment(), stderr=subprocess.DEVNULL)
    wait_for(lambda: len(list((out / "checkpoints").glob("step-*"))) > 0, process)
    process.kill()
    process.wait()
    run(out, *words)
    assert_same_run(out, tmp_path / "whole")


def wait_for(happened: Any, process: subprocess.Popen[Any], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "waited too long"
        if process.poll() is not None and not happened():
            raise AssertionError(f"the process ended with status {process.returncode}")
        time.sleep(0.01)


def descendants(pid: int) -> list[int]:
    found = []
    for child in (Path("/proc") / str(pid) / "task" / str(pid) / "children").read_text().split():
        found += [*descendants(int(child)), int(child)]
    return found
