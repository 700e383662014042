"""The loop of reinforcement learning: sample, score, mix, advantages, update, evaluate, save."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

from align.config import AlignConfig
from align.phases import phase_at
from align.reporting.manifest import MANIFEST
from align.run import MAY_CHANGE, PolicyRun, build_run
from align.state import RunState
from align.training.best import keep_best
from align.training.collect import (
    advantages,
    check_signal,
    divergence_from_first,
    end_curriculum_rollout,
    mix,
    resample,
    rollout_metrics,
    sample,
    score,
    with_logprobs,
)
from align.training.evaluation import evaluate_if_due
from align.training.sample_log import SampleLog
from align.training.timer import Timer
from align.training.update import update
from reward_models.runtime.metrics import JsonLines, NullLog, RunLog
from reward_models.runtime.run import StopSignal, begin_run, seed_everything

SHOWN = ("reward", "eval/accuracy_greedy", "response_length", "kl", "kl_teacher")


def train(config: AlignConfig) -> Path | None:
    """Train a policy, or resume; returns its directory, or ``None`` if a signal stopped the run early."""
    with ExitStack() as stack:
        begun = stack.enter_context(begin_run(config, may_change=MAY_CHANGE, manifest=MANIFEST, result="policy"))
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
    log, sample_log = open_logs(run, state, stack)
    stop = stack.enter_context(StopSignal())
    bar = stack.enter_context(run.reporter.progress("policy", config.steps, state.step, config.log_every))
    if state.step == 0 and (values := evaluate_if_due(run, state)):
        keep_best(run, state, values)
        log.write(0, values)
    while state.step < config.steps:
        if stop.anywhere(world):
            run.save(state)
            run.reporter.say(f"stopped by a signal after step {state.step}, saved; the same command goes on from there")
            return None
        seed_everything(config.seed, state.step, world.rank)
        phase, number, timer = phase_at(run.phases, state.step), state.step // config.steps_per_rollout, Timer()
        values = {}
        if state.rollout is None:
            with timer.section("rollout"):
                run.sampler.engine.sync_weights(state.step)
                rollout = sample(run, state, phase)
            scores = score(run.scorer, run.sampler, run.prompts, rollout, world)  # in a thread
            with timer.section("logprobs"):
                rollout = with_logprobs(run, rollout, phase)
            with timer.section("rewards"):
                rewards = mix(run, state, rollout, scores(), phase)
            rollout, rewards, rounds = resample(run, state, rollout, rewards, phase, timer)
            found = advantages(run, rewards)
            state.rollout = rollout.with_advantages(rewards.reward_N, found.advantages_PG)
            values |= rollout_metrics(run, state, state.rollout, rewards, found, rounds)
            values |= end_curriculum_rollout(run, state)
            sample_log.write(state.step, phase.name, state.rollout, rewards, run.prompts, run.sampler)
            with timer.section("logprobs"):
                values |= divergence_from_first(run, state.rollout, phase)
            if run.teacher is None:
                check_signal(run, state, found, rewards)
        with timer.section("update"):
            values |= update(run, state, phase)
        state.step += 1
        if state.step % config.steps_per_rollout == 0:
            state.rollout = None
        if run.reference is not None and config.ref_update_steps and state.step % config.ref_update_steps == 0:
            run.reference.refresh()
        values |= evaluate_if_due(run, state) | timer.metrics()
        log.write(state.step, values, phase=phase.name, rollout=number)
        run.reporter.step(bar, state.step, {name: values[name] for name in SHOWN if name in values})
        last, state = state, run.apply_guards(state, values)
        if state is not last:  # rolled back
            for each in (log, run.by_prompt, sample_log):
                each.back_to(state.step)
            continue
        keep_best(run, state, values)
        if state.step == config.steps or (config.save_every and state.step % config.save_every == 0):
            run.save(state)
    return state


def open_logs(run: PolicyRun, state: RunState, stack: ExitStack) -> tuple[RunLog | NullLog, SampleLog | NullLog]:
    """``metrics.jsonl`` with the other loggers, and ``samples.jsonl``; the run keeps the other logs itself.

    Ranks other than the main one write nothing.
    """
    last_logged_step = state.step or -1  # a run that starts anew writes the line of step 0 again
    log = stack.enter_context(closing(run.begun.open_log(last_logged_step)))
    if not run.world.is_main:
        return log, NullLog()
    run.alarms, run.by_prompt = (
        stack.enter_context(closing(JsonLines(run.begun.path / f"{name}.jsonl", last_logged_step)))
        for name in ("guards", "held_out")
    )
    sample_log = SampleLog(run.begun.path, last_logged_step, run.config.samples_per_log)
    return log, stack.enter_context(closing(sample_log))
