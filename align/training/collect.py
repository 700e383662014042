"""The first half of a training step: sample a rollout, score it, mix the scores, compute log-probabilities."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np
import torch

from align.objective.advantages import Advantages, decoupled_advantages, group_advantages
from align.objective.losses import k3
from align.phases import Phase, shares
from align.policy.policy import FILLER
from align.rewards.mixer import Rewards, accuracy_of, as_array, as_list, mean_of_known
from align.rewards.scoring import Scorer, Scores
from align.rewards.terms import TermScores
from align.rollouts.base import Sampling
from align.rollouts.prompts import PromptSet, draw
from align.rollouts.sampler import Sampler
from align.run import PolicyRun
from align.state import RunState
from align.training.batches import plan_micro_batches, share_groups
from align.training.rollout import Rollout, concat, share_ragged
from align.training.sample_log import SampleLog
from align.training.silence import check_signal
from align.training.timer import Timer
from reward_models.runtime.distributed import World
from reward_models.runtime.metrics import NullLog


def draw_prompts(run: PolicyRun, state: RunState, phase: Phase, counts: Mapping[str, int] | None = None) -> np.ndarray:
    """The next prompts, int64 places in the run's prompt set.

    Args:
        counts: how many prompts of each pool (a domain, or ``all``); default: a whole rollout in the phase's mix.
    """
    config = run.config
    if counts is None:
        wanted = config.prompts_per_rollout
        counts = shares(phase.mix, wanted) if phase.mix else {"all": wanted}
    items = []
    for name, count in counts.items():
        pool, drawn = run.pools[name], state.drawn.get(name, 0)
        if run.curriculum is not None and state.curriculum is not None and count:
            chosen, drawn = run.curriculum.take(state.curriculum, pool, drawn, count)
        else:
            chosen = pool[draw(len(pool), drawn, count, config.seed)] if count else pool[:0]
            drawn += count
        items.append(chosen)
        state.drawn[name] = drawn
    return np.concatenate(items)


def sampling_in(phase: Phase, samples: int) -> Sampling:
    """The settings of sampling in a phase, without seeds."""
    return Sampling(max_new_tokens=phase.max_new_tokens, temperature=phase.temperature, samples=samples)


def sample(
    run: PolicyRun, state: RunState, phase: Phase, counts: Mapping[str, int] | None = None, attempt: int = 0
) -> Rollout:
    """Responses to the next prompts.

    Args:
        counts: see :func:`draw_prompts`.
        attempt: 0, or the round of resampling; it changes the random numbers.
    """
    items = draw_prompts(run, state, phase, counts)
    seed_key = (run.config.seed, state.step, attempt, state.attempt)
    return run.sampler(run.prompts, items, sampling_in(phase, run.config.samples_per_prompt), seed_key)


def score(scorer: Scorer, sampler: Sampler, prompts: PromptSet, rollout: Rollout, world: World) -> Callable[[], Scores]:
    """Begin to score the responses in a thread: every rank takes whole prompts, of about equally many tokens.

    The returned function waits, and gives every rank the scores of all N responses. Every rank must call it.
    """
    groups = share_groups(rollout.group_tokens(), world.size)[world.rank]
    found = scorer.start(sampler.samples(prompts, rollout, groups))
    return lambda: gather(found(), rollout.rows(groups), len(rollout.length_N), world)


def gather(scores: Scores, rows: Sequence[int], count: int, world: World) -> Scores:
    """The scores of all ranks' samples, on every rank.

    Args:
        scores: of this rank's samples. ``rows``: their places among all ``count`` samples, each on exactly one rank.
    """
    if world.size == 1:
        return scores

    def gathered(values: Sequence[float | None]) -> torch.Tensor:
        everyone = torch.zeros(count, dtype=torch.float64)
        everyone[list(rows)] = torch.from_numpy(as_array(values))
        return world.sum(everyone)

    return {
        name: TermScores(
            tuple(as_list(gathered(each.scores).numpy())),
            tuple((gathered(each.applies) > 0).tolist()),
            tuple((gathered(each.failed) > 0).tolist()),
            {metric: tuple(as_list(gathered(values).numpy())) for metric, values in each.extras.items()},
            totals={
                metric: float(world.sum(torch.tensor([value], dtype=torch.float64)))
                for metric, value in each.totals.items()
            },
        )
        for name, each in scores.items()
    }


def weights_at(run: PolicyRun, state: RunState, phase: Phase) -> dict[str, float]:
    """The weights of the rewards of a rollout that begins now."""
    return run.scorer.mixer.weights(state.step, phase.weights, state.scale)


def mix(run: PolicyRun, state: RunState, rollout: Rollout, scores: Scores, weights: Mapping[str, float]) -> Rewards:
    """The reward of every response, by :func:`weights_at`. A curriculum learns what was solved."""
    rewards = run.scorer.mix(scores, weights, learn=True)
    if run.curriculum is not None and state.curriculum is not None:
        right_PG = accuracy_of(rewards).reshape(-1, rollout.samples)
        run.curriculum.learn(state.curriculum, rollout.prompt_P.numpy(), right_PG)
    return rewards


def advantages(run: PolicyRun, rewards: Rewards) -> Advantages:
    """Advantages within each prompt's group of responses, over the whole rollout."""
    samples = run.config.samples_per_prompt
    if run.config.loss.aggregation == "sum":
        return group_advantages(torch.from_numpy(rewards.reward_N).view(-1, samples), run.config.loss.advantages)
    weights = {each.name: rewards.weights[each.entry] for each in run.scorer.mixer.terms}
    counted = [name for name, weight in weights.items() if weight != 0]
    if not counted:  # no sample has a reward
        return group_advantages(torch.from_numpy(rewards.reward_N).view(-1, samples))
    return decoupled_advantages(
        torch.from_numpy(np.stack([rewards.raw[name] for name in counted])).view(len(counted), -1, samples),
        torch.from_numpy(np.stack([rewards.applied[name] for name in counted])).view(len(counted), -1, samples),
        torch.tensor([weights[name] for name in counted], dtype=torch.float64),
    )


