"""Expected errors are one message and an exit status; others keep their traceback."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from align.rewards.terms import TermError
from keel.cli import app
from keel.commands.options import column_mapping, split_settings
from keel.failures import EXPECTED, CommandFailed, failures
from reward_models.data.sources import BadRowsError


def test_the_classes_of_expected_errors_exist() -> None:
    for module, name in EXPECTED:
        assert issubclass(getattr(importlib.import_module(module), name), Exception)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("no such key"), 2),
        (OSError("no space left"), 2),
        (TermError("no term 'acuracy'"), 2),
        (BadRowsError([], 0), 1),
        (CommandFailed("stopped", 130), 130),
    ],
)
def test_an_expected_error_is_a_message_and_a_status(
    error: Exception, status: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KEEL_TRACEBACK", raising=False)
    with pytest.raises(typer.Exit) as exit_, failures():
        raise error
    assert exit_.value.exit_code == status
    assert capsys.readouterr().err == str(error).replace("max_bad=", "--max-bad ") + "\n"
    monkeypatch.setenv("KEEL_TRACEBACK", "1")
    with pytest.raises(type(error)), failures():
        raise error


def test_ctrl_c_has_the_status_of_its_signal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as exit_, failures():
        raise KeyboardInterrupt
    assert (exit_.value.exit_code, capsys.readouterr().err) == (130, "interrupted\n")


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), failures():
        _ = 1 / 0


@pytest.mark.parametrize(
    "words",
    [
        ["run", "nothing.yaml"],
        ["score", "--model", "./nothing", "--data", "a.jsonl", "--out", "b.jsonl"],
        ["evaluate", "rm", "--model", "./nothing", "--data", "a.jsonl", "--out", "b"],
        ["report", "nothing"],
        ["push", "nothing", "me/model"],
        ["data", "check", "nothing.jsonl"],
        ["data", "prepare", "nothing.jsonl", "--out", "b"],
        ["data", "curate", "nothing.jsonl", "--out", "b", "--judge", "nothing"],
        ["serve", "--model", "a=./nothing"],
        ["serve", "--model", "a=./nothing", "quue=4"],
        ["annotate", "user", "disable", "nobody", "--db", "a.db"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_every_command_refuses_what_is_not_there_in_one_line(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2, done.output
    assert isinstance(done.exception, SystemExit)
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_settings_are_told_from_data() -> None:
    words = ["a.jsonl", "threshold=0.5", "./date=2024.jsonl", "endpoint.tries=1", "owner/name:split"]
    assert split_settings(words) == (
        ["a.jsonl", "./date=2024.jsonl", "owner/name:split"],
        ["threshold=0.5", "endpoint.tries=1"],
    )


def test_columns_are_written_once_and_in_one_form() -> None:
    assert column_mapping(["chosen=good", "rejected=bad"]) == {"chosen": "good", "rejected": "bad"}
    assert column_mapping(None) is None
    for wrong in (["chosen"], ["chosen=a", "chosen=b"]):
        with pytest.raises(ValueError, match="OURS=THEIRS"):
            column_mapping(wrong)
