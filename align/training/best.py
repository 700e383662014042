"""The best policy of a run, kept while it trains; see :mod:`align.best` and :mod:`align.best_folder`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping

import torch

from align.best import updated
from align.best_folder import FILE, folder_at
from align.policy.policy import build_policy, save_policy
from align.reporting.manifest import write_manifest
from align.run import PolicyRun
from align.state import RunState
from reward_models.runtime.disk import explain_full_disk
from reward_models.runtime.engine import full_weights, torch_dtype


def keep_best(run: PolicyRun, state: RunState, values: Mapping[str, float]) -> None:
    """Save the policy if the evaluation in ``values`` is the best so far. Every rank must call it.

    Raises:
        ValueError: the evaluation before the first step has not measured the metric.
    """
    wanted = run.config.keep_best
    if wanted is None or not any(name.startswith("eval/") for name in values):
        return
    if wanted.metric not in values:
        missing = f"keep_best.metric={wanted.metric}: the evaluation after step {state.step} has no value of it"
        if state.step == 0:
            there = ", ".join(sorted(name for name in values if name.startswith("eval/")))
            raise ValueError(f"{missing}: it applies to no held-out prompt. It has measured {there}")
        run.reporter.say(f"{missing}; it is no candidate for the best")
        return
    state.best, better = updated(state.best, state.step, values[wanted.metric], wanted)
    if better:
        _save(run, state.step, state.best.value)


def _save(run: PolicyRun, step: int, value: float) -> None:
    """Write the policy in the plain format. It is saved from a model of its own: saving merges adapters for good."""
    config, wanted = run.config, run.config.keep_best
    assert wanted is not None
    weights = full_weights(run.engine.module.model, run.world)
    if run.world.is_main:
        final = folder_at(run.directory.checkpoints, step)
        partial = final.with_name(f".{final.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        facts = {"metric": wanted.metric, "mode": wanted.mode, "step": step, "value": value}
        with explain_full_disk(f"the best policy {final}", partial), torch.random.fork_rng(devices=[]):
            policy = build_policy(config.model, run.tokenizer, torch_dtype(config.engine))
            save_policy(policy, weights, partial, run.tokenizer, config.model.lora)
            (partial / FILE).write_text(json.dumps(facts, indent=1), encoding="utf-8")
            write_manifest(partial, config, {"steps": step, "best": facts, "world_size": run.world.size})
        if final.exists():  # written before a kill, and this step made again
            shutil.rmtree(final)
        partial.rename(final)
    run.world.barrier()
