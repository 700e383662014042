"""One policy update on a part of the rollout."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from align.config import AlignConfig
from align.objective.advantages import group_advantages
from align.objective.corrections import effective_share, importance_weights, near_policy
from align.objective.distillation import sampled_reverse_kl
from align.objective.losses import PolicyLoss, limited_exp, loss_weights, policy_loss
from align.phases import Phase
from align.policy.policy import FILLER
from align.rollouts.served_teacher import ServedTeacher, answered
from align.run import PolicyRun
from align.state import RunState
from align.training.batches import plan_micro_batches
from align.training.rollout import Rollout, SampleSlice
from reward_models.backbone.pretrained import Layout
from reward_models.runtime.engine import NonFiniteError, backward, optimizer_step
from reward_models.runtime.metrics import Metrics

SQUARE = "correction_square"  # a mean from which the logged ``effective_share`` is computed
MEANS = (
    *("loss", "entropy", "ratio", "clipped_low", "clipped_high", "limited", "kl", "kl_teacher"),
    *("mismatch", "advantage_size", "overlong", "off_policy_masked"),
    *("correction_weight", SQUARE, "correction_limited", "correction_masked"),
)
MAXIMA = ("ratio_max", "mismatch_max")
OTHER_MODEL = 0.5  # a mean mismatch above it; the wrong precision gives 0.01 to 0.3


def minibatch(step: int, config: AlignConfig) -> list[int]:
    """The places of the prompts that this step learns from, among the rollout's P: its share of a random order."""
    number, place = divmod(step, config.steps_per_rollout)
    order = np.random.default_rng([config.seed, number]).permutation(config.prompts_per_rollout)
    return order[place * config.prompts_per_step : (place + 1) * config.prompts_per_step].tolist()


def minibatches(step: int, config: AlignConfig) -> list[list[int]]:
    """:func:`minibatch` of every step of a rollout that begins before ``step``; together they are all P places.

    After a rollback a rollout may begin between two of its steps. The earlier ones, which are not made, come last.
    """
    first, place = step - step % config.steps_per_rollout, step % config.steps_per_rollout
    order = [*range(place, config.steps_per_rollout), *range(place)]
    return [minibatch(first + each, config) for each in order]


def update(run: PolicyRun, state: RunState, phase: Phase, rollout: Rollout) -> dict[str, float]:
    """One optimizer step over this rank's micro-batches.

    Args:
        rollout: the prompts that this step learns from, see :func:`minibatch`, with their advantages.

    Returns:
        The step's metrics over all ranks: :data:`MEANS`, :data:`MAXIMA`, ``grad_norm`` before clipping, and ``lr``,
        the learning rate that was set for this step.

    Raises:
        NonFiniteError: a loss or gradient is not finite; nothing was updated, and the rollout is in a file.
    """
    config, engine, policy, world = run.config, run.engine, run.policy, run.world
    metrics, prompts = Metrics(MEANS, MAXIMA), list(range(len(rollout)))
    rollout = with_step_advantages(rollout, config)
    rate = set_learning_rate(engine, config.engine.lr, phase.lr)
    batches = plan_micro_batches(rollout, prompts, _layout(run), config.max_tokens, world)
    denominator = _denominator(rollout, prompts, config)
    served = run.teacher if isinstance(run.teacher, ServedTeacher) else None
    asked = [served.ask(rollout.trees(slices)) for slices in batches] if served is not None else []
    finite = True
    for number, slices in enumerate(batches):
        trees = rollout.trees(slices)
        batch = policy.collate(trees or [FILLER]).to(world.device)
        kl_T: torch.Tensor | None = None
        teacher_T: torch.Tensor | None = None
        if run.teacher is None or isinstance(run.teacher, ServedTeacher):
            logprobs_T, entropy_T = engine(batch, phase.temperature)
            teacher_T = answered(asked[number], world.device) if asked else None
        else:
            kl_T, logprobs_T, entropy_T = engine(batch, phase.temperature, run.teacher.divergence(trees))
        if not slices:  # a rank without samples still takes part in every collective, with a gradient of zero
            loss = 0.0 * (logprobs_T if kl_T is None else kl_T).sum()
        elif run.teacher is None:
            loss = _loss(logprobs_T, entropy_T, batch.sequence_T, rollout, slices, config, phase, metrics).loss_N.sum()
        else:
            taught, sequence_T = (kl_T, teacher_T), batch.sequence_T
            loss = _distillation_loss(taught, logprobs_T, entropy_T, sequence_T, rollout, slices, config, metrics)
        loss = loss / denominator
        finite = finite and bool(torch.isfinite(loss))
        backward(engine, loss, world, last=number == len(batches) - 1)
    try:
        grad_norm = optimizer_step(engine, finite, world)
    except NonFiniteError as error:
        message = f"step {state.step + 1}: {error}; nothing was updated, {run.dump_batch(rollout)}"
        raise NonFiniteError(message) from None
    values = _with_effective_share(metrics.reduce(world)) | {"grad_norm": grad_norm, "lr": rate}
    if values.get("mismatch", 0.0) > OTHER_MODEL and state.step == state.sampled_at:
        run.reporter.say(
            f"warning: step {state.step + 1}: the rollout engine's log-probabilities differ from the policy's by "
            f"{values['mismatch']:.2g} a token (mismatch): it samples from another model. Stop the run and compare the "
            "server's model with model.path: architecture, tied embeddings, dtype"
        )
    return values


