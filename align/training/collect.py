"""Collecting experience: sample responses, score them, and keep what the updates will need."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from align.config import AlignConfig
from align.objective.advantages import Advantages, group_advantages
from align.objective.losses import k3
from align.phases import Phase, shares
from align.policy.policy import FILLER, Policy
from align.policy.reference import Reference
from align.rewards.mixer import Mixed
from align.rewards.scoring import Scorer
from align.rewards.terms import Sample, TermScores
from align.rollouts.base import Sampling
from align.rollouts.prompts import PromptSet, draw
from align.rollouts.sampler import Responses, Sampler
from align.training.rollout import Experience, Piece, share_ragged
from reward_models.data.batching import plan_padded, plan_trees
from reward_models.runtime.distributed import World


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """Responses, the same as reward terms see them, and which pool each group's prompt was drawn from."""

    responses: Responses
    samples: list[Sample]
    domains: tuple[str, ...]


@dataclass(slots=True)
class Clock:
    """Wall time of the parts of a step, in seconds."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began


@dataclass(frozen=True, slots=True, eq=False)
class Collected:
    """A rollout: what to learn from, and what to know about it."""

    experience: Experience
    samples: list[Sample]
    rewards: Mixed
    metrics: dict[str, float]


@dataclass(slots=True)
class CollectorState:
    """What a resumed run must know to draw and weigh as the uninterrupted one would.

    Attributes:
        drawn: prompts taken so far from the endless stream of each domain (``all``: of all domains together).
        scale: factors on the weights of entries, which guards may lower.
        attempt: how often the run was rolled back; each time it samples anew.
    """

    drawn: dict[str, int] = field(default_factory=dict)
    scale: dict[str, float] = field(default_factory=dict)
    attempt: int = 0


class Collector:
    """Fills the buffer: rollout, rewards, advantages, old and reference log-probabilities."""

    def __init__(
        self,
        config: AlignConfig,
        prompts: PromptSet,
        sampler: Sampler,
        scorer: Scorer,
        policy: Policy,
        engine: torch.nn.Module,
        reference: Reference | None,
        first: Reference | None,
        world: World,
    ) -> None:
        self.config, self.prompts, self.sampler, self.scorer, self.world = config, prompts, sampler, scorer, world
        self.policy, self.engine, self.reference, self.first = policy, engine, reference, first
        self.state = CollectorState()
        self.pools = pools(prompts)

    def __call__(self, step: int, phase: Phase, clock: Clock) -> Collected:
        """The experience of the steps from ``step`` on."""
        config = self.config
        with clock.part("rollout"):
            self.sampler.engine.sync_weights(step)
        weights = self.scorer.mixer.weights(step, phase.weights, self.state.scale)
        wanted = config.prompts_per_rollout
        parts = shares(phase.mix, wanted) if phase.mix else {"all": wanted}
        answered = self._answer(parts, step, 0, phase, clock)
        # While the rewards are computed the policy's own log-probabilities are, too.
        scored = self.scorer.start(answered.samples)
        experience = self._experience(answered)
        if not config.resample_rounds:
            experience = self._with_logprobs(experience, phase, clock)
        answered, rewards, rounds = self._rewarded(answered, scored, weights, step, phase, clock)
        if config.resample_rounds:
            experience = self._with_logprobs(self._experience(answered), phase, clock)
        advantages = self._advantages(rewards)
        experience = replace(
            experience,
            rewards_PG=rewards.total_N.view(-1, config.samples_per_prompt),
            advantages_PG=advantages.advantages_PG,
        )
        metrics = rollout_metrics(answered, rewards) | {
            "groups_without_signal": float((~advantages.signal_P).float().mean()),
            "unscorable": float(advantages.unscorable),
            "resampled_rounds": float(rounds),
            "prompts_drawn": float(sum(self.state.drawn.values())),
        }
        if self.first is not None:
            metrics["kl_first"] = self._kl_first(experience, phase, clock)
        return Collected(experience, answered.samples, rewards, metrics)

    def _kl_first(self, experience: Experience, phase: Phase, clock: Clock) -> float:
        """k3 estimate of the divergence from the first policy, per token."""
        assert self.first is not None
        with clock.part("logprobs"), self.first.active():
            first_T = self.logprobs(experience, phase.temperature)
        now_T = experience.old_logprobs_T
        if now_T is None:
            with clock.part("logprobs"):
                now_T = self.logprobs(experience, phase.temperature)
        return float(k3(first_T - now_T).mean())

    def _rewarded(
        self,
        answered: Answered,
        scored: Callable[[], dict[str, TermScores]],
        weights: dict[str, float],
        step: int,
        phase: Phase,
        clock: Clock,
    ) -> tuple[Answered, Mixed, int]:
        """The rewards; groups without signal are replaced by others as often as the configuration says."""
        with clock.part("rewards"):
            rewards = self.scorer.finish(scored, len(answered.samples), weights, learn=True)
        rounds = 0
        while rounds < self.config.resample_rounds:
            silent = (~self._advantages(rewards).signal_P).nonzero()[:, 0].tolist()
            if not silent:
                break
            rounds += 1
            domains = Counter(answered.domains[group] for group in silent)
            new = self._answer(dict(domains), step, rounds, phase, clock)
            with clock.part("rewards"):
                scored = self.scorer.start(new.samples)
                other = self.scorer.finish(scored, len(new.samples), weights, learn=True)
            answered, rewards = _replace_silent(answered, rewards, new, other, silent)
        return answered, rewards, rounds

    def _answer(self, parts: dict[str, int], step: int, number: int, phase: Phase, clock: Clock) -> Answered:
        """Responses to the next prompts of each domain."""
        config, state = self.config, self.state
        items, domains = [], []
        for domain, count in parts.items():
            pool, drawn = self.pools[domain], state.drawn.get(domain, 0)
            items.append(pool[draw(len(pool), drawn, count, config.seed)] if count else pool[:0])
            state.drawn[domain] = drawn + count
            domains += [domain] * count
        sampling = Sampling(
            max_new_tokens=phase.max_new_tokens,
            temperature=phase.temperature,
            n_samples_per_prompt=config.samples_per_prompt,
        )
        with clock.part("rollout"):
            responses = self.sampler(
                self.prompts, np.concatenate(items), sampling, (config.seed, step, number, state.attempt)
            )
            return Answered(responses, self.sampler.as_samples(self.prompts, responses), tuple(domains))

    def _advantages(self, rewards: Mixed) -> Advantages:
        return group_advantages(rewards.total_N.view(-1, self.config.samples_per_prompt), self.config.loss.advantages)

    def _experience(self, answered: Answered) -> Experience:
        responses = answered.responses
        unknown_PG = torch.full((len(responses.items), responses.samples), torch.nan, dtype=torch.float64)
        prompt_ids = [self.prompts.ids[i] for i in responses.items]
        return Experience(
            samples=responses.samples,
            prompt_P=torch.from_numpy(responses.items.astype(np.int64)),
            prompt_T=torch.from_numpy(np.concatenate(prompt_ids).astype(np.int64)),
            prompt_length_P=torch.tensor([len(p) for p in prompt_ids]),
            response_T=responses.response_T,
            length_N=responses.length_N,
            finished_N=responses.finished_N,
            rollout_logprobs_T=responses.logprobs_T,
            rewards_PG=unknown_PG,
            advantages_PG=unknown_PG,
        )

    def _with_logprobs(self, experience: Experience, phase: Phase, clock: Clock) -> Experience:
        with clock.part("logprobs"):
            if self.config.steps_per_rollout > 1:
                experience = replace(experience, old_logprobs_T=self.logprobs(experience, phase.temperature))
            if self.reference is not None:
                with self.reference.active():
                    reference_T = self.logprobs(experience, phase.temperature)
                experience = replace(experience, reference_logprobs_T=reference_T)
        return experience

    @torch.no_grad()
    def logprobs(self, experience: Experience, temperature: float) -> torch.Tensor:
        """Log-probabilities of all responses under the engine's present weights, every rank its share."""
        self.engine.eval()
        batches = plan(experience, range(len(experience)), self.policy, self.config.max_tokens, self.world)
        parts: dict[int, np.ndarray] = {}
        for pieces in batches:
            batch = self.policy.collate(experience.trees(pieces) or [FILLER]).to(self.world.device)
            logprobs_T, _ = self.engine(batch, temperature)
            members = [sample for piece in pieces for sample in piece.samples]
            if members:
                lengths = experience.length_N[members].tolist()
                parts |= dict(zip(members, (p.numpy() for p in logprobs_T.cpu().split(lengths)), strict=True))
        self.engine.train()
        return share_ragged(parts, len(experience.length_N), torch.float32, self.world)[0]


