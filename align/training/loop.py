"""One step of the loop of reinforcement learning after the other, and the lines of the logs.

With ``rollout.overlap`` a step is made before the rest of its rollout is there. The lines of such steps are held back
until the rollout is complete, for the line of its first step has the rollout's metrics, and guards are applied line by
line, in order. A rollout is completed at its last step at the latest, and before anything that its rest must not miss:
a checkpoint, an evaluation (which needs the engine), the end. So a run has the same lines and the same result with it
and without; guards act up to a rollout later.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from align.phases import Phase, phase_at
from align.run import PolicyRun
from align.state import RunState
from align.training.best import keep_best
from align.training.collect import (
    divergence_from_first,
    finish_rollout,
    mix,
    resample,
    sample,
    score,
    weights_at,
    with_logprobs,
)
from align.training.evaluation import evaluate_if_due, evaluation_is_due
from align.training.rollout import Rollout
from align.training.sample_log import SampleLog
from align.training.stream import Stream
from align.training.timer import Span, Timer
from align.training.update import minibatch, minibatches, update
from reward_models.runtime.engine import NonFiniteError
from reward_models.runtime.metrics import JsonLines, NullLog, RunLog
from reward_models.runtime.run import seed_everything

SHOWN = ("reward", "eval/accuracy_greedy", "response_length", "kl", "kl_teacher")


@dataclass(frozen=True, slots=True)
class Logs:
    """``metrics.jsonl`` with the other loggers, ``samples.jsonl`` and ``timeline.jsonl``."""

    metrics: RunLog | NullLog
    samples: SampleLog | NullLog
    timeline: JsonLines | NullLog

    def back_to(self, step: int) -> None:
        for log in (self.metrics, self.samples, self.timeline):
            log.back_to(step)


@dataclass
class Line:
    """The line of a step: the updates made in it (from 1), and its metrics."""

    step: int
    phase: Phase
    rollout: int
    timer: Timer
    values: dict[str, float] = field(default_factory=dict)


class Loop:
    """Makes steps.

    Attributes:
        state: of the run, after the steps so far.
    """

    def __init__(self, run: PolicyRun, state: RunState, logs: Logs) -> None:
        self.run, self.state, self.logs = run, state, logs
        self._stream: Stream | None = None  # the rollout under way, until it is complete
        self._held: list[Line] = []  # of its steps
        self._ahead: Stream | None = None  # the rollout after it
        if state.ahead is not None:
            steps = run.config.steps_per_rollout
            first = -(-state.step // steps) * steps
            phase = phase_at(run.phases, first)
            self._ahead = Stream(run, state, phase, first, (state.ahead, state.ahead_at))
            state.ahead = None

    def make_step(self, bar: Any) -> None:
        """Make one step; after it a guard may have brought the run back to an earlier one.

        Args:
            bar: the progress display.
        """
        run, config, state = self.run, self.run.config, self.state
        steps = config.steps_per_rollout
        seed_everything(config.seed, state.step, run.world.rank)
        line = Line(state.step + 1, phase_at(run.phases, state.step), state.step // steps, Timer(state.step))
        rollout = self._batch(line)
        try:
            with line.timer.section("update"):
                line.values |= update(run, state, line.phase, rollout)
        except NonFiniteError:
            if self._complete(line):  # a guard would have gone back before
                return
            raise
        if config.rollout.ahead:
            line.values["staleness"] = float(state.step - state.sampled_at)
        state.step += 1
        ends = state.step % steps == 0
        if (ends or self._saves() or evaluation_is_due(run, state)) and self._complete(line):
            return
        if ends:
            state.rollout = None
        if run.reference is not None and config.ref_update_steps and state.step % config.ref_update_steps == 0:
            run.reference.refresh()
        line.values |= evaluate_if_due(run, state)
        line.values |= line.timer.metrics()
        shown = {name: line.values[name] for name in SHOWN if name in line.values}
        run.reporter.step(bar, state.step, shown)
        if self._stream is not None:
            self._held.append(line)
        elif not self._write(line):
            keep_best(run, state, line.values)
            if self._saves():
                self.save()

    def save(self) -> None:
        """Write a checkpoint; waits for the rollouts under way. A guard may go back before it."""
        self._complete(None)
        if self._ahead is not None:
            self.state.ahead, self.state.ahead_at = self._ahead.responses(), self._ahead.sampled_at
        self.run.save(self.state)
        self.state.ahead = None

    def _saves(self) -> bool:
        """True if a checkpoint is due after the last step."""
        config, step = self.run.config, self.state.step
        return step == config.steps or bool(config.save_every and step % config.save_every == 0)

    def _batch(self, line: Line) -> Rollout:
        """The prompts that the next step learns from; begins a rollout where one is due."""
        state, config = self.state, self.run.config
        if state.rollout is None and self._stream is None:
            if config.rollout.overlap:
                self._stream = self._begun(line)
                if config.needs_whole_rollout:
                    self._complete(line)
            else:
                self._collect(line)
        if self._stream is not None:
            return self._stream.batch(line.timer)
        assert state.rollout is not None
        return state.rollout.select(minibatch(state.step, config))

    def _collect(self, line: Line) -> None:
        """Sample a rollout and score it, one after the other."""
        run, state, phase, timer = self.run, self.state, line.phase, line.timer
        parts = minibatches(state.step, run.config)
        with timer.section("rollout"):
            run.sampler.engine.sync_weights(state.step)
            rollout = sample(run, state, phase)
        state.sampled_at = state.step
        began = time.time()
        scores = score(run.scorer, run.sampler, run.prompts, rollout, run.world)  # in a thread
        with timer.section("logprobs"):
            rollout = with_logprobs(run, rollout, phase, parts)
        with timer.section("rewards"):
            rewards = mix(run, state, rollout, scores(), weights_at(run, state, phase))
        timer.spans.append(Span("score", began, time.time(), state.step))
        rollout, rewards, rounds = resample(run, state, rollout, rewards, phase, timer)
        with timer.section("logprobs"):
            first_kl_T = divergence_from_first(run, rollout, phase, parts)
        line.values |= finish_rollout(
            run,
            state,
            rollout,
            rewards,
            step=state.step,
            phase=phase,
            rounds=rounds,
            first_kl_T=first_kl_T,
            sample_log=self.logs.samples,
        )

    def _begun(self, line: Line) -> Stream:
        """The next rollout, requested; and the one after it, if the run samples ahead."""
        run, state, config = self.run, self.state, self.run.config
        following = (state.step // config.steps_per_rollout + 1) * config.steps_per_rollout
        goes_ahead = bool(config.rollout.ahead) and following < config.steps
        with line.timer.section("rollout"):
            if self._ahead is None or goes_ahead:
                run.sampler.engine.sync_weights(state.step)  # waits for the responses that were requested ahead
            stream = self._ahead or Stream(run, state, line.phase, state.step)
            self._ahead = Stream(run, state, phase_at(run.phases, following), following) if goes_ahead else None
        stream.begin(state)
        state.sampled_at = stream.sampled_at
        return stream

    def _complete(self, line: Line | None) -> bool:
        """Complete the rollout under way, and write the lines that were held for it; true if a guard went back.

        Args:
            line: of the present step, if there is one; it is not written.
        """
        if self._stream is None:
            return False
        run, state, stream = self.run, self.state, self._stream
        first = self._held[0] if self._held else line
        assert first is not None
        timer = first.timer if line is None else line.timer
        rollout, scores, weights, first_kl_T = stream.complete(timer)
        self._stream = None
        with timer.section("rewards"):
            rewards = mix(run, state, rollout, scores, weights)
        rollout, rewards, rounds = resample(run, state, rollout, rewards, first.phase, timer)
        if run.config.resample_rounds:
            first_kl_T = divergence_from_first(run, rollout, first.phase, minibatches(stream.step, run.config))
        first.values |= finish_rollout(
            run,
            state,
            rollout,
            rewards,
            step=stream.step,
            phase=first.phase,
            rounds=rounds,
            first_kl_T=first_kl_T,
            sample_log=self.logs.samples,
        )
        self.logs.timeline.write(*(span.line() for span in stream.spans))
        held, self._held = self._held, []
        return any(self._write(each) for each in held)  # up to the first that goes back

    def _write(self, line: Line) -> bool:
        """Write a line and apply the guards to it; true if one brought the run back to an earlier step."""
        self.logs.metrics.write(line.step, line.values, phase=line.phase.name, rollout=line.rollout)
        self.logs.timeline.write(*(span.line() for span in line.timer.spans))
        state = self.run.apply_guards(self.state, line.values, line.step)
        if state is self.state:
            return False
        self.state = state
        self.logs.back_to(state.step)
        self.run.by_prompt.back_to(state.step)
        if self._ahead is not None:
            self._ahead.abandon()
            self._ahead = None
        return True
