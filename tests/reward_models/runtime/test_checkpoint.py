"""A checkpoint restores everything, and one that cannot be used says so before it touches anything."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from reward_models.runtime.checkpoint import (
    CheckpointError,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from reward_models.runtime.disk import explain_full_disk
from reward_models.runtime.distributed import World
from reward_models.runtime.engine import backward, build_engine, optimizer_step
from reward_models.runtime.training_config import EngineConfig

FP32 = EngineConfig(dtype="fp32", lr=0.1, schedule="linear", warmup=2)


def make(world: World, config: EngineConfig = FP32, seed: int = 0, hidden: int = 4) -> Any:
    torch.manual_seed(seed)
    return build_engine(nn.Sequential(nn.Linear(3, hidden), nn.Tanh(), nn.Linear(hidden, 1)), config, 10, world)


def step(engine: Any, world: World, number: int) -> float:
    inputs = torch.randn(5, 3, generator=torch.Generator().manual_seed(number)).to(next(engine.parameters()).dtype)
    loss = engine(inputs).float().square().mean()
    backward(engine, loss, world, last=True)
    return optimizer_step(engine, True, world)


def state(engine: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in engine.module.state_dict().items()}


@pytest.fixture
def saved(world: World, tmp_path: Path) -> Path:
    engine = make(world)
    for number in range(3):
        step(engine, world, number)
    return save_checkpoint(tmp_path, engine, 3, {"data": "abc"}, world, keep=2)


# --- going on ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("stages", [(0, 0), (1, 1), (0, 2), (2, 0)])
def test_a_restored_engine_goes_on_as_the_saved_one(
    stages: tuple[int, int], dtype: Any, world: World, tmp_path: Path
) -> None:
    first, second = (
        make(world, EngineConfig(dtype=dtype, lr=0.1, warmup=2, zero_stage=stage), seed)
        for seed, stage in enumerate(stages)
    )
    for number in range(3):
        step(first, world, number)
    path = save_checkpoint(tmp_path, first, 3, {"data": "abc"}, world, keep=1)
    assert load_checkpoint(path, second, world) == {"step": 3, "optimizer_steps": 3, "world_size": 1, "data": "abc"}
    assert second.lr_scheduler.get_last_lr() == first.lr_scheduler.get_last_lr()
    for number in range(3, 6):
        assert step(first, world, number) == pytest.approx(step(second, world, number), rel=1e-6)
    for name, tensor in state(first).items():
        torch.testing.assert_close(tensor, state(second)[name], rtol=0, atol=0 if stages[0] == stages[1] else 1e-6)


def test_only_the_latest_are_kept_and_one_that_is_not_complete_is_none(world: World, tmp_path: Path) -> None:
    engine = make(world)
    (tmp_path / ".step-00000009.partial").mkdir(parents=True)
    for number in range(1, 5):
        save_checkpoint(tmp_path, engine, number, {}, world, keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000003", "step-00000004"]
    assert list_checkpoints(tmp_path / "nowhere") == []


def test_a_step_made_again_replaces_its_checkpoint(saved: Path, world: World) -> None:
    save_checkpoint(saved.parent, make(world, seed=7), 3, {"data": "new"}, world, keep=2)
    assert json.loads((saved / "state.json").read_text())["data"] == "new"
    assert list_checkpoints(saved.parent) == [saved]


# --- what cannot be used ----------------------------------------------------------------------------------------------


def cut(path: Path, name: str, keep: int) -> None:
    file = path / name
    file.write_bytes(file.read_bytes()[:keep])


TENSORS = "rank-00000.safetensors"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "state.json").unlink(), "FileNotFoundError"),
        (lambda path: cut(path, "state.json", 20), "JSONDecodeError"),
        (lambda path: (path / "state.json").write_text("{}"), "KeyError: 'step'"),
        (lambda path: (path / "state.json").write_text("[1]"), "TypeError"),
        (lambda path: cut(path, TENSORS, 4), "SafetensorError"),
        (lambda path: cut(path, TENSORS, 300), "SafetensorError"),
        (lambda path: (path / TENSORS).write_bytes(b"\xff" * 4096), "SafetensorError"),
    ],
)
def test_a_damaged_checkpoint_says_what_is_wrong_and_what_to_do(
    damage: Callable[[Path], Any], message: str, saved: Path, world: World
) -> None:
    damage(saved)
    with pytest.raises(CheckpointError, match=rf"step-00000003 is not a readable checkpoint \({message}.*delete it"):
        load_checkpoint(saved, make(world), world)


@pytest.mark.parametrize(
    ("hidden", "message"), [(3, "has 4 of 3 values of 0.bias"), (5, "has 4 of 5 values of 0.bias")]
)
def test_a_checkpoint_of_another_model_is_refused_and_nothing_is_changed(
    hidden: int, message: str, saved: Path, world: World
) -> None:
    engine = make(world, hidden=hidden)
    before = state(engine)
    with pytest.raises(CheckpointError, match=f"{message}.*of another model, or files of it are missing"):
        load_checkpoint(saved, engine, world)
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(engine).items())


def test_a_missing_file_is_noticed(saved: Path, world: World) -> None:
    (saved / TENSORS).unlink()
    with pytest.raises(CheckpointError, match="has 0 of 4 values of"):
        load_checkpoint(saved, make(world), world)


def test_a_checkpoint_holds_no_pickle(saved: Path) -> None:
    assert {file.suffix for file in saved.iterdir()} == {".json", ".safetensors"}
    shutil.rmtree(saved)


# --- damage, and what is taken instead --------------------------------------------------------------------------------


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 1  # of a number: the file still reads
    file.write_bytes(bytes(content))


@pytest.fixture
def two(world: World, tmp_path: Path) -> tuple[Path, Path]:
    engine = make(world)
    first, second = (save_checkpoint(tmp_path, engine, number, {}, world, keep=2) for number in (1, 2))
    return first, second


def test_of_damaged_checkpoints_an_older_one_is_taken_and_it_is_said(two: tuple[Path, Path], world: World) -> None:
    first, second = two
    said: list[str] = []
    assert latest_checkpoint(second.parent, world, said.append) == second
    assert said == []
    flip(second / TENSORS)
    assert latest_checkpoint(second.parent, world, said.append) == first
    assert said == [f"{second} is damaged (the checksum of {TENSORS} differs); it is passed over for an older one"]
    (first / "state.json").unlink()
    with pytest.raises(CheckpointError, match=r"every checkpoint in .* is damaged"):
        latest_checkpoint(second.parent, world, said.append)
    assert "state.json is missing" in said[-1]
    assert latest_checkpoint(second.parent / "nowhere", world, said.append) is None


@pytest.mark.parametrize("content", [b"", b"[]", b'{"state.json": "0"}'])
def test_a_damaged_list_of_checksums_is_damage_too(content: bytes, two: tuple[Path, Path], world: World) -> None:
    (two[1] / "checksums-00000.json").write_bytes(content)
    assert latest_checkpoint(two[1].parent, world, lambda _: None) == two[0]


def test_a_checkpoint_of_an_earlier_version_has_no_checksums_and_is_taken(two: tuple[Path, Path], world: World) -> None:
    (two[1] / "checksums-00000.json").unlink()
    assert latest_checkpoint(two[1].parent, world, lambda _: None) == two[1]


def test_other_names_are_no_checkpoints(two: tuple[Path, Path]) -> None:
    for name in ("step-garbage", "step-00000009.old", "step-9"):
        (two[0].parent / name).mkdir()
    (two[0].parent / "step-00000008").touch()
    assert list_checkpoints(two[0].parent) == list(two)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), "no space left"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the quota is used up"),
    ],
)
def test_a_full_disk_is_explained_and_the_last_checkpoint_stays(
    error: Exception, said: str, two: tuple[Path, Path], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("reward_models.runtime.checkpoint.save_file", full)
    with pytest.raises(OSError, match=rf"{said}.*step-00000003 was not written.*same command"):
        save_checkpoint(two[0].parent, make(world), 3, {}, world, keep=2)
    assert sorted(path.name for path in two[0].parent.iterdir()) == [path.name for path in two]


def test_other_errors_are_left_alone() -> None:
    with pytest.raises(PermissionError), explain_full_disk("it"):
        raise PermissionError(errno.EACCES, "no")
    with pytest.raises(SafetensorError), explain_full_disk("it"):
        raise SafetensorError("invalid header")