def resample(
    run: PolicyRun, state: RunState, rollout: Rollout, rewards: Rewards, phase: Phase, timer: Timer
) -> tuple[Rollout, Rewards, int]:
    """DAPO's dynamic sampling (arXiv:2503.14476): put new prompts in the place of those whose group has no signal.

    New prompts come from the pool of those they replace. It is repeated up to ``resample_rounds`` times.

    Returns:
        The rollout, its rewards, and the number of rounds.
    """
    for number in range(run.config.resample_rounds):
        silent = (~advantages(run, rewards).signal_P).nonzero()[:, 0].tolist()
        if not silent:
            return rollout, rewards, number
        domains = run.prompts.domains_of(rollout.prompt_P.numpy())
        pools = {group: domains[group] if phase.mix else "all" for group in silent}
        counts = Counter(pools.values())
        with timer.section("rollout"):
            new = sample(run, state, phase, counts, number + 1)
        scores = score(run.scorer, run.sampler, run.prompts, new, run.world)
        with timer.section("logprobs"):
            new = with_logprobs(run, new, phase)
        with timer.section("rewards"):
            more = mix(run, state, new, scores(), rewards.weights)
        order = list(range(len(rollout)))
        first = len(rollout)  # of the new prompts, which stand pool by pool
        for pool, count in counts.items():
            replaced = [group for group in silent if pools[group] == pool]
            for group, coming in zip(replaced, range(first, first + count), strict=True):
                order[group] = coming
            first += count
        both = concat([rollout, new])
        rewards = rewards.concat(more).select(both.rows(order))
        rollout = both.select(order)
    return rollout, rewards, run.config.resample_rounds


def with_logprobs(
    run: PolicyRun,
    rollout: Rollout,
    phase: Phase,
    parts: Sequence[Sequence[int]] | None = None,
    old_policy: AbstractContextManager[None] | None = None,
) -> Rollout:
    """The rollout with the log-probabilities that the updates need: the policy's own, and the reference model's.

    Args:
        parts: see :func:`logprobs`.
        old_policy: makes the engine's module the policy from before the updates; ``None``: it is that policy.
    """
    if run.config.steps_per_rollout > 1:
        with old_policy or nullcontext():
            old_T = logprobs(run, rollout, phase.temperature, parts)
        rollout = replace(rollout, old_logprobs_T=old_T)
    if run.reference is not None:
        with run.reference.active():
            reference_T = logprobs(run, rollout, phase.temperature, parts)
        rollout = replace(rollout, reference_logprobs_T=reference_T)
    return rollout


