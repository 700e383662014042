"""``benchmarks/gpu.sh``: it goes on after a failure, resumes, and writes what it has after every part."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.sh"
# An interpreter that measures nothing: it notes what it is asked for, and fails in the RL steps.
STAND_IN = """#!/bin/sh
case "$*" in
  -c*) exit 1 ;;
  -\\ *) exec {python} "$@" ;;
esac
echo "$*" >> {calls}
case "$*" in
  *tests/gpu*) echo "${{SUMMARY:-3 passed, 1 skipped in 0.05s}}" ;;
  *rl_step*) echo "no memory"; exit 3 ;;
  *--out*) while [ "$1" != --out ]; do shift; done; echo '{{"ratio": 2.0}}' > "$2" ;;
esac
"""


@pytest.fixture
def script(tmp_path: Path) -> Any:
    calls, python = tmp_path / "calls", tmp_path / "python"
    python.write_text(STAND_IN.format(python=sys.executable, calls=calls))
    python.chmod(0o755)

    def run(*options: str) -> tuple[int, dict[str, Any], list[str]]:
        """The exit status, the parts of the result, and the commands that were run."""
        calls.write_text("")
        words = [str(SCRIPT), "--out", str(tmp_path / "gpu.json"), "--work", str(tmp_path / "work"), *options]
        done = subprocess.run(words, env=os.environ | {"PYTHON": str(python)}, capture_output=True, check=False)
        parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
        return done.returncode, parts, calls.read_text().splitlines()

    return run


@pytest.mark.parametrize("rehearse", [[], ["--rehearse"]])
def test_a_part_that_fails_does_not_stop_the_others_and_is_the_only_one_to_be_repeated(
    script: Any, rehearse: list[str]
) -> None:
    status, parts, calls = script(*rehearse)
    failing = {"rl_step_0.6b", "rl_step_1.7b"}
    assert status == 1
    assert set(parts) == failing | {"tests", "flex_attention", "rm_training_0.6b", "rm_training_1.7b", "serving"}
    assert {name for name, part in parts.items() if part["status"] == "failed"} == failing
    assert {part["status"] for name, part in parts.items() if name not in failing} == {"done"}
    assert (parts["rl_step_0.6b"]["exit_status"], parts["rl_step_0.6b"]["log"]) == (3, "no memory\n")
    assert parts["rm_training_1.7b"]["result"] == {"ratio": 2.0}
    assert len(calls) == len(parts)
    assert len(script(*rehearse)[2]) == len(failing)
    assert len(script(*rehearse, "--fresh", "--only", "tests", "serving")[2]) == 2


def test_tests_that_are_all_skipped_are_not_done_and_are_run_again(
    script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUMMARY", "SKIPPED [1] tests/gpu/test_cuda.py:9: no GPU\n4 skipped, 2 deselected in 0.05s")
    status, parts, _ = script("--only", "tests")
    assert (status, parts["tests"]["status"]) == (0, "all skipped")
    assert "no GPU" in parts["tests"]["log"]
    monkeypatch.setenv("SUMMARY", "3 passed, 4 skipped in 0.05s")
    _, parts, calls = script("--only", "tests")
    assert (parts["tests"]["status"], len(calls)) == ("done", 1)
    assert not script("--only", "tests")[2]


def test_the_last_line_of_skipped_tests_is_the_one_that_the_script_looks_for(tmp_path: Path) -> None:
    tests = tmp_path / "test_nothing.py"
    tests.write_text("import pytest\n\n@pytest.mark.skip\ndef test_nothing():\n    pass\n")
    part = next(line for line in SCRIPT.read_text().splitlines() if line.startswith("part tests"))
    words = [word for word in part.split() if word in ("-q", "-qq", "-rs", "-n0")]
    command = [sys.executable, "-m", "pytest", "-c", str(SCRIPT.parents[1] / "pyproject.toml"), *words, str(tests)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert re.match(r"1 skipped in [\d.]+s$", done.stdout.splitlines()[-1]), done.stdout


def test_parts_without_time_are_noted_and_not_begun(script: Any) -> None:
    status, parts, calls = script("--minutes", "0")
    assert (status, calls) == (0, [])
    assert {part["status"] for part in parts.values()} == {"no time left"}


def test_the_limits_of_all_parts_fit_into_the_time_of_a_lent_gpu(script: Any) -> None:
    limits = {name: part["limit"] for name, part in script("--minutes", "15")[1].items()}
    assert sum(limits.values()) <= 12 * 60


def test_the_script_passes_its_linter() -> None:
    linter = shutil.which("shellcheck")
    if linter is None:
        pytest.skip("shellcheck is not installed")
    subprocess.run([linter, str(SCRIPT)], check=True)
