"""A rollout whose responses come in while the policy is updated: each step waits for its own prompts only.

Which prompts feed which step is known before they are answered, the sampling policy is the same for the whole rollout,
and every response has a seed of its own. So the responses of all steps are requested at once, in the order of the
steps, and nothing about the result depends on when they come:

- log-probabilities of the old policy are computed under a copy of the weights from before the first update, step by
  step, as in a rollout that is there whole (see :func:`align.training.collect.logprobs`);
- rewards are mixed with the weights of the rollout's first step;
- what goes by the whole rollout (metrics, curriculum, samples, guards) waits until it is complete, see
  :class:`align.training.loop.Loop`.

The main rank requests and scores, in threads that take part in no collective. Every rank makes every call of this
module, in the same order.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from align.phases import Phase
from align.rewards.scoring import Scores, join_scores
from align.rollouts.choices import rollout_of
from align.rollouts.fleet import Answer
from align.rollouts.sampler import seeds_of
from align.rollouts.vllm import VllmRollout
from align.run import PolicyRun
from align.state import RunState
from align.training.collect import (
    advantages,
    divergence_from_first,
    draw_prompts,
    sampling_in,
    weights_at,
    with_logprobs,
)
from align.training.rollout import Rollout, concat
from align.training.timer import Span, Timer
from align.training.update import minibatches

SCORED_TOGETHER = 8  # prompts of a call of the reward terms: it is the same whatever comes first


@dataclass(frozen=True, slots=True)
class Part:
    """Prompts of one step that are scored together, on the main rank.

    Attributes:
        requests: to the servers. ``rollout``: once all of them are answered. ``scores``: of it.
    """

    requests: list[Future[Answer]]
    rollout: Future[Rollout]
    scores: Future[tuple[Scores, Span]]


class Stream:
    """One rollout, requested as a whole and handed out step by step.

    Args:
        step: the first step that learns from it; the weights of the engine are those of ``state.step`` updates, where
            ``given`` does not say otherwise.
        given: its responses, if they were sampled before the run was resumed.

    Attributes:
        sampled_at: updates behind the weights that sample it.
        spans: what was done when, on the main rank.
    """

    def __init__(
        self, run: PolicyRun, state: RunState, phase: Phase, step: int, given: tuple[Rollout, int] | None = None
    ) -> None:
        self._run, self._phase, self.step = run, phase, step
        self.sampled_at = state.step if given is None else given[1]
        items = draw_prompts(run, state, phase) if given is None else given[0].prompt_P.numpy()
        self._items = items
        self._steps = minibatches(step, run.config)  # places among the items, step by step
        seed_key = (run.config.seed, step, 0, state.attempt)
        begin = partial(self._requested, seed_key) if given is None else partial(self._known, given[0])
        self._parts: list[list[Part]] = []
        self._run.world.on_main(lambda: self._parts.extend(begin()))
        self._rollouts: list[Rollout] = []  # of the steps so far, with log-probabilities
        self._first_kl: list[torch.Tensor] = []
        self._scores: list[Scores] = []
        self._weights: dict[str, float] = {}
        self.spans: list[Span] = []

    def begin(self, state: RunState) -> None:
        """Begin to learn from it: its rewards get the weights of now, and the present policy is the old one."""
        self._weights = weights_at(self._run, state, self._phase)
        if self._run.old_policy is not None:
            self._run.old_policy.refresh()

    def batch(self, timer: Timer) -> Rollout:
        """The prompts of the next step with their advantages; waits for them."""
        number = len(self._scores)
        rollout = self._answered(number, timer)
        rewards = self._run.scorer.mixer.mix(self._scored(number, timer), self._weights, learn=False)
        return rollout.with_advantages(rewards.reward_N, advantages(self._run, rewards).advantages_PG)

    def complete(self, timer: Timer) -> tuple[Rollout, Scores, dict[str, float], torch.Tensor | None]:
        """The whole rollout, in the order in which its prompts were drawn, but for its advantages; waits for it.

        Returns:
            The rollout, its scores, the weights that its rewards have, and :func:`divergence_from_first`.
        """
        for number in range(len(self._steps)):
            self._answered(number, timer)
            self._scored(number, timer)
        if isinstance(self._run.sampler.engine, VllmRollout):
            self._run.sampler.engine.share_figures()
        order = np.argsort([place for places in self._steps for place in places]).tolist()
        whole = concat(self._rollouts)
        scores = join_scores(self._scores)
        first_kl_T = None
        if self._first_kl:  # it stands beside the tokens of the responses, in their order
            first_kl_T = replace(whole, old_logprobs_T=torch.cat(self._first_kl)).select(order).old_logprobs_T
        rows = whole.rows(order)
        return whole.select(order), {n: each.select(rows) for n, each in scores.items()}, self._weights, first_kl_T

    def responses(self) -> Rollout:
        """The whole rollout as the engine has sampled it; waits for it."""

        def answered() -> Rollout:
            order = np.argsort([place for places in self._steps for place in places]).tolist()
            return concat([part.rollout.result() for parts in self._parts for part in parts]).select(order)

        return self._run.world.on_main(answered)

    def abandon(self) -> None:
        """Drop what is not answered yet. Requests under way end before the servers are sent other weights."""
        for part in (part for parts in self._parts for part in parts):
            part.scores.cancel()
            part.rollout.cancel()
            for request in part.requests:
                request.cancel()

    def _answered(self, number: int, timer: Timer) -> Rollout:
        """The responses of one of the rollout's steps, with log-probabilities."""
        if number < len(self._rollouts):
            return self._rollouts[number]
        with timer.section("rollout"):
            rollout = self._run.world.on_main(lambda: concat([part.rollout.result() for part in self._parts[number]]))
        for part in self._parts[number] if self._parts else ():
            self.spans += [
                Span("generate", each.began, each.ended, self.step + number, each.url)
                for each in (request.result() for request in part.requests)
            ]
        with timer.section("logprobs"):
            rollout = with_logprobs(self._run, rollout, self._phase, old_policy=self._old_policy(number))
            first_kl_T = divergence_from_first(self._run, rollout, self._phase)
        if first_kl_T is not None:
            self._first_kl.append(first_kl_T)
        self._rollouts.append(rollout)
        return rollout

    def _scored(self, number: int, timer: Timer) -> Scores:
        """The scores of one of the rollout's steps."""
        if number < len(self._scores):
            return self._scores[number]
        with timer.section("rewards"):
            scored: list[tuple[Scores, Span]] = self._run.world.on_main(
                lambda: [part.scores.result() for part in self._parts[number]]
            )
        self.spans += [span for _, span in scored]
        self._scores.append(join_scores([scores for scores, _ in scored]))
        if not self._run.config.needs_whole_rollout:  # else nothing is learnt before all are known
            samples = len(self._items) * self._run.config.samples_per_prompt
            self._run.scorer.check_failures(self._scores, samples)
        return self._scores[-1]

    def _old_policy(self, number: int) -> AbstractContextManager[None] | None:
        """Before the first update the policy is the old one."""
        old = self._run.old_policy
        return None if old is None or number == 0 else old.active()

    def _requested(self, seed_key: Sequence[int]) -> list[list[Part]]:
        """Request all responses, in the order of the steps."""
        run = self._run
        engine = run.sampler.engine
        assert isinstance(engine, VllmRollout)
        sampling = replace(sampling_in(self._phase, run.config.samples_per_prompt), end_ids=run.sampler.end_ids)
        seeds = seeds_of(len(self._items), sampling, seed_key)
        order = [place for places in self._steps for place in places]
        ids = run.prompts.ids
        requests = engine.request([ids[self._items[p]] for p in order], [int(seeds[p, 0]) for p in order], sampling)
        by_place = dict(zip(order, requests, strict=True))

        async def rollout(places: Sequence[int]) -> Rollout:
            answers = await asyncio.gather(*(asyncio.wrap_future(by_place[place]) for place in places))
            prompts = [ids[self._items[place]] for place in places]
            found = rollout_of(prompts, [answer.responses for answer in answers], sampling)
            return replace(found, prompt_P=torch.from_numpy(self._items[list(places)].astype(np.int64)))

        return self._divided(lambda places: ([by_place[place] for place in places], rollout(places)))

    def _known(self, rollout: Rollout) -> list[list[Part]]:
        """The same for responses that are there."""

        async def selected(places: Sequence[int]) -> Rollout:
            return rollout.select(places)

        return self._divided(lambda places: ([], selected(places)))

    def _divided(self, ask: Callable[[Sequence[int]], tuple[list[Future[Answer]], Any]]) -> list[list[Part]]:
        """The parts of every step, each of which is scored when it is answered.

        Args:
            ask: places of prompts → the requests, and what gives their rollout.
        """
        scorer, found = self._run.scorer, []
        for number, places in enumerate(self._steps):
            parts = []
            for start in range(0, len(places), SCORED_TOGETHER):
                requests, coming = ask(places[start : start + SCORED_TOGETHER])
                rollout = scorer.submit(coming)
                parts.append(Part(requests, rollout, scorer.submit(self._scores_of(rollout, number))))
            found.append(parts)
        return found

    async def _scores_of(self, rollout: Future[Rollout], number: int) -> tuple[Scores, Span]:
        answered, began = await asyncio.wrap_future(rollout), time.time()
        scores = await self._run.scorer.scored(self._run.sampler.samples(self._run.prompts, answered))
        return scores, Span("score", began, time.time(), self.step + number)
