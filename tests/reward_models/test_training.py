"""Whole training runs: ranks, ZeRO stages, kills, signals, and values that are not finite."""

from __future__ import annotations

import json
import random
import shutil
import time
from pathlib import Path

import pytest
import torch
from training_runs import (
    PARTITION_ALL,
    assert_close_run,
    assert_same_run,
    checkpoints,
    metrics,
    start,
    train,
    train_until_signal,
    weights,
)

from reward_models import RewardModel
from reward_models.data.sources import load


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    train(out, charts=True)
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
    train(tmp_path / "run", f"engine.zero_stage={stage}", *([PARTITION_ALL] if stage == 3 else []))
    assert_close_run(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_two_ranks_equal_one(stage: int, uninterrupted: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", f"engine.zero_stage={stage}", *([PARTITION_ALL] if stage == 3 else []), ranks=2)
    assert_close_run(tmp_path / "run", uninterrupted)


def test_four_ranks_of_which_two_share_tokens_equal_one(uninterrupted: Path, tmp_path: Path) -> None:
    words = ("engine.sequence_parallel=2", "model.mlp_tiles=2", "engine.zero_stage=3", PARTITION_ALL)
    train(tmp_path / "run", *words, ranks=4)
    assert_close_run(tmp_path / "run", uninterrupted)
    ours, theirs = (json.loads((out / "manifest.json").read_text()) for out in (tmp_path / "run", uninterrupted))
    # each score is counted once, and not by every rank that computed it
    assert ours["evaluation"]["loss"] == pytest.approx(theirs["evaluation"]["loss"], rel=1e-2)
    for name in ("mean", "std"):
        assert ours["calibration"][name] == pytest.approx(theirs["calibration"][name], rel=2e-2)


def test_the_result_does_not_depend_on_the_cut_into_micro_batches(uninterrupted: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", "max_tokens=64")
    assert_close_run(tmp_path / "run", uninterrupted)


def test_padded_batches_give_what_trees_give(uninterrupted: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", "model.layout=padded")
    assert_close_run(tmp_path / "run", uninterrupted)


def test_two_ranks_go_on_as_one_in_another_stage(uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run = start(out, "engine.zero_stage=2", "save_every=1", ranks=2)
    run.wait_for(lambda: len(checkpoints(out)) > 0)
    run.kill()
    assert not (out / "manifest.json").exists()
    train(out, "engine.zero_stage=1")
    assert_close_run(out, uninterrupted)


def test_killed_at_random_moments_a_run_resumes_to_the_same_bits(uninterrupted: Path, tmp_path: Path) -> None:
    out, moments = tmp_path / "run", random.Random(5)
    seconds = (uninterrupted / "manifest.json").stat().st_mtime - (uninterrupted / "config.yaml").stat().st_mtime
    for _ in range(10):
        began = time.time()
        run = start(out, "save_every=1")
        run.wait_for(lambda t=began: (out / "config.yaml").is_file() and (out / "config.yaml").stat().st_mtime > t)
        time.sleep(moments.uniform(0, seconds / 4))
        run.kill()
        if (out / "manifest.json").exists():
            break
    train(out)
    assert_same_run(out, uninterrupted)


def test_a_run_whose_last_checkpoint_is_damaged_resumes_from_the_one_before(
    uninterrupted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(uninterrupted, out)
    (out / "manifest.json").unlink()  # as if killed before the end
    file = max(checkpoints(out)) / "rank-00000.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(bytes(content))
    said = train(out)
    assert "step-00000006 is damaged" in said.replace("\n", "")
    assert "resuming from" in said
    assert "step-00000004" in said
    assert_same_run(out, uninterrupted)


def test_sigterm_saves_and_the_same_command_goes_on(uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert "stopped by a signal" in train_until_signal(out, "save_every=0")
    assert len(checkpoints(out)) == 1
    assert not (out / "manifest.json").exists()
    train(out, "save_every=0")
    assert_same_run(out, uninterrupted)


def test_a_signal_to_one_rank_stops_all_of_them_at_the_same_step(uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert "stopped by a signal" in train_until_signal(out, "save_every=0", ranks=2, rank=1)
    assert [len(list(path.glob("rank-*"))) for path in checkpoints(out)] == [1]  # stage 0: one rank holds everything
    train(out, "save_every=0")
    assert_close_run(out, uninterrupted)


def test_a_finished_run_is_not_trained_again_and_another_configuration_is_refused(uninterrupted: Path) -> None:
    before = (uninterrupted / "manifest.json").stat().st_mtime_ns
    assert "holds the finished model already" in train(uninterrupted)
    assert (uninterrupted / "manifest.json").stat().st_mtime_ns == before
    assert "engine.lr" in train(uninterrupted, "engine.lr=0.5", status=1)


@pytest.mark.parametrize("stage", [0, 1, 3])
def test_a_value_that_is_not_finite_stops_the_run_before_the_weights(stage: int, tmp_path: Path) -> None:
    # A learning rate this large makes the second step's loss overflow.
    said = train(tmp_path / "run", "engine.lr=1e30", "engine.warmup=1", f"engine.zero_stage={stage}", status=1)
    assert "not finite" in said
    kept = list((tmp_path / "run").glob("nonfinite-step-*-rank-0.json"))
    assert len(kept) == 1
    assert json.loads(kept[0].read_text())[0][0]["sequences"]


@pytest.mark.parametrize("stage", [0, 1])
def test_bf16_trains_and_resumes(stage: int, tmp_path: Path) -> None:
    words = ("engine.dtype=bf16", f"engine.zero_stage={stage}")
    train(tmp_path / "whole", *words)
    out = tmp_path / "run"
    run = start(out, *words, "save_every=1")
    run.wait_for(lambda: len(checkpoints(out)) > 0)
    run.kill()
    train(out, *words)
    assert_same_run(out, tmp_path / "whole")
    # In bf16 the scores of a model would depend on the batch they are computed in.
    assert {tensor.dtype for tensor in weights(out).values()} == {torch.float32}
    rows = load(["synthetic:helpful:test"], "comparison", limit=20).records
    alone, together = (RewardModel.load(out, max_tokens=budget).score_records(rows) for budget in (1, 10_000))
    assert [s.raw for pair in alone for s in pair] == pytest.approx(
        [s.raw for pair in together for s in pair], abs=1e-5
    )
