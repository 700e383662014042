"""A run's directory, its signals, and what it says."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from reward_models.config import RewardModelConfig
from reward_models.runtime.checkpoint import CheckpointError
from reward_models.runtime.config import ConfigError, dump_config, load_config
from reward_models.runtime.distributed import World
from reward_models.runtime.program import exit_status
from reward_models.runtime.reporter import Reporter
from reward_models.runtime.run import (
    CONFIG_FILE,
    LOCK_FILE,
    RunDirectory,
    StopSignal,
    begin_run,
    check_directory,
    check_shared,
    check_sources,
    package_versions,
    seed_everything,
)
from reward_models.runtime.training_config import RUN_MAY_CHANGE, RunConfig

RUN = "output_dir: here\nlr: 0.1\nengine:\n  zero_stage: 0\n  dtype: fp32\n"


def begin(path: Path, resolved: str = RUN, overwrite: bool = False) -> RunDirectory:
    run = RunDirectory(path)
    run.begin(resolved, overwrite=overwrite, may_change=("engine.zero",))
    return run


# --- the directory ----------------------------------------------------------------------------------------------------


def test_a_new_directory_is_made_and_holds_the_configuration_and_nothing_else(tmp_path: Path) -> None:
    run = begin(tmp_path / "a" / "b")
    assert [file.name for file in run.path.iterdir()] == [CONFIG_FILE]
    assert (run.path / CONFIG_FILE).read_text() == RUN


def test_the_same_run_goes_on_and_may_be_computed_another_way(tmp_path: Path) -> None:
    run = begin(tmp_path / "run")
    (run.path / "kept").touch()
    begin(run.path)
    begin(run.path, RUN.replace("zero_stage: 0", "zero_stage: 3"))
    assert (run.path / "kept").exists()
    assert "zero_stage: 3" in (run.path / CONFIG_FILE).read_text()


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (RUN.replace("0.1", "0.2"), r"lr: 0\.1 there, 0\.2 here"),
        (RUN.replace("fp32", "bf16"), r"engine\.dtype: fp32 there, bf16 here"),
        (RUN + "new: 1\n", "new: None there, 1 here"),
    ],
)
def test_another_configuration_is_refused_and_the_way_out_named(other: str, named: str, tmp_path: Path) -> None:
    run = begin(tmp_path / "run")
    (run.path / "metrics.jsonl").touch()
    with pytest.raises(ConfigError, match=rf"{named}.*overwrite=true"):
        begin(tmp_path / "run", other)
    assert (tmp_path / "run" / CONFIG_FILE).read_text() == RUN


def test_a_dry_run_refuses_the_directory_that_a_run_refuses(tmp_path: Path) -> None:
    config = load_config(RewardModelConfig, "helpful_cpu", [f"output_dir={tmp_path}/run"])
    check_directory(config, ())  # nothing is there
    run = begin(tmp_path / "run", dump_config(config))
    (run.path / "metrics.jsonl").touch()
    check_directory(config, ())
    other = replace(config, batch_size=config.batch_size + 1)
    with pytest.raises(ConfigError, match=r"batch_size: \d+ there, \d+ here"):
        check_directory(other, ())
    check_directory(other, ("batch_size",))
    check_directory(replace(other, overwrite=True), ())


def test_a_run_that_failed_before_its_first_step_gives_way_to_the_corrected_one(tmp_path: Path) -> None:
    run = begin(tmp_path / "run")
    (run.path / LOCK_FILE).touch()
    corrected = RUN.replace("0.1", "0.2")
    assert run.differences(corrected, ()) == []
    begin(run.path, corrected)
    assert (run.path / CONFIG_FILE).read_text() == corrected


def test_overwriting_deletes_the_run(tmp_path: Path) -> None:
    run = begin(tmp_path / "run")
    (run.path / "old").touch()
    begin(run.path, RUN.replace("0.1", "0.2"), overwrite=True)
    assert [file.name for file in run.path.iterdir()] == [CONFIG_FILE]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("config", [None, "a: mapping of another program\n", "- a list\n", "not: [yaml", ""])
def test_a_directory_that_is_no_run_is_never_touched(config: str | None, overwrite: bool, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    if config is not None:
        (tmp_path / CONFIG_FILE).write_text(config)
    with pytest.raises(ConfigError, match="neither empty nor a run of ours"):
        begin(tmp_path, overwrite=overwrite)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_kill_while_the_configuration_is_written_leaves_a_run_that_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            begin(tmp_path / "run")
    begin(tmp_path / "run")  # begun and killed before it had a configuration: as good as empty
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            begin(tmp_path / "run")
    begin(tmp_path / "run")
    assert (tmp_path / "run" / CONFIG_FILE).read_text() == RUN


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_directory_is_used_by_one_run_at_a_time(overwrite: bool, tmp_path: Path) -> None:
    config = RunConfig(output_dir=str(tmp_path / "run"), loggers=[])
    with begin_run(config, may_change=(), manifest="done.json", result="model") as run:
        (run.path / "weights").touch()
        with (
            pytest.raises(ConfigError, match=rf"in use by process {os.getpid()} on .*another output_dir"),
            begin_run(
                replace(config, overwrite=overwrite), may_change=RUN_MAY_CHANGE, manifest="done.json", result="x"
            ),
        ):
            pass
        assert (run.path / "weights").exists()
    with begin_run(config, may_change=(), manifest="done.json", result="model") as run:  # the end unlocks it
        assert not run.finished
        (run.path / "done.json").touch()
    with begin_run(config, may_change=(), manifest="done.json", result="model") as run:
        assert run.finished
    again = replace(config, overwrite=True)
    with begin_run(again, may_change=RUN_MAY_CHANGE, manifest="done.json", result="model") as run:
        assert not run.finished
        assert sorted(file.name for file in run.path.iterdir()) == [LOCK_FILE, CONFIG_FILE]


def test_a_kill_while_an_old_run_is_deleted_leaves_a_run_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin(tmp_path / "run")
    for name in ("a.log", "z.log"):
        (run.path / name).touch()
    unlink = Path.unlink
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda self: unlink(self) if self.name == "a.log" else os.kill(os.getpid(), 2))
        with pytest.raises(KeyboardInterrupt):
            begin(run.path, overwrite=True)
    begin(run.path, overwrite=True)


def test_a_file_system_without_locks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("reward_models.runtime.run.fcntl.flock", refuse)
    assert RunDirectory(tmp_path / "run").lock(Reporter(is_main=True)) is None
    assert "no lock (Operation not supported)" in capsys.readouterr().err


# --- settings, seeds, sources -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", [{"log_every": 0}, {"keep_checkpoints": 0}, {"save_every": -1}])
def test_settings_that_make_no_sense_are_refused(setting: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(setting))}="):
        RunConfig(**setting)  # type: ignore[arg-type]


def test_seed_step_and_rank_each_change_the_random_numbers_and_alone_decide_them() -> None:
    def drawn(*place: int) -> tuple[float, float, float]:
        seed_everything(*place)
        return float(torch.rand(())), random.random(), float(np.random.rand())

    torch.manual_seed((3 * 1_000_003 + 5) * 65_537 + 1)  # runs that earlier versions began are resumed alike
    expected = float(torch.rand(()))
    assert drawn(3, 5, 1)[0] == expected
    assert drawn(3, 5, 1) == drawn(3, 5, 1)
    assert len({drawn(*place) for place in [(3, 5, 1), (4, 5, 1), (3, 6, 1), (3, 5, 2)]}) == 4


def test_other_sources_are_refused_by_name(tmp_path: Path) -> None:
    check_sources(tmp_path / "step-1", "abc", "abc", "prompts")
    with pytest.raises(CheckpointError, match=r"step-1 was trained on other prompts.*overwrite=true"):
        check_sources(tmp_path / "step-1", "abc", "abd", "prompts")
    with pytest.raises(
        CheckpointError, match=r"the sources have changed since \(train\.a\.jsonl; tokenizer\)\. Restore"
    ):
        check_sources(tmp_path / "step-1", "abc", "abd", "prompts", ["train.a.jsonl", "tokenizer"])


def test_versions_are_those_installed() -> None:
    found = package_versions("numpy")
    assert found["numpy"] == np.__version__
    assert found["torch"] == torch.__version__
    assert "trl" not in found


# --- signals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_becomes_a_flag_and_the_old_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopSignal() as stop:
        assert stop.received is None
        os.kill(os.getpid(), number)
        assert stop.received == number.name
    assert signal.getsignal(number) is before


def test_a_second_signal_stops_at_once_unless_it_is_the_first_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    status: list[int] = []
    monkeypatch.setattr(os, "_exit", status.append)
    clock = iter([50.0, 50.5, 52.0])
    monkeypatch.setattr("reward_models.runtime.run.time.monotonic", lambda: next(clock))
    with StopSignal():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert status == []
        os.kill(os.getpid(), signal.SIGINT)
    assert status == [128 + signal.SIGINT]


# --- what it says -----------------------------------------------------------------------------------------------------


def test_a_log_file_gets_a_line_now_and_then_and_the_last_step(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter(is_main=True)
    with reporter.progress("helpful RM", total=5, start=0, every=2) as bar:
        for step in range(1, 6):
            reporter.step(bar, step, {"loss": 0.5 / step, "tokens_per_second": 10_240.6})
    # Older releases of rich end with an empty line.
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert [line.split(":")[0] for line in lines] == ["helpful RM 2/5", "helpful RM 4/5", "helpful RM 5/5"]
    assert "loss 0.25 tokens_per_second 10,241" in lines[0]


def test_other_ranks_are_silent(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter(is_main=False)
    reporter.say("unheard")
    with reporter.progress("unseen", total=1, start=0, every=1) as bar:
        reporter.step(bar, 1, {"loss": 1.0})
    assert capsys.readouterr().err == ""


# --- several machines -------------------------------------------------------------------------------------------------


class OtherRank(World):
    """Rank 1 of 2, whose main rank has drawn the number 7."""

    def max(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.fill_(7)

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor

    def barrier(self) -> None:
        pass


def test_a_rank_that_does_not_see_the_main_ranks_files_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reward_models.runtime.run.SHARED_SECONDS", 0.0)
    world = OtherRank(1, 2, 1, torch.device("cpu"))
    with pytest.raises(ConfigError, match=r"ranks \[1\] do not see .*file system that all machines of the job share"):
        check_shared(tmp_path, world)
    (tmp_path / ".shared-7").touch()
    check_shared(tmp_path, world)


def fails(error: Exception) -> Callable[[], None]:
    def run() -> None:
        raise error

    return run


def test_a_lost_rank_is_one_line_and_other_faults_of_the_runtime_keep_their_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KEEL_TRACEBACK", raising=False)
    gloo = RuntimeError("[third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error: Connection reset by peer")
    for lost in (gloo, torch.distributed.DistBackendError("NCCL communicator was aborted")):
        assert exit_status(fails(lost)) == 1
        said = capsys.readouterr().err
        assert said.startswith("error: another rank has ended or cannot be reached")
        assert "The same command resumes" in said
        assert str(lost) in said
    with pytest.raises(RuntimeError, match="out of memory"):
        exit_status(fails(RuntimeError("out of memory")))
    monkeypatch.setenv("KEEL_TRACEBACK", "1")
    with pytest.raises(RuntimeError, match="gloo"):
        exit_status(fails(gloo))


@dataclass(frozen=True, kw_only=True)
class Part:
    name: str
    weight: float = 1.0
    later: int = 3


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """The keys that another version may not know: ``later`` in three places, ``other`` and ``section``."""

    output_dir: str = "runs/x"
    parts: list[Part] = field(default_factory=list)
    by_name: dict[str, Part] = field(default_factory=dict)
    one: Part | None = None
    own: Part = field(default_factory=lambda: Part(name="own", later=4))
    other: dict[str, float] = field(default_factory=dict)
    section: Part | None = None


@dataclass(frozen=True, kw_only=True)
class Stricter(Earlier):
    """A later version: a key and a value have new names, and it refuses what the earlier one took."""

    RENAMED: ClassVar[dict[str, str]] = {"sections": "section"}
    RENAMED_VALUES: ClassVar[dict[str, dict[str, str]]] = {"way": {"old": "new"}}

    way: str = "new"

    def __post_init__(self) -> None:
        if self.own.weight < 0:
            raise ValueError("own.weight must not be negative")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("sections: {name: a}", "config.yaml: unknown key sections; it is now called section"),
        ("gone: 1", "config.yaml: unknown key gone; "),
        ("way: old", "config.yaml: way=old: old is now called new"),
        ("own: {name: own, weight: -1.0}", "own.weight must not be negative"),
        ("by_name: {b: 3}", "config.yaml: by_name names sections"),
    ],
)
def test_a_run_whose_configuration_this_version_refuses_cannot_be_resumed_and_the_error_says_so(
    line: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / CONFIG_FILE).write_text(f"output_dir: runs/x\n{line}\n")
    (tmp_path / "metrics.jsonl").touch()
    with pytest.raises(ConfigError) as raised:
        RunDirectory(tmp_path).check(dump_config(Stricter()), overwrite=False, may_change=(), schema=Stricter)
    said = str(raised.value)
    assert f"This version cannot resume it, for it refuses its configuration: {reason}" in said
    assert "The version that began it can." in said
    assert "choose another output_dir, or set overwrite=true" in said
    assert "Go back to its configuration" not in said


def test_a_run_with_other_settings_can_be_resumed_with_its_own(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_text("output_dir: runs/x\nway: other\n")
    (tmp_path / "metrics.jsonl").touch()
    with pytest.raises(
        ConfigError, match=r"way: other there, new here\)\. Go back to its configuration to resume it\. "
    ):
        RunDirectory(tmp_path).check(dump_config(Stricter()), overwrite=False, may_change=(), schema=Stricter)


WRITTEN = """output_dir: runs/x
parts:
- {name: a, weight: 2.0}
by_name:
  b: {name: b, weight: 1.0}
