"""A training program that waits for a signal after a step, so that a test sends it neither too early nor too late.

The environment names the program, the rank that waits, the step, and the file that says that it waits.
"""

from __future__ import annotations

import importlib
import os
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from reward_models.runtime.reporter import Reporter
from reward_models.runtime.run import StopSignal

PROGRAM, RANK, STEP, FILE = (f"KEEL_TEST_HOLD_{name}" for name in ("PROGRAM", "RANK", "STEP", "FILE"))
PATIENCE = 100.0  # seconds


def main(command: list[str]) -> int:
    program = importlib.import_module(os.environ[PROGRAM])
    if os.environ.get("RANK", "0") != os.environ[RANK]:
        return program.main(command)
    handlers: list[StopSignal] = []
    enter, step = StopSignal.__enter__, Reporter.step

    def entered(self: StopSignal) -> StopSignal:
        handlers.append(self)
        return enter(self)

    def step_and_wait(self: Reporter, bar: Any, done: int, values: Any) -> None:
        step(self, bar, done, values)
        if done == int(os.environ[STEP]):
            Path(os.environ[FILE]).touch()
            end = time.monotonic() + PATIENCE
            while handlers[-1].received is None and time.monotonic() < end:
                time.sleep(0.005)

    with patch.object(StopSignal, "__enter__", entered), patch.object(Reporter, "step", step_and_wait):
        return program.main(command)