def _layout(run: PolicyRun) -> Layout:
    """The layout by which micro-batches are planned: ``padded`` where the policy or the teacher pads.

    Both compute the same micro-batches, and padded rows of samples have at least as many tokens as trees of them.
    """
    padded = run.policy.layout == "padded" or (run.teacher is not None and run.teacher.layout == "padded")
    return "padded" if padded else "tree"


def set_learning_rate(engine: Any, peak: float, phase_peak: float) -> float:
    """Set and return the learning rate of the coming step: the schedule's share of the peak, times the phase's peak.

    Args:
        peak: of the whole run, which the engine's schedule was built with. ``phase_peak``: of the phase.
    """
    (rate,) = {rate / peak * phase_peak for rate in engine.lr_scheduler.get_last_lr()}  # the same in every group
    for group in engine.basic_optimizer.param_groups:
        group["lr"] = rate
    return rate


def with_step_advantages(rollout: Rollout, config: AlignConfig) -> Rollout:
    """The step's prompts with their advantages, where these depend on the step: ``loss.advantages=batch``.

    Every rank holds all prompts of the step, so that the standard deviation is that of the step, and not of a rank.
    """
    if config.loss.advantages != "batch":
        return rollout
    assert rollout.rewards_PG is not None
    return replace(rollout, advantages_PG=group_advantages(rollout.rewards_PG, "batch").advantages_PG)


def _denominator(rollout: Rollout, prompts: list[int], config: AlignConfig) -> float:
    """The divisor of the sum of the step's losses over all micro-batches and ranks."""
    rows = rollout.rows(prompts)
    kept_N = rollout.finished_N[rows] if config.loss.overlong_filter else None
    return max(1.0, float(loss_weights(config.loss.kind, rollout.length_N[rows], kept_N).sum()))


def _loss(
    logprobs_T: torch.Tensor,
    entropy_T: torch.Tensor,
    sequence_T: torch.Tensor,
    rollout: Rollout,
    slices: list[SampleSlice],
    config: AlignConfig,
    phase: Phase,
    metrics: Metrics,
) -> PolicyLoss:
    """The loss of rewards, response by response."""
    settings = config.loss
    samples = [sample for each in slices for sample in each.samples]
    reference_T = rollout.reference_logprobs_T
    assert rollout.advantages_PG is not None
    advantages_N = rollout.advantages_PG.flatten()[samples].to(logprobs_T.device, torch.float32)
    finished_N = rollout.finished_N[samples].to(logprobs_T.device)
    old_T, correction_T = _behind(logprobs_T, sequence_T, rollout, slices, config, metrics)
    if settings.off_policy_threshold is not None:
        rollout_T = _of_the_engine(rollout, slices, "loss.off_policy_threshold").to(logprobs_T.device)
        near_N = near_policy(logprobs_T, rollout_T, advantages_N, sequence_T, settings.off_policy_threshold)
        metrics.add("off_policy_masked", (~near_N).float())
        correction_T = near_N[sequence_T].float() * (1.0 if correction_T is None else correction_T)
    loss = policy_loss(
        logprobs_T,
        old_T,
        advantages_N,
        sequence_T,
        reference_logprobs_T=None if reference_T is None else rollout.of(reference_T, slices).to(logprobs_T.device),
        correction_T=correction_T,
        kept_N=finished_N if settings.overlong_filter else None,
        kind=settings.kind,
        clip_low=settings.clip_low,
        clip_high=settings.clip_high,
        beta=settings.beta,
        kl_estimate=settings.kl_estimate,
        max_length=phase.max_new_tokens,
    )
    if settings.overlong_filter:
        metrics.add("overlong", (~finished_N).float())
    tokens = len(logprobs_T)
    metrics.add_sum("loss", loss.loss_N, float(loss.weight_N.sum()))
    metrics.add("entropy", entropy_T)
    metrics.add("advantage_size", advantages_N.abs())
    metrics.add_sum("ratio", loss.ratio_N, tokens)
    metrics.max("ratio_max", float(limited_exp(logprobs_T.detach() - old_T).max()))
    metrics.add_sum("clipped_low", loss.clipped_low_N, tokens)
    metrics.add_sum("clipped_high", loss.clipped_high_N, tokens)
    metrics.add_sum("limited", loss.limited_N, tokens)
    if loss.kl_N is not None:
        metrics.add_sum("kl", loss.kl_N, len(samples) if settings.kind == "sequence" else tokens)
    return loss


