"""A run's directory, its signals, and what it says."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from reward_models.runtime.config import ConfigError
from reward_models.runtime.run import CONFIG_FILE, Reporter, RunDirectory, StopSignal

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
    begin(tmp_path / "run")
    with pytest.raises(ConfigError, match=rf"{named}.*overwrite=true"):
        begin(tmp_path / "run", other)
    assert (tmp_path / "run" / CONFIG_FILE).read_text() == RUN


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
            reporter.step(bar, step, {"loss": 0.5 / step})
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["helpful RM 2/5", "helpful RM 4/5", "helpful RM 5/5"]
    assert "loss 0.25" in lines[0]


def test_other_ranks_are_silent(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter(is_main=False)
    reporter.say("unheard")
    with reporter.progress("unseen", total=1, start=0, every=1) as bar:
        reporter.step(bar, 1, {"loss": 1.0})
    assert capsys.readouterr().err == ""
