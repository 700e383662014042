"""One policy update on a part of the experience."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from align.config import AlignConfig
from align.objective.losses import PolicyLoss, importance_weights, limited_exp, policy_loss
from align.phases import Phase
from align.policy.policy import FILLER, Policy
from align.training.collect import plan
from align.training.rollout import Experience, Piece
from reward_models.runtime.distributed import World
from reward_models.runtime.engine import backward, optimizer_step
from reward_models.runtime.metrics import Metrics

MEANS = ("loss", "entropy", "ratio", "clipped_low", "clipped_high", "limited", "kl", "mismatch", "advantage_size")
MAXIMA = ("ratio_max", "mismatch_max")


def minibatch(experience: Experience, step: int, config: AlignConfig) -> list[int]:
    """The prompts of the experience that this step learns from: its share of a random order."""
    rollout, place = divmod(step, config.steps_per_rollout)
    order = np.random.default_rng([config.seed, rollout]).permutation(len(experience))
    return order[place * config.prompts_per_step : (place + 1) * config.prompts_per_step].tolist()


def update(
    engine: Any,
    policy: Policy,
    experience: Experience,
    prompts: list[int],
    config: AlignConfig,
    phase: Phase,
    metrics: Metrics,
    world: World,
) -> float:
    """One optimizer step over this rank's micro-batches of the prompts' samples.

    Returns the gradient norm. Raises :class:`NonFiniteError` before anything is updated.
    """
    set_rate(engine, phase.lr / config.engine.lr)
    batches = plan(experience, prompts, policy, config.max_tokens, world)
    denominator = _denominator(experience, prompts, config)
    finite = True
    for number, pieces in enumerate(batches):
        batch = policy.collate(experience.trees(pieces) or [FILLER]).to(world.device)
        logprobs_T, entropy_T = engine(batch, phase.temperature)
        if pieces:
            loss = _loss(logprobs_T, entropy_T, batch.sequence_T, experience, pieces, config, metrics).loss_N.sum()
        else:  # a rank without samples still takes part in every collective, with a gradient of zero
            loss = 0.0 * logprobs_T.sum()
        loss = loss / denominator
        finite = finite and bool(torch.isfinite(loss))
        backward(engine, loss, world, last=number == len(batches) - 1)
    return optimizer_step(engine, finite, world)


def set_rate(engine: Any, factor: float) -> None:
    """The learning rate of the coming step: ``factor`` times what the schedule says."""
    for group, rate in zip(engine.basic_optimizer.param_groups, engine.lr_scheduler.get_last_lr(), strict=True):
        group["lr"] = rate * factor


def _denominator(experience: Experience, prompts: list[int], config: AlignConfig) -> float:
    """What the sum of the step's losses is divided by, over all micro-batches and ranks."""
    if config.loss.kind == "token_mean":
        return float(experience.length_N.view(-1, experience.samples)[prompts].sum())
    return float(len(prompts) * experience.samples)


def _loss(
    logprobs_T: torch.Tensor,
    entropy_T: torch.Tensor,
    sequence_T: torch.Tensor,
    experience: Experience,
    pieces: list[Piece],
    config: AlignConfig,
    metrics: Metrics,
) -> PolicyLoss:
    def of(values_T: torch.Tensor | None) -> torch.Tensor | None:
        return None if values_T is None else experience.of(values_T, pieces).to(logprobs_T.device)

    settings = config.loss
    samples = [sample for piece in pieces for sample in piece.samples]
    old_T = of(experience.old_logprobs_T)
    if old_T is None:  # the rollout feeds this step alone: the policy has not moved since
        old_T = logprobs_T.detach()
    rollout_T = of(experience.rollout_logprobs_T)
    assert rollout_T is not None
    loss = policy_loss(
        logprobs_T,
        old_T,
        experience.advantages_PG.flatten()[samples].to(logprobs_T.device, torch.float32),
        sequence_T,
        reference_logprobs_T=of(experience.reference_logprobs_T),
        correction_T=_correction(old_T, rollout_T, settings.importance_cap),
        kind=settings.kind,
        clip_low=settings.clip_low,
        clip_high=settings.clip_high,
        beta=settings.beta,
    )
    tokens = len(logprobs_T)
    metrics.add_sum("loss", loss.loss_N, float(loss.weight_N.sum()))
    metrics.add("entropy", entropy_T)
    metrics.add("advantage_size", experience.advantages_PG.flatten()[samples].abs())
    metrics.add_sum("ratio", loss.ratio_N, tokens)
    metrics.max("ratio_max", float(limited_exp(logprobs_T.detach() - old_T).max()))
    metrics.add_sum("clipped_low", loss.clipped_low_N, tokens)
    metrics.add_sum("clipped_high", loss.clipped_high_N, tokens)
    metrics.add_sum("limited", loss.limited_N, tokens)
    if loss.kl_N is not None:
        metrics.add_sum("kl", loss.kl_N, len(samples) if settings.kind == "sequence" else tokens)
    gap_T = (old_T - rollout_T)[~rollout_T.isnan()].abs()
    if len(gap_T):
        metrics.add("mismatch", gap_T)
        metrics.max("mismatch_max", float(gap_T.max()))
    return loss


def _correction(old_T: torch.Tensor, rollout_T: torch.Tensor, cap: float | None) -> torch.Tensor | None:
    if cap is None:
        return None
    if rollout_T.isnan().any():
        raise ValueError(
            "loss.importance_cap needs the log-probabilities of the rollout engine, and this engine gives none; "
            "set it to null or choose another rollout.engine"
        )
    return importance_weights(old_T, rollout_T, cap)
