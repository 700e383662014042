"""The root command starts quickly and has every sub-command."""

from __future__ import annotations

import subprocess
import sys

from typer.testing import CliRunner

from keel.cli import app

SLOW = ("torch", "transformers", "deepspeed", "datasets", "gradio", "sklearn", "matplotlib", "sqlalchemy", "omegaconf")


def test_the_command_line_loads_nothing_slow() -> None:
    code = f"import sys, keel.cli; print(*sorted(set({SLOW!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_help_names_every_command() -> None:
    done = CliRunner().invoke(app, ["--help"])
    assert done.exit_code == 0
    for name in ("train", "evaluate", "score", "serve", "report", "run", "demo", "data", "annotate", "push", "config"):
        assert f" {name} " in done.output


def test_help_prints_brackets_and_joins_the_lines_of_a_paragraph() -> None:
    text = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, ["run", "--help"]).output
    assert "data.train=[a.jsonl]" in text
    assert "Exits with 2 if the project cannot be run as it is" in text