def plan(
    experience: Experience, prompts: Sequence[int] | range, policy: Policy, budget: int, world: World
) -> list[list[Piece]]:
    """This rank's micro-batches over the prompts' samples; every rank has equally many, some may be empty."""
    pieces = experience.pieces(prompts, budget, policy.layout)
    sizes = [piece.tokens for piece in pieces]
    if policy.layout == "tree":
        cut = plan_trees(sizes, budget, world.size)
    else:
        cut = plan_padded(sizes, 1, budget, world.size)
    return [[pieces[i] for i in batch] for batch in cut[world.rank]]


def pools(prompts: PromptSet) -> dict[str, np.ndarray]:
    """Which prompts are of which domain; ``all`` are all."""
    domains = np.array([record.domain for record in prompts.records])
    return {
        "all": np.arange(len(domains)),
        **{domain: np.flatnonzero(domains == domain) for domain in sorted(set(domains))},
    }


def _replace_silent(
    old: Answered, rewards: Mixed, new: Answered, other: Mixed, silent: list[int]
) -> tuple[Answered, Mixed]:
    """Put the new groups in the place of those without signal, each in one of its own domain."""
    size = old.responses.samples
    place = list(range(len(old.domains)))
    coming = {domain: [len(place) + i for i, k in enumerate(new.domains) if k == domain] for domain in set(new.domains)}
    for group in silent:
        place[group] = coming[old.domains[group]].pop(0)
    rows = [group * size + g for group in place for g in range(size)]

    def ragged(name: str) -> torch.Tensor:
        both = (old.responses, new.responses)
        parts = [part for r in both for part in getattr(r, name).split(r.length_N.tolist())]
        return torch.cat([parts[row] for row in rows])

    def chosen(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return torch.cat([first, second])[rows]

    responses = Responses(
        np.concatenate([old.responses.items, new.responses.items])[place],
        size,
        ragged("response_T"),
        chosen(old.responses.length_N, new.responses.length_N),
        chosen(old.responses.finished_N, new.responses.finished_N),
        ragged("logprobs_T"),
    )
    mixed = Mixed(
        {name: chosen(values, other.raw[name]) for name, values in rewards.raw.items()},
        {name: chosen(values, other.weighted[name]) for name, values in rewards.weighted.items()},
        {name: chosen(values, other.applied[name]) for name, values in rewards.applied.items()},
        chosen(rewards.total_N, other.total_N),
        rewards.weights,
        {name: number + other.unscorable[name] for name, number in rewards.unscorable.items()},
        {name: number + other.failures[name] for name, number in rewards.failures.items()},
        {name: chosen(values, other.beside[name]) for name, values in rewards.beside.items()},
    )
    samples = [*old.samples, *new.samples]
    return Answered(responses, [samples[row] for row in rows], old.domains), mixed


def rollout_metrics(answered: Answered, rewards: Mixed) -> dict[str, float]:
    """Means over a rollout; a mean over nothing is left out."""
    lengths = answered.responses.length_N.double()
    by_kind: dict[str, float] = {}
    for domain in sorted({sample.domain for sample in answered.samples}):
        of_domain = torch.tensor([sample.domain == domain for sample in answered.samples])
        by_kind |= {
            f"reward/{domain}": float(rewards.total_N[of_domain].nanmean()),
            f"length/{domain}": float(lengths[of_domain].mean()),
        }
    metrics = {
        "response_length": float(lengths.mean()),
        "response_length_max": float(lengths.max()),
        "finished": float(answered.responses.finished_N.double().mean()),
        "reward": float(rewards.total_N.nanmean()),
        **by_kind,
        **{f"term/{name}": float(values.nanmean()) for name, values in rewards.raw.items()},
        **{f"weighted/{name}": float(values.nanmean()) for name, values in rewards.weighted.items()},
        **{name: float(values.nanmean()) for name, values in rewards.beside.items()},
        **{f"weight/{entry}": weight for entry, weight in rewards.weights.items()},
        **{f"unscorable/{name}": float(number) for name, number in rewards.unscorable.items() if number},
        **{f"failures/{name}": float(number) for name, number in rewards.failures.items() if number},
    }
    return {name: value for name, value in metrics.items() if not math.isnan(value)}
