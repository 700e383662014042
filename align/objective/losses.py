"""Losses of the policy: log-probabilities in, one value per response out.

Tokens come packed: ``sequence_T`` says which response each token belongs to, so that nothing here knows of padding,
prompts or trees. No reduction over responses happens here. The loop divides the sum of ``loss_N`` by the sum of
``weight_N`` over all micro-batches and ranks of a step, so that cutting a batch differently never changes the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from align.objective.kinds import LossKind

# exp(20) is about 5e8, the size at which other libraries' runs have blown up. No ratio of use comes near.
LOG_RATIO_LIMIT = 20.0


@dataclass(frozen=True, slots=True)
class PolicyLoss:
    """The loss of a micro-batch, response by response. All but ``loss_N`` are without gradient.

    The loss of a step is Σ ``loss_N`` / Σ ``weight_N``, over everything the step is made of. The other fields are sums
    over a response's tokens, to be divided by the sum of ``tokens_N``; with ``sequence`` the response is clipped as a
    whole, and its tokens all count as clipped or none.

    Args:
        loss_N: loss per response, shape ``[N]``.
        weight_N: what a response counts in the denominator: 1, or its tokens with ``token_mean``.
        tokens_N: tokens of each response.
        ratio_N: Σ of π/π_old.
        clipped_low_N, clipped_high_N: tokens whose gradient the clip has stopped: ratio < 1 − ε_low with a negative
            advantage, ratio > 1 + ε_high with a positive one.
        limited_N: tokens whose log-ratio was beyond ``LOG_RATIO_LIMIT``, against the old policy or the reference. With
            ``sequence`` it is the ratios of whole responses that are limited.
        kl_N: Σ of the k3 estimator against the reference model (with ``sequence``: the response's one value); ``None``
            without a reference.
    """

    loss_N: torch.Tensor
    weight_N: torch.Tensor
    tokens_N: torch.Tensor
    ratio_N: torch.Tensor
    clipped_low_N: torch.Tensor
    clipped_high_N: torch.Tensor
    limited_N: torch.Tensor
    kl_N: torch.Tensor | None


def policy_loss(
    logprobs_T: torch.Tensor,
    old_logprobs_T: torch.Tensor,
    advantages_N: torch.Tensor,
    sequence_T: torch.Tensor,
    *,
    reference_logprobs_T: torch.Tensor | None = None,
    correction_T: torch.Tensor | None = None,
    kind: LossKind = "token",
    clip_low: float = 10.0,
    clip_high: float = 10.0,
    beta: float = 0.0,
) -> PolicyLoss:
    """The clipped objective of GRPO, −min(ρ A, clip(ρ, 1 − ε_low, 1 + ε_high) A) + β k3, with ρ = π / π_old.

    - ``token``: a ratio for each token, mean over a response's tokens, mean over responses (DeepSeekMath,
      arXiv:2402.03300, eq. 3; TRL's ``loss_type="grpo"``).
    - ``sequence``: one ratio for a response, π(o|q) / π_old(o|q), and one k3 of π_ref(o|q) / π(o|q), as DeepSeek-R1
      prints it (arXiv:2501.12948, eq. 1 and 2), without division by the response's length; mean over responses.
    - ``token_mean``: a ratio for each token, mean over all tokens of the step (DAPO, arXiv:2503.14476, eq. 8).

    Args:
        logprobs_T: log-probabilities of the responses' tokens under the policy, shape ``[T]``, with gradient.
        old_logprobs_T: the same under the policy that this rollout's updates started from.
        advantages_N: shape ``[N]``; 0 for an unscorable response.
        sequence_T: which response, 0 … N − 1, each token belongs to.
        reference_logprobs_T: the same under the reference model; needed if ``beta`` is not 0.
        correction_T: weight of each token's policy term (not of its KL), from :func:`importance_weights`; with
            ``sequence`` the mean over a response's tokens weighs the response.
        clip_low, clip_high: ε_low and ε_high; 10 is DeepSeek-R1's, where only the upper bound 11 can ever act.
        beta: weight of the KL divergence.

    Raises:
        ValueError: shapes disagree, or ``beta`` is set without reference log-probabilities.
    """
    _check(logprobs_T, old_logprobs_T, advantages_N, sequence_T, reference_logprobs_T, correction_T, kind, beta)
    size = len(advantages_N)
    tokens_N = torch.bincount(sequence_T, minlength=size).to(logprobs_T.dtype)
    reference_U = None if reference_logprobs_T is None else reference_logprobs_T - logprobs_T
    # U is the unit that has one ratio: a token, or with ``sequence`` a whole response
    if kind == "sequence":
        unit_U = torch.arange(size, device=sequence_T.device)
        log_ratio_U = _sum_by(logprobs_T - old_logprobs_T, sequence_T, size)
        reference_U = None if reference_U is None else _sum_by(reference_U, sequence_T, size)
        correction_U = None if correction_T is None else _sum_by(correction_T, sequence_T, size) / tokens_N.clamp(min=1)
        tokens_U = tokens_N  # how many tokens a unit stands for in the diagnostics
    else:
        unit_U, log_ratio_U, correction_U = sequence_T, logprobs_T - old_logprobs_T, correction_T
        tokens_U = torch.ones_like(logprobs_T)

    ratio_U = limited_exp(log_ratio_U)
    advantage_U = advantages_N.to(logprobs_T.dtype)[unit_U]
    loss_U = -torch.minimum(ratio_U * advantage_U, ratio_U.clamp(1 - clip_low, 1 + clip_high) * advantage_U)
    if correction_U is not None:
        loss_U = loss_U * correction_U
    limited_U = log_ratio_U.abs() > LOG_RATIO_LIMIT
    kl_U = None
    if reference_U is not None:
        kl_U = k3(reference_U)
        limited_U = limited_U | (reference_U.abs() > LOG_RATIO_LIMIT)
        if beta:
            loss_U = loss_U + beta * kl_U

    def per_response(value_U: torch.Tensor) -> torch.Tensor:
        return _sum_by(value_U.detach().to(logprobs_T.dtype), unit_U, size)

    loss_N = _sum_by(loss_U, unit_U, size)
    return PolicyLoss(
        loss_N=loss_N / tokens_N.clamp(min=1) if kind == "token" else loss_N,
        weight_N=tokens_N if kind == "token_mean" else torch.ones_like(tokens_N),
        tokens_N=tokens_N,
        ratio_N=per_response(ratio_U * tokens_U),
        clipped_low_N=per_response(((ratio_U < 1 - clip_low) & (advantage_U < 0)) * tokens_U),
        clipped_high_N=per_response(((ratio_U > 1 + clip_high) & (advantage_U > 0)) * tokens_U),
        limited_N=per_response(limited_U * tokens_U),
        kl_N=None if kl_U is None else per_response(kl_U),
    )


def k3(log_ratio: torch.Tensor) -> torch.Tensor:
    """π_ref/π − log(π_ref/π) − 1 of ``log_ratio`` = log π_ref − log π: an unbiased, non-negative estimate of
    KL(π ‖ π_ref) when tokens are drawn from π (Schulman 2020, http://joschu.net/blog/kl-approx.html).

    Beyond ``LOG_RATIO_LIMIT`` it is constant, so that a token which the reference model finds unthinkable cannot
    overflow.
    """
    limited = log_ratio.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return torch.expm1(limited) - limited


def limited_exp(log_ratio: torch.Tensor) -> torch.Tensor:
    """exp, constant beyond ``LOG_RATIO_LIMIT`` and so without gradient there."""
    return log_ratio.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


@torch.no_grad()
def importance_weights(old_logprobs_T: torch.Tensor, rollout_logprobs_T: torch.Tensor, cap: float) -> torch.Tensor:
    """min(π_old / π_rollout, cap) per token: truncated importance sampling against a rollout engine whose probabilities
    differ from the trainer's (Ionides 2008; https://fengyao.notion.site/off-policy-rl). Without gradient.
    """
    return limited_exp(old_logprobs_T - rollout_logprobs_T).clamp(max=cap)


def _sum_by(value_U: torch.Tensor, index_U: torch.Tensor, size: int) -> torch.Tensor:
    return torch.zeros(size, dtype=value_U.dtype, device=value_U.device).index_add(0, index_U, value_U)


def _check(
    logprobs_T: torch.Tensor,
    old_logprobs_T: torch.Tensor,
    advantages_N: torch.Tensor,
    sequence_T: torch.Tensor,
    reference_logprobs_T: torch.Tensor | None,
    correction_T: torch.Tensor | None,
    kind: str,
    beta: float,
) -> None:
    if kind not in ("token", "sequence", "token_mean"):
        raise ValueError(f"loss {kind!r} is none of token, sequence, token_mean")
    if beta and reference_logprobs_T is None:
        raise ValueError(f"beta = {beta} needs the reference model's log-probabilities")
    tokens = {"logprobs_T": logprobs_T, "old_logprobs_T": old_logprobs_T, "sequence_T": sequence_T}
    tokens |= {"reference_logprobs_T": reference_logprobs_T} if reference_logprobs_T is not None else {}
    tokens |= {"correction_T": correction_T} if correction_T is not None else {}
    shapes = {name: tuple(t.shape) for name, t in tokens.items()}
    if len(set(shapes.values())) != 1 or logprobs_T.dim() != 1 or advantages_N.dim() != 1:
        raise ValueError(f"packed losses take vectors of one length, not {shapes}")
