"""Code of others that a configuration would run is printed, and not run."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from keel.cli import app

MODULE = "open('ran', 'w').close()\n\n\nclass Politeness:\n    pass\n"


def said(*words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a module that leaves a trace when it is imported."""
    (tmp_path / "polite.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_dry_run_of_reinforcement_learning_names_foreign_terms(folder: Path) -> None:
    rewards = 'rewards=[{term: accuracy}, {term: "polite:Politeness"}, {term: "align.rewards.gold:GoldUnsafe"}]'
    lines = said("train", "align", "--config", "cpu", "--dry-run", rewards, "model.trust_remote_code=true")
    assert [line for line in lines.splitlines() if line.startswith("runs other code")] == [
        "runs other code: rewards.1.term imports and calls polite:Politeness",
        "runs other code: model.trust_remote_code runs Python code from runs/sft_cpu",
    ]
    assert not (folder / "ran").exists()


def test_a_dry_run_of_a_project_names_foreign_terms_and_launchers(folder: Path) -> None:
    rewards = 'stages.rules.settings.rewards=[{term: "polite:Politeness"}]'
    lines = said("run", "cpu", "--dry-run", rewards, "stages.helpful.launcher='touch ran'")
    assert "   runs other code: the launcher touch ran" in lines
    assert "   runs other code: rewards.0.term imports and calls polite:Politeness" in lines
    assert not (folder / "ran").exists()
    assert "runs other code" not in said("run", "cpu", "--dry-run")
