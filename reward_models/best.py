"""The best reward model of a run by a held-out metric.

While the run lasts it is a checkpoint of its own, which the others do not push out when they rotate. At the end it is
calibrated, evaluated and saved as the last model is, in the folder ``best`` of the run.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from reward_models.keep_best import KeepBestConfig
from reward_models.runtime.checkpoint import (
    STATE_FILE,
    CheckpointError,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from reward_models.runtime.distributed import World
from reward_models.runtime.run import Run

FOLDER = "best"  # of the checkpoints while the run lasts, and of the finished run


def keep(
    rule: KeepBestConfig | None, checkpoints: Path, engine: Any, step: int, values: Mapping[str, float], world: World
) -> bool:
    """Write a checkpoint if the evaluation in ``values`` is the best so far; returns whether. Every rank must call it.

    A run that is resumed from before the best makes the same steps again, so that its best stays.
    """
    if rule is None or rule.metric not in values:
        return False
    before, value = best_in(checkpoints / FOLDER), values[rule.metric]
    if math.isnan(value):  # e.g. an AUROC of data without an unsafe response
        return False
    world.barrier()  # all ranks have looked
    better = before is None or rule.prefers(value, before["value"])
    if better:
        facts = {"metric": rule.metric, "mode": rule.mode, "value": value}
        save_checkpoint(checkpoints / FOLDER, engine, step, facts, world, keep=1)
    return better


def best_in(folder: Path) -> dict[str, Any] | None:
    """Step, metric, mode and value of the best so far; ``None`` before there is one."""
    kept = list_checkpoints(folder)
    if not kept:
        return None
    state = json.loads((kept[-1] / STATE_FILE).read_text(encoding="utf-8"))
    return {name: state[name] for name in ("step", "metric", "mode", "value")}


def publish(rule: KeepBestConfig, run: Run, engine: Any, steps: int, save: Callable[[Path, int], None]) -> None:
    """Save the best model into the folder ``best`` of the run; afterwards the engine has the last one's weights again.

    Args:
        steps: of the whole run. ``save``: saves the engine's model, which has made so many steps, into a folder; every
            rank calls it.

    Raises:
        CheckpointError: the last model's checkpoint cannot be read.
    """
    checkpoints, say = run.directory.checkpoints, run.reporter.say
    kept, last = (latest_checkpoint(folder, run.world, say) for folder in (checkpoints / FOLDER, checkpoints))
    if kept is None:
        say(f"keep_best: no evaluation had a value of {rule.metric}: there is the last model only")
        return
    if last is None or last != list_checkpoints(checkpoints)[-1]:
        raise CheckpointError(f"the last checkpoint in {checkpoints} cannot be read; the same command makes it again")
    best, folder = best_in(checkpoints / FOLDER), run.path / FOLDER
    engine.empty_partition_cache()  # ZeRO stage 3: gathered weights would outlive the loading
    load_checkpoint(kept, engine, run.world)
    if run.world.is_main:
        shutil.rmtree(folder, ignore_errors=True)  # of a call that was killed
        folder.mkdir()
    run.world.barrier()
    assert best is not None
    save(folder, int(best["step"]))
    engine.empty_partition_cache()
    load_checkpoint(last, engine, run.world)
    say(f"the best {rule.metric}, {best['value']:.4g}, was that of step {best['step']:,} of {steps:,}: {folder}")