one: {name: c, weight: 1.0}
own: {name: own, weight: 1.0}
"""
SAME = Earlier(parts=[Part(name="a", weight=2.0)], by_name={"b": Part(name="b")}, one=Part(name="c"))


@pytest.mark.parametrize(
    ("now", "named"),
    [
        (SAME, []),
        (replace(SAME, other={"x": 1.0}), ["other: {} there, None here", "other.x: None there, 1.0 here"]),
        (replace(SAME, own=Part(name="own")), ["own.later: 4 there, 3 here"]),  # the default of the whole's section
        (replace(SAME, one=Part(name="c", later=1)), ["one.later: 3 there, 1 here"]),
        (replace(SAME, by_name={"b": Part(name="b", later=1)}), ["by_name.b.later: 3 there, 1 here"]),
        (replace(SAME, parts=[Part(name="a", weight=2.0, later=5)]), ["parts: [{"]),
    ],
)
def test_a_setting_that_an_earlier_version_did_not_have_is_at_its_default_there(
    now: Earlier, named: list[str], tmp_path: Path
) -> None:
    run = RunDirectory(tmp_path)
    (tmp_path / CONFIG_FILE).write_text(WRITTEN)
    (tmp_path / "metrics.jsonl").touch()
    found = run.differences(dump_config(now), (), Earlier)
    assert len(found) == len(named)
    assert all(text.startswith(start) for text, start in zip(found, named, strict=True)), found
