"""Corrections of off-policy responses: weights of the tokens' policy terms, without gradient.

A rollout engine computes other probabilities than the trainer (another precision, another program), or samples with
older weights. The weight π_old/π_rollout of a token, or of a response, corrects that; bounds keep its variance small.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from align.objective.kinds import CORRECTIONS, CorrectionKind
from align.objective.losses import limited_exp, mean_by, sum_by


@dataclass(frozen=True, slots=True)
class Correction:
    """Weights of tokens' policy terms.

    Args:
        weight_T: shape ``[T]``, without gradient.
        limited_T: bool, true where a cap acts. ``masked_T``: true where a mask has made the weight 0.
    """

    weight_T: torch.Tensor
    limited_T: torch.Tensor
    masked_T: torch.Tensor


@torch.no_grad()
def importance_weights(
    old_logprobs_T: torch.Tensor,
    rollout_logprobs_T: torch.Tensor,
    sequence_T: torch.Tensor,
    kind: CorrectionKind = "token_cap",
    *,
    low: float | None = None,
    high: float | None = None,
) -> Correction:
    """The weights of the correction ``kind``, see :data:`align.objective.kinds.CORRECTIONS`.

    With w = π_old/π_rollout of a token, of a response (product over its tokens) or its geometric mean, a ``cap`` gives
    min(w, high), a ``mask`` gives w within [low, high] and 0 outside, and ``geometric_mask`` 1 within and 0 outside.
    The first two are TRL's ``vllm_importance_sampling_mode`` ``*_truncate`` and ``*_mask``.

    Args:
        old_logprobs_T: under the trainer's policy before the rollout's updates, shape ``[T]``.
        rollout_logprobs_T: under the policy that sampled, as the rollout engine computed them.
        sequence_T: which response, 0 … N − 1, each token belongs to.
        low, high: bounds; default: those of the entry.

    Raises:
        ValueError: the kind is unknown.
    """
    if kind not in CORRECTIONS:
        raise ValueError(f"correction {kind!r} is none of {', '.join(CORRECTIONS)}")
    rule = CORRECTIONS[kind]
    low, high = rule.low if low is None else low, rule.high if high is None else high
    log_weight_T = old_logprobs_T - rollout_logprobs_T
    if rule.level != "token":
        size = int(sequence_T.max()) + 1 if len(sequence_T) else 0
        whole_by = sum_by if rule.level == "product" else mean_by
        log_weight_T = whole_by(log_weight_T, sequence_T, size)[sequence_T]
    weight_T = limited_exp(log_weight_T)
    nothing_T = torch.zeros_like(weight_T, dtype=torch.bool)
    if rule.action == "cap":
        return Correction(weight_T.clamp(max=high), weight_T > high, nothing_T)
    masked_T = (weight_T < low) | (weight_T > high)
    kept_T = torch.ones_like(weight_T) if rule.action == "keep" else weight_T
    return Correction(kept_T.masked_fill(masked_T, 0.0), nothing_T, masked_T)


@torch.no_grad()
def near_policy(
    logprobs_T: torch.Tensor,
    rollout_logprobs_T: torch.Tensor,
    advantages_N: torch.Tensor,
    sequence_T: torch.Tensor,
    threshold: float,
) -> torch.Tensor:
    """The responses that the off-policy sequence mask of DeepSeek-V3.2 (arXiv:2512.02556, eq. 9) keeps, bool ``[N]``.

    A response is masked if its advantage is negative and 1/T Σ_t log(π_rollout/π) > δ: the policy has moved away from
    it already, or never was near it. The mask covers the policy term, not the KL divergence; denominators are
    unchanged. TRL's ``off_policy_mask_threshold`` is the same.

    Args:
        logprobs_T: under the policy that is being updated, shape ``[T]``. ``rollout_logprobs_T``: as in
            :func:`importance_weights`.
        advantages_N: shape ``[N]``. ``sequence_T``: which response each token belongs to.
        threshold: δ, in nats per token.
    """
    distance_N = mean_by(rollout_logprobs_T - logprobs_T, sequence_T, len(advantages_N))
    return (advantages_N >= 0) | (distance_N <= threshold)


def effective_share(mean_weight: float, mean_square: float) -> float:
    """Kish's effective sample size over the number of samples, (Σw)² / (n Σw²): 1 for equal weights, 0 without any.

    Args:
        mean_weight: mean of the weights. ``mean_square``: mean of their squares.
    """
    return mean_weight**2 / mean_square if mean_square > 0 else 0.0
