"""Advantages within a prompt's group of samples: rewards in, one number per sample out.

A sample that nothing could score has no reward. It is left out of its group's mean and deviation, its advantage is 0,
and it is counted: taking it for a reward of 0.0 would push the policy away from, or towards, text nobody has judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch

from align.objective.kinds import AdvantageKind


@dataclass(frozen=True, slots=True)
class Advantages:
    """The advantages of a batch of groups, and which groups have any signal.

    Args:
        advantages_PG: shape ``[P, G]``; 0 where a sample is unscorable or its group has no signal.
        signal_P: bool; true where at least two scorable samples of the group differ in reward. A group without signal
            moves the policy nowhere, and dynamic sampling (DAPO, arXiv:2503.14476) replaces it.
        unscorable: how many samples of the batch have no reward.
    """

    advantages_PG: torch.Tensor
    signal_P: torch.Tensor
    unscorable: int


def group_advantages(
    rewards_PG: torch.Tensor, kind: AdvantageKind = "group", *, epsilon: float = 1e-4, tolerance: float = 1e-8
) -> Advantages:
    """Advantages of each prompt's samples over the samples of the same prompt.

    With mean and std (the unbiased one) over the n scorable samples of a group:

    - ``group``: (r − mean) / (std + ε), as GRPO (arXiv:2402.03300, sec. 4.1.2) and DeepSeek-R1.
    - ``mean``: r − mean, as Dr. GRPO (arXiv:2503.20783): no bias towards prompts that are nearly always or
      never solved.
    - ``leave_one_out``: r − mean of the other n − 1, as RLOO (arXiv:2402.14740), which is n / (n − 1) · (r − mean).
    - ``batch``: (r − mean) / (std + ε) with the std over all scorable samples of ``rewards_PG`` (Lite PPO,
      arXiv:2508.08221; TRL's ``scale_rewards="batch"``): groups of a small std are not made as large as others.

    Args:
        rewards_PG: shape ``[P, G]``; nan where a sample is unscorable. For ``batch`` these are all prompts of a step.
        epsilon: ε of ``group`` and ``batch``; TRL's value by default.
        tolerance: rewards of a group that differ by no more than this are equal: rounding is no signal.
    """
    if rewards_PG.dim() != 2:
        raise ValueError(f"rewards come as [prompts, samples], not {tuple(rewards_PG.shape)}")
    if kind not in get_args(AdvantageKind):
        raise ValueError(f"advantages {kind!r} are none of {', '.join(get_args(AdvantageKind))}")
    scored_PG = ~torch.isnan(rewards_PG)
    count_P1 = scored_PG.sum(dim=1, keepdim=True)
    known_PG = torch.where(scored_PG, rewards_PG, 0.0)
    mean_P1 = known_PG.sum(dim=1, keepdim=True) / count_P1.clamp(min=1)
    centred_PG = torch.where(scored_PG, rewards_PG - mean_P1, 0.0)
    signal_P = _spread(rewards_PG, scored_PG) > tolerance

    if kind == "group":
        variance_P1 = centred_PG.square().sum(dim=1, keepdim=True) / (count_P1 - 1).clamp(min=1)
        values_PG = centred_PG / (variance_P1.sqrt() + epsilon)
    elif kind == "batch":
        values_PG = centred_PG / (_deviation(rewards_PG[scored_PG]) + epsilon)
    elif kind == "mean":
        values_PG = centred_PG
    else:
        values_PG = centred_PG * count_P1 / (count_P1 - 1).clamp(min=1)
    return Advantages(
        advantages_PG=torch.where(signal_P[:, None], values_PG, 0.0),
        signal_P=signal_P,
        unscorable=int((~scored_PG).sum()),
    )


def decoupled_advantages(
    values_KPG: torch.Tensor,
    applies_KPG: torch.Tensor,
    weights_K: torch.Tensor,
    *,
    epsilon: float = 1e-4,
    tolerance: float = 1e-8,
) -> Advantages:
    """Advantages of GDPO (arXiv:2601.05242): each term is normalised within its group before the terms are summed.

    For term k: z_k = (r_k − mean) / (std + ε) over the samples of the prompt. Then s = Σ w_k z_k, and the advantage is
    (s − mean) / (std + ε) over all scorable samples of the batch. The standard deviations are the unbiased ones. It
    equals TRL's ``multi_objective_aggregation="normalize_then_sum"``.

    A weight is a term's share in s, whatever the scale of its values: with sum-then-normalise a term of large values
    hides the others, and different combinations of values that have the same sum have the same advantage.

    A sample that some term applies to and could not score has no reward. It is left out of the statistics of every
    term, so the others are treated as if it had not been sampled.

    Args:
        values_KPG: shape ``[K, P, G]``, the values of K terms; nan where there is none.
        applies_KPG: bool; true where the term is part of the sample's reward.
        weights_K: shape ``[K]``.
        epsilon, tolerance: as of :func:`group_advantages`; sums of a group that differ by no more are equal.
    """
    if values_KPG.dim() != 3 or applies_KPG.shape != values_KPG.shape or weights_K.shape != values_KPG.shape[:1]:
        raise ValueError(
            "values and applies come as [terms, prompts, samples] with a weight per term, not "
            f"{tuple(values_KPG.shape)}, {tuple(applies_KPG.shape)} and {tuple(weights_K.shape)}"
        )
    scorable_PG = applies_KPG.any(dim=0) & ~(applies_KPG & torch.isnan(values_KPG)).any(dim=0)
    counted_KPG = applies_KPG & scorable_PG
    normalised_KPG = _normalised(values_KPG, counted_KPG, epsilon, dim=(2,))
    sums_PG = (weights_K[:, None, None] * normalised_KPG).sum(dim=0)
    signal_P = _spread(torch.where(scorable_PG, sums_PG, torch.nan), scorable_PG) > tolerance
    return Advantages(
        advantages_PG=torch.where(signal_P[:, None], _normalised(sums_PG, scorable_PG, epsilon, dim=(0, 1)), 0.0),
        signal_P=signal_P,
        unscorable=int((~scorable_PG).sum()),
    )


def _normalised(values: torch.Tensor, counted: torch.Tensor, epsilon: float, dim: tuple[int, ...]) -> torch.Tensor:
    """(value − mean) / (std + ε) over the counted values along ``dim``; 0 for the others."""
    count = counted.sum(dim=dim, keepdim=True)
    mean = torch.where(counted, values, 0.0).sum(dim=dim, keepdim=True) / count.clamp(min=1)
    centred = torch.where(counted, values - mean, 0.0)
    variance = centred.square().sum(dim=dim, keepdim=True) / (count - 1).clamp(min=1)
    return centred / (variance.sqrt() + epsilon)


def _deviation(values: torch.Tensor) -> torch.Tensor:
    """The unbiased standard deviation; 0 of fewer than two values."""
    return values.std() if len(values) > 1 else values.new_zeros(())


def _spread(rewards_PG: torch.Tensor, scored_PG: torch.Tensor) -> torch.Tensor:
    """Largest minus smallest known reward of each group; −inf where none is known."""
    largest_P = torch.where(scored_PG, rewards_PG, -torch.inf).amax(dim=1)
    smallest_P = torch.where(scored_PG, rewards_PG, torch.inf).amin(dim=1)
    return largest_P - smallest_P
