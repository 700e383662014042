"""Programs set how threads wait before torch is loaded, and leave the user's own setting alone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Ends the program as soon as it imports torch, or where it never does; libgomp reads the variable when torch loads it.
PROBE = """
import os, sys
def report(event, arguments):
    if event == "import" and arguments[0] == "torch":
        print(os.environ.get("GOMP_SPINCOUNT"), flush=True)
        os._exit(0)
sys.addaudithook(report)
__import__(sys.argv[1], fromlist=["main"])
print(os.environ.get("GOMP_SPINCOUNT"))
"""
PROGRAMS = ("keel.cli", "reward_models.train", "align.train", "align.train_sft", "align.sample", "align.evaluate")


def turns(program: str, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, "-c", PROBE, program]
    done = subprocess.run(command, env=environment | variables, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("program", PROGRAMS)
def test_waiting_threads_soon_sleep(program: str) -> None:
    assert turns(program) == "1000"


def test_the_users_setting_wins() -> None:
    assert turns("reward_models.train", OMP_WAIT_POLICY="active") == "None"
    assert turns("reward_models.train", GOMP_SPINCOUNT="7") == "7"