@torch.no_grad()
def logprobs(
    run: PolicyRun, rollout: Rollout, temperature: float, parts: Sequence[Sequence[int]] | None = None
) -> torch.Tensor:
    """Log-probabilities of all response tokens under the engine's present weights, float32 ``[T]``, on every rank.

    Args:
        parts: places of prompts; those of different parts are in no micro-batch together, so that the last bits of a
            part's values are the same whether the others are there or not. Default: all prompts are one part.
    """
    run.engine.eval()
    found: dict[int, torch.Tensor] = {}
    for prompts in [range(len(rollout))] if parts is None else parts:
        for slices in plan_micro_batches(rollout, prompts, run.policy.layout, run.config.max_tokens, run.world):
            batch = run.policy.collate(rollout.trees(slices) or [FILLER]).to(run.world.device)
            logprobs_T, _ = run.engine(batch, temperature)
            members = [sample for each in slices for sample in each.samples]
            if members:
                lengths = rollout.length_N[members].tolist()
                found |= dict(zip(members, logprobs_T.cpu().split(lengths), strict=True))
    run.engine.train()
    flat_T: torch.Tensor = share_ragged(found, len(rollout.length_N), torch.float32, run.world.data)[0]
    return flat_T


def divergence_from_first(
    run: PolicyRun, rollout: Rollout, phase: Phase, parts: Sequence[Sequence[int]] | None = None
) -> torch.Tensor | None:
    """k3 estimate of the divergence from the first policy, float32 ``[T]``, nats; ``None`` where no guard watches it.

    Args:
        parts: see :func:`logprobs`.
    """
    if run.first_policy is None:
        return None
    with run.first_policy.active():
        first_T = logprobs(run, rollout, phase.temperature, parts)
    now_T = rollout.old_logprobs_T
    if now_T is None:
        now_T = logprobs(run, rollout, phase.temperature, parts)
    return k3(first_T - now_T)


def finish_rollout(
    run: PolicyRun,
    state: RunState,
    rollout: Rollout,
    rewards: Rewards,
    *,
    step: int,
    phase: Phase,
    rounds: int,
    first_kl_T: torch.Tensor | None,
    sample_log: SampleLog | NullLog,
) -> dict[str, float]:
    """Put a whole rollout with its advantages into the state, log its samples, and return its metrics.

    Args:
        step: updates made before the rollout. ``rounds``: of resampling.
        first_kl_T: see :func:`divergence_from_first`.

    Raises:
        NoSignalError: see :func:`check_signal`.
    """
    found = advantages(run, rewards)
    state.rollout = rollout.with_advantages(rewards.reward_N, found.advantages_PG)
    values = rollout_metrics(run, state, state.rollout, rewards, found, rounds)
    values |= end_curriculum_rollout(run, state)
    sample_log.write(step, phase.name, state.rollout, rewards, run.prompts, run.sampler)
    if first_kl_T is not None:
        values["kl_first"] = float(first_kl_T.mean())
    if run.teacher is None:
        check_signal(run, state, found, rewards)
    return values


def rollout_metrics(
    run: PolicyRun, state: RunState, rollout: Rollout, rewards: Rewards, found: Advantages, rounds: int
) -> dict[str, float]:
    """Means over a rollout, and counts; a mean over nothing is left out.

    Args:
        found: the advantages. ``rounds``: of resampling.
    """
    lengths = rollout.length_N.double()
    by_domain: dict[str, float] = {}
    domains = run.prompts.domains_of(rollout.prompt_P.numpy())
    for domain in sorted(set(domains)):
        rows = rollout.rows(place for place, each in enumerate(domains) if each == domain)
        by_domain |= {
            f"reward/{domain}": mean_of_known(rewards.reward_N[rows]),
            f"length/{domain}": float(lengths[rows].mean()),
        }
    signal = {
        "groups_without_signal": float((~found.signal_P).float().mean()),
        "resampled_rounds": float(rounds),
    }
    metrics = {
        "response_length": float(lengths.mean()),
        "response_length_max": float(lengths.max()),
        "finished": float(rollout.finished_N.double().mean()),
        "reward": mean_of_known(rewards.reward_N),
        **by_domain,
        **rewards.metrics(),
        **(signal if run.teacher is None else {}),  # a teacher needs no difference in reward
        "prompts_drawn": float(state.prompts_drawn),
        **{f"engine/{name}": value for name, value in getattr(run.sampler.engine, "figures", dict)().items()},
    }
    return {name: value for name, value in metrics.items() if not math.isnan(value)}


def end_curriculum_rollout(run: PolicyRun, state: RunState) -> dict[str, float]:
    """Open levels that are due, and return the curriculum's metrics; none without a curriculum."""
    if run.curriculum is None or state.curriculum is None:
        return {}
    return run.curriculum.end_rollout(state.curriculum)
