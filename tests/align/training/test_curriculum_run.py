"""A run with a curriculum: metrics, and the same bits after a kill and on two ranks."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import training_runs
from training_runs import assert_close_run, assert_same_run, checkpoints, metrics

from align.rollouts.curriculum import CurriculumState


@pytest.fixture(scope="module")
def train(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    file = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    rows = [
        {"prompt": f"Write {n}.", "answer": "[^a]*" if n % 2 else ".*", "verifier": "regex", "level": n // 6}
        for n in range(18)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = (
        f"model.path={policy}",
        f"prompts.train=[{file}]",
        "rewards=[{term: accuracy}, {term: 'letters:Letters'}]",
        "curriculum={by: pass_rate, visits: 1, rest: 1, raise_at: 0.4, raise_after: 4}",
        *("steps=6", "prompts_per_step=2", "samples_per_prompt=2", "steps_per_rollout=1", "resample_rounds=1"),
        *("max_new_tokens=6", "max_tokens=120", "loss.beta=0.0", "engine.dtype=fp32", "engine.lr=3e-3"),
        *("save_every=2", "keep_checkpoints=9", "max_silent_rollouts=0", "loggers=[]", "timeout_seconds=60"),
    )
    return partial(training_runs.train, settings=settings, program="align.train")


@pytest.fixture(scope="module")
def whole(train: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "whole"
    train(out, charts=True)
    return out


def test_levels_rise_and_pools_are_counted(whole: Path) -> None:
    lines = metrics(whole)
    levels = [line["curriculum/level/prompts"] for line in lines if "curriculum/level/prompts" in line]
    assert levels == sorted(levels)
    assert levels[0] == 0
    assert levels[-1] > 0
    pools = ("new", "never", "hard", "medium", "easy", "always")
    counted = [line for line in lines if "curriculum/new" in line]
    assert len(counted) == 6
    assert all(sum(line[f"curriculum/{pool}"] for pool in pools) == 18 for line in counted)
    assert any(line["curriculum/skipped"] for line in counted)


def test_a_stopped_run_goes_on_to_the_same_bits(whole: Path, train: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    training_runs.train_until_signal(out, step=3, **train.keywords)
    saved = CurriculumState.load(max(checkpoints(out)) / "curriculum.safetensors")
    assert saved.rollout == 3
    train(out)
    assert_same_run(out, whole)


def test_two_ranks_draw_the_same_prompts(whole: Path, train: Any, tmp_path: Path) -> None:
    train(tmp_path / "run", ranks=2)
    assert_close_run(tmp_path / "run", whole)