def _distillation_loss(
    taught: tuple[torch.Tensor | None, torch.Tensor | None],
    logprobs_T: torch.Tensor,
    entropy_T: torch.Tensor,
    sequence_T: torch.Tensor,
    rollout: Rollout,
    slices: list[SampleSlice],
    config: AlignConfig,
    metrics: Metrics,
) -> torch.Tensor:
    """The sum over the tokens of their divergence from the teacher, see :mod:`align.objective.distillation`.

    Every token's is weighed as its policy term would be in :func:`policy_loss`, where the rollout engine is corrected.

    Args:
        taught: the divergences, or the teacher's log-probabilities from which they are estimated.
    """
    old_T, correction_T = _behind(logprobs_T, sequence_T, rollout, slices, config, metrics)
    kl_T, teacher_T = taught
    if teacher_T is not None:
        kl_T = sampled_reverse_kl(logprobs_T, old_T, teacher_T)
    assert kl_T is not None
    loss_T = kl_T if correction_T is None else kl_T * correction_T
    metrics.add("loss", loss_T)
    metrics.add("kl_teacher", kl_T)
    metrics.add("entropy", entropy_T)
    return loss_T.sum()


def _behind(
    logprobs_T: torch.Tensor,
    sequence_T: torch.Tensor,
    rollout: Rollout,
    slices: list[SampleSlice],
    config: AlignConfig,
    metrics: Metrics,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The old log-probabilities of these samples, and the weights that correct those of the rollout engine, if wanted.

    Their difference is added to ``metrics``.
    """
    old_T = rollout.old_logprobs_T
    if old_T is None:  # the rollout feeds this step alone: the policy has not moved since
        old_T = logprobs_T.detach()
    else:
        old_T = rollout.of(old_T, slices).to(logprobs_T.device)
    rollout_T = rollout.of(rollout.rollout_logprobs_T, slices).to(logprobs_T.device)
    gap_T = (old_T - rollout_T)[~rollout_T.isnan()].abs()
    if len(gap_T):
        metrics.add("mismatch", gap_T)
        metrics.max("mismatch_max", float(gap_T.max()))
    if config.correction is None:
        return old_T, None
    rollout_T = _of_the_engine(rollout, slices, "loss.correction").to(logprobs_T.device)
    low, high = config.loss.correction_low, config.loss.correction_high
    found = importance_weights(old_T, rollout_T, sequence_T, config.correction, low=low, high=high)
    metrics.add("correction_weight", found.weight_T)
    metrics.add(SQUARE, found.weight_T.double().square())
    metrics.add("correction_limited", found.limited_T.float())
    metrics.add("correction_masked", found.masked_T.float())
    return old_T, found.weight_T


def _of_the_engine(rollout: Rollout, slices: list[SampleSlice], setting: str) -> torch.Tensor:
    """The log-probabilities of the rollout engine, all of which ``setting`` needs."""
    rollout_T = rollout.of(rollout.rollout_logprobs_T, slices)
    if rollout_T.isnan().any():
        off = "set it to never" if setting == "loss.correction" else "take it out"
        raise ValueError(
            f"{setting} needs the log-probabilities of the rollout engine, and this engine gives none; {off} or choose "
            "another rollout.engine"
        )
    return rollout_T


def _with_effective_share(values: dict[str, float]) -> dict[str, float]:
    """The metrics with ``effective_share`` of the correction's weights in the place of the mean of their squares."""
    square = values.pop(SQUARE, None)
    if square is None:
        return values
    return values | {"effective_share": effective_share(values["correction_weight"], square)}
