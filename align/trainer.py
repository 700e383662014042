"""The loop: collect experience, update the policy on it, step by step."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from pathlib import Path

from align.config import AlignConfig
from align.phases import phase_at
from align.reporting.manifest import MANIFEST
from align.run import MAY_CHANGE, build
from align.training.collect import Clock
from align.training.sample_log import SampleLog
from align.training.update import MAXIMA, MEANS, minibatch, update
from reward_models.runtime.engine import NonFiniteError
from reward_models.runtime.metrics import Metrics
from reward_models.runtime.run import StopSignal, begin_run, seed_everything

SHOWN = ("reward", "eval/accuracy_greedy", "response_length", "kl")


def train(config: AlignConfig) -> Path | None:
    """Train a policy, or resume; returns its directory, or ``None`` if a signal stopped the run early."""
    with ExitStack() as stack:
        run = stack.enter_context(begin_run(config, may_change=MAY_CHANGE, manifest=MANIFEST, result="policy"))
        if run.finished:
            return run.path
        world, reporter = run.world, run.reporter
        parts = build(config, run.directory, world, reporter, stack)
        first_step, experience = parts.resume()
        kept = first_step or -1  # a run that starts anew writes the line of step 0 again
        log = run.open_log(kept)
        shown = SampleLog(run.path, kept, config.samples_per_log) if world.is_main else None
        for opened in (log, shown, parts.alarms):
            if opened is not None:
                stack.enter_context(closing(opened))
        stop = stack.enter_context(StopSignal())
        bar = stack.enter_context(reporter.progress("policy", config.steps, first_step, config.log_every))
        if first_step == 0 and (values := parts.evaluate(0)):
            log.write(0, values)

        step = first_step
        while step < config.steps:
            if stop.anywhere(world):
                parts.save(step, experience)
                reporter.say(f"stopped by a signal after step {step}, saved; the same command goes on from there")
                return None
            began, clock = time.perf_counter(), Clock()
            seed_everything(config.seed, step, world.rank)
            phase, values = phase_at(parts.phases, step), {}
            if experience is None or step % config.steps_per_rollout == 0:
                collected = parts.collector(step, phase, clock)
                experience, values = collected.experience, collected.metrics
                if shown is not None:
                    shown.write(step, phase.name, collected)
            metrics = Metrics(MEANS, MAXIMA)
            prompts = minibatch(experience, step, config)
            try:
                with clock.part("update"):
                    grad_norm = update(parts.engine, parts.policy, experience, prompts, config, phase, metrics, world)
            except NonFiniteError as error:
                raise NonFiniteError(
                    f"step {step + 1}: {error}; nothing was updated, {parts.keep(experience)}"
                ) from None
            values |= metrics.reduce(world) | {"grad_norm": grad_norm}
            done = step + 1
            if parts.reference is not None and config.ref_update_steps and done % config.ref_update_steps == 0:
                parts.reference.refresh()
            values |= parts.evaluate(done)
            values["lr"] = parts.engine.lr_scheduler.get_last_lr()[0] * phase.lr / config.engine.lr
            values |= {f"seconds/{name}": seconds for name, seconds in clock.seconds.items()}
            values["seconds/step"] = time.perf_counter() - began
            log.write(done, values, phase=phase.name, rollout=step // config.steps_per_rollout)
            reporter.step(bar, done, {name: values[name] for name in SHOWN if name in values})
            if (back := parts.heed(done, values)) is not None:
                step, experience = back
                for log_of_steps in (log, shown):
                    if log_of_steps is not None:
                        log_of_steps.back_to(step)
                continue
            if done == config.steps or (config.save_every and done % config.save_every == 0):
                parts.save(done, experience)
            step = done
        return parts.finish()
