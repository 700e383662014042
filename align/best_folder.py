"""The place where the best policy of a run is kept.

While the run lasts, it lies beside the checkpoints, which do not push it out when they rotate. Every checkpoint names
the policy that was the best at that step, and no policy is deleted that a checkpoint names: a run that is resumed or
rolled back finds the best that it knew there. At the end the best becomes the folder ``best`` of the run.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from align.best import FOLDER, Best
from reward_models.runtime.checkpoint import STATE_FILE, CheckpointError, list_checkpoints

FILE = "best.json"  # in the folder of a best policy


def folder_at(checkpoints: Path, step: int) -> Path:
    """The folder of the policy after ``step`` steps, while the run lasts."""
    return checkpoints / f"best-{step:08d}"


def check_present(directory: Path, best: Best | None) -> None:
    """``CheckpointError`` if the policy that a checkpoint names as the best, if any, is not in the run's directory."""
    if best is None:
        return
    final, folder = directory / FOLDER / FILE, folder_at(directory / "checkpoints", best.step)
    published = final.is_file() and json.loads(final.read_text(encoding="utf-8"))["step"] == best.step
    if not published and not folder.is_dir():
        raise CheckpointError(
            f"the checkpoint names {folder} as the best policy, and it is not there. Restore it, or start anew with "
            "overwrite=true"
        )


def prune(checkpoints: Path) -> None:
    """Delete every best policy that no checkpoint names."""
    folders = [folder for folder in checkpoints.glob("best-*") if re.fullmatch(r"best-\d+", folder.name)]
    if not folders:
        return
    named: set[int] = set()
    for checkpoint in list_checkpoints(checkpoints):
        state: dict[str, Any] = json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))
        if state.get("best") is not None:
            named.add(int(state["best"]["step"]))
    for folder in folders:
        if int(folder.name.removeprefix("best-")) not in named:
            shutil.rmtree(folder)


def publish(directory: Path, best: Best) -> Path:
    """Make the best policy the folder ``best`` of the run, which it returns. It may be called again after a kill."""
    final, folder = directory / FOLDER, folder_at(directory / "checkpoints", best.step)
    if folder.is_dir():
        if final.exists():
            shutil.rmtree(final)
        folder.rename(final)
    return final
