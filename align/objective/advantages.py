"""Advantages within a prompt's group of samples: rewards in, one number per sample out.

A sample that nothing could score has no reward. It is left out of its group's mean and deviation, its advantage is 0,
and it is counted: taking it for a reward of 0.0 would push the policy away from, or towards, text nobody has judged.
"""

from __future__ import annotations

from dataclasses import dataclass

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

    Args:
        rewards_PG: shape ``[P, G]``; nan where a sample is unscorable.
        epsilon: ε of ``group``; TRL's value by default.
        tolerance: rewards of a group that differ by no more than this are equal: rounding is no signal.
    """
    if rewards_PG.dim() != 2:
        raise ValueError(f"rewards come as [prompts, samples], not {tuple(rewards_PG.shape)}")
    if kind not in ("group", "mean", "leave_one_out"):
        raise ValueError(f"advantages {kind!r} are none of group, mean, leave_one_out")
    scored_PG = ~torch.isnan(rewards_PG)
    count_P1 = scored_PG.sum(dim=1, keepdim=True)
    known_PG = torch.where(scored_PG, rewards_PG, 0.0)
    mean_P1 = known_PG.sum(dim=1, keepdim=True) / count_P1.clamp(min=1)
    centred_PG = torch.where(scored_PG, rewards_PG - mean_P1, 0.0)
    signal_P = _spread(rewards_PG, scored_PG) > tolerance

    if kind == "group":
        variance_P1 = centred_PG.square().sum(dim=1, keepdim=True) / (count_P1 - 1).clamp(min=1)
        values_PG = centred_PG / (variance_P1.sqrt() + epsilon)
    elif kind == "mean":
        values_PG = centred_PG
    else:
        values_PG = centred_PG * count_P1 / (count_P1 - 1).clamp(min=1)
    return Advantages(
        advantages_PG=torch.where(signal_P[:, None], values_PG, 0.0),
        signal_P=signal_P,
        unscorable=int((~scored_PG).sum()),
    )


def _spread(rewards_PG: torch.Tensor, scored_PG: torch.Tensor) -> torch.Tensor:
    """Largest minus smallest known reward of each group; −inf where none is known."""
    largest_P = torch.where(scored_PG, rewards_PG, -torch.inf).amax(dim=1)
    smallest_P = torch.where(scored_PG, rewards_PG, torch.inf).amin(dim=1)
    return largest_P - smallest_P
