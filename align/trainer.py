"""The loop of reinforcement learning: sample, score, mix, advantages, update, evaluate, save."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

from align.config import AlignConfig
from align.policy.teacher import teacher_model
from align.reporting.manifest import MANIFEST
from align.run import MAY_CHANGE, PolicyRun, build_run
from align.starting_model import check_path
from align.state import RunState
from align.training.best import keep_best
from align.training.evaluation import evaluate_if_due
from align.training.loop import Logs, Loop
from align.training.sample_log import SampleLog
from reward_models.backbone.pretrained import check_sequence_parallel
from reward_models.runtime.metrics import JsonLines, NullLog
from reward_models.runtime.run import StopSignal, begin_run
from reward_models.start import check_start


def train(config: AlignConfig) -> Path | None:
    """Train a policy, or resume; returns its directory, or ``None`` if a signal stopped the run early."""
    check_start(config, config.engine, config.prompts.train, "prompts.train")
    check_path(config.model.path)
    check_sequence_parallel(config.model, ranks := config.engine.sequence_parallel)
    if config.teacher is not None:
        check_sequence_parallel(teacher_model(config.teacher), ranks)
    with ExitStack() as stack:
        begun = stack.enter_context(
            begin_run(config, may_change=MAY_CHANGE, manifest=MANIFEST, result="policy", sequence_parallel=ranks)
        )
        if begun.finished:
            return begun.path
        run = build_run(config, begun, stack)
        last = loop(run, run.resume(), stack)
        return run.finish(last) if last is not None else None


def loop(run: PolicyRun, state: RunState, stack: ExitStack) -> RunState | None:
    """Make the steps from ``state`` to the end; returns the last state, ``None`` if a signal stopped the run before.

    Args:
        stack: closes the logs at the end.
    """
    config, world = run.config, run.world
    made = Loop(run, state, open_logs(run, state, stack))
    stop = stack.enter_context(StopSignal())
    bar = stack.enter_context(run.reporter.progress("policy", config.steps, state.step, config.log_every))
    if state.step == 0 and (values := evaluate_if_due(run, state)):
        keep_best(run, state, values)
        made.logs.metrics.write(0, values)
    while made.state.step < config.steps:
        if stop.anywhere(world):
            made.save()
            step = made.state.step
            run.reporter.say(f"stopped by a signal after step {step}, saved; the same command goes on from there")
            return None
        made.make_step(bar)
    return made.state


def open_logs(run: PolicyRun, state: RunState, stack: ExitStack) -> Logs:
    """The files of the run, but for two that the run keeps itself. Ranks other than the main one write nothing."""
    last_logged_step = state.step or -1  # a run that starts anew writes the line of step 0 again
    log = stack.enter_context(closing(run.begun.open_log(last_logged_step)))
    if not run.world.is_main:
        return Logs(log, NullLog(), NullLog())
    run.alarms, run.by_prompt, timeline = (
        stack.enter_context(closing(JsonLines(run.begun.path / f"{name}.jsonl", last_logged_step)))
        for name in ("guards", "held_out", "timeline")
    )
    sample_log = SampleLog(run.begun.path, last_logged_step, run.config.samples_per_log)
    return Logs(log, stack.enter_context(closing(sample_log)), timeline)
