"""Losses of the policy: log-probabilities in, one value per response out.

Tokens come packed: ``sequence_T`` says which response each token belongs to, so that nothing here knows of padding,
prompts or trees. No reduction over responses happens here. The loop divides the sum of ``loss_N`` by the sum of
``weight_N`` over all micro-batches and ranks of a step, so that cutting a batch differently never changes the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from align.objective.kinds import LOSSES, KlEstimate, LossKind, LossRule

# exp(20) is about 5e8, the size at which other libraries' runs have blown up. No ratio of use comes near.
LOG_RATIO_LIMIT = 20.0
# τ of the soft gate for a positive and for any other advantage, SAPO's (arXiv:2511.20347)
GATE_STEEPNESS = (1.0, 1.05)


@dataclass(frozen=True, slots=True)
class PolicyLoss:
    """The loss of a micro-batch, response by response. All but ``loss_N`` are without gradient.

    The loss of a step is Σ ``loss_N`` / Σ ``weight_N``, over everything the step is made of. The other fields are sums
    over a response's tokens, to be divided by the sum of ``tokens_N``; with ``sequence`` the response is clipped as a
    whole, and its tokens all count as clipped or none.

    Args:
        loss_N: loss per response, shape ``[N]``.
        weight_N: how much a response counts in the denominator, see :func:`loss_weights`.
        tokens_N: tokens of each response.
        ratio_N: Σ of π/π_old.
        clipped_low_N, clipped_high_N: tokens whose gradient the clip has stopped: ratio < 1 − ε_low with a negative
            advantage, ratio > 1 + ε_high with a positive one. With ``cispo``: tokens whose weight a bound has limited.
        limited_N: tokens whose log-ratio was beyond ``LOG_RATIO_LIMIT``, against the old policy or the reference. With
            ``sequence`` it is the ratios of whole responses that are limited.
        kl_N: Σ of the estimates of the divergence from the reference model (with ``sequence``: the response's one
            value); ``None`` without a reference.
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
    kept_N: torch.Tensor | None = None,
    kind: LossKind = "token",
    clip_low: float = 10.0,
    clip_high: float = 10.0,
    beta: float = 0.0,
    kl_estimate: KlEstimate = "k3",
    max_length: int | None = None,
) -> PolicyLoss:
    """The loss ``kind`` of :data:`align.objective.kinds.LOSSES`, which has equations and sources, plus β times the KL.

    The KL divergence is estimated for each token, with ``sequence`` for each response (π_ref(o|q) / π(o|q)).

    Args:
        logprobs_T: log-probabilities of the responses' tokens under the policy, shape ``[T]``, with gradient.
        old_logprobs_T: the same under the policy that this rollout's updates started from.
        advantages_N: shape ``[N]``; 0 for an unscorable response.
        sequence_T: which response, 0 … N − 1, each token belongs to.
        reference_logprobs_T: the same under the reference model; needed if ``beta`` is not 0.
        correction_T: weight of each token's policy term (not of its KL), see :mod:`align.objective.corrections`; with
            ``sequence`` the mean over a response's tokens weighs the response.
        kept_N: bool; responses where it is false are in neither the loss nor its denominator. Default: all are kept.
        clip_low, clip_high: ε_low and ε_high; 10 is DeepSeek-R1's, where only the upper bound 11 can ever act.
        beta: weight of the KL divergence. ``kl_estimate``: :func:`k3`, or ``unbiased``: :func:`unbiased_kl`.
        max_length: longest response that can be sampled; needed for ``dr_grpo``.

    Raises:
        ValueError: shapes disagree, or something that the loss needs is missing.
    """
    _check(logprobs_T, old_logprobs_T, advantages_N, sequence_T, reference_logprobs_T, correction_T)
    _check_settings(kind, beta, reference_logprobs_T, max_length)
    rule, size = LOSSES[kind], len(advantages_N)
    tokens_N = torch.bincount(sequence_T, minlength=size).to(logprobs_T.dtype)
    reference_T = None if reference_logprobs_T is None else reference_logprobs_T - logprobs_T
    units = _units(rule, logprobs_T - old_logprobs_T, reference_T, advantages_N, correction_T, sequence_T)
    log_ratio_U = RATIOS[rule.ratio](units.difference_U, sequence_T, size)
    policy = SURROGATES[rule.surrogate](logprobs_T, limited_exp(log_ratio_U), units.advantage_U, clip_low, clip_high)
    loss_U = policy.loss_U if units.correction_U is None else policy.loss_U * units.correction_U
    if (kl_U := units.kl(kl_estimate)) is not None and beta:
        loss_U = loss_U + beta * kl_U
    loss_N = sum_by(loss_U, units.response_U, size)
    if rule.mean != "token" and rule.ratio != "product":
        loss_N = loss_N / (float(max_length or 1) if rule.mean == "constant" else tokens_N.clamp(min=1))
    return PolicyLoss(
        loss_N=loss_N if kept_N is None else torch.where(kept_N, loss_N, 0.0),
        weight_N=loss_weights(kind, tokens_N, kept_N),
        tokens_N=tokens_N,
        ratio_N=units.tokens_where(limited_exp(log_ratio_U), size),
        clipped_low_N=units.tokens_where(policy.low_U, size),
        clipped_high_N=units.tokens_where(policy.high_U, size),
        limited_N=units.tokens_where(units.limited(log_ratio_U), size),
        kl_N=None if kl_U is None else sum_by(kl_U.detach(), units.response_U, size),
    )


@dataclass(frozen=True, slots=True)
class _Units:
    """The units ``U`` that have one value of the loss each: tokens, or with ``sequence`` whole responses.

    Args:
        difference_U: log π − log π_old. ``reference_U``: log π_ref − log π, if there is a reference.
        response_U: which response the unit is of. ``tokens_U``: for how many tokens it stands.
    """

    difference_U: torch.Tensor
    reference_U: torch.Tensor | None
    advantage_U: torch.Tensor
    correction_U: torch.Tensor | None
    response_U: torch.Tensor
    tokens_U: torch.Tensor

    def kl(self, estimate: KlEstimate) -> torch.Tensor | None:
        if self.reference_U is None:
            return None
        return k3(self.reference_U) if estimate == "k3" else unbiased_kl(self.difference_U, self.reference_U)

    def limited(self, log_ratio_U: torch.Tensor) -> torch.Tensor:
        """True where the ratio to the old policy or to the reference is beyond the limit."""
        limited_U = log_ratio_U.abs() > LOG_RATIO_LIMIT
        return limited_U if self.reference_U is None else limited_U | (self.reference_U.abs() > LOG_RATIO_LIMIT)

    def tokens_where(self, value_U: torch.Tensor, size: int) -> torch.Tensor:
        """Sum of a value, or of a condition, over the tokens of each response; without gradient."""
        return sum_by(value_U.detach() * self.tokens_U, self.response_U, size)


def _units(
    rule: LossRule,
    difference_T: torch.Tensor,
    reference_T: torch.Tensor | None,
    advantages_N: torch.Tensor,
    correction_T: torch.Tensor | None,
    sequence_T: torch.Tensor,
) -> _Units:
    """The units of the rule: of a response the differences are summed, the weights averaged."""
    advantages_N = advantages_N.to(difference_T.dtype)
    if rule.ratio != "product":
        tokens_T = torch.ones_like(difference_T)
        return _Units(difference_T, reference_T, advantages_N[sequence_T], correction_T, sequence_T, tokens_T)
    size = len(advantages_N)
    return _Units(
        difference_U=sum_by(difference_T, sequence_T, size),
        reference_U=None if reference_T is None else sum_by(reference_T, sequence_T, size),
        advantage_U=advantages_N,
        correction_U=None if correction_T is None else mean_by(correction_T, sequence_T, size),
        response_U=torch.arange(size, device=sequence_T.device),
        tokens_U=torch.bincount(sequence_T, minlength=size).to(difference_T.dtype),
    )


def loss_weights(kind: LossKind, tokens_N: torch.Tensor, kept_N: torch.Tensor | None = None) -> torch.Tensor:
    """The count of each response in the denominator of a step's loss: 1, or its tokens where the loss is a mean over
    all tokens of the step; 0 if it is not kept.
    """
    per_token = kind == "reverse_kl" or LOSSES[kind].mean == "token"
    weight_N = tokens_N if per_token else torch.ones_like(tokens_N)
    return weight_N if kept_N is None else weight_N * kept_N


# ---- ratios: log π − log π_old of each unit in, the logarithm of its ratio out


def _own_ratio(difference_U: torch.Tensor, sequence_T: torch.Tensor, size: int) -> torch.Tensor:
    """The unit's own: π(o_t)/π_old(o_t) of a token, π(o|q)/π_old(o|q) of a response."""
    return difference_U


def _geometric_ratio(difference_T: torch.Tensor, sequence_T: torch.Tensor, size: int) -> torch.Tensor:
    """The geometric mean over the response's tokens, at each of them (GSPO, arXiv:2507.18071, eq. 7)."""
    return mean_by(difference_T, sequence_T, size)[sequence_T]


def _geometric_token_ratio(difference_T: torch.Tensor, sequence_T: torch.Tensor, size: int) -> torch.Tensor:
    """The value of the geometric mean with the gradient of the token (GSPO-token, arXiv:2507.18071, eq. 14)."""
    return _geometric_ratio(difference_T.detach(), sequence_T, size) + difference_T - difference_T.detach()


# ---- surrogates: what is minimised, for each unit


@dataclass(frozen=True, slots=True)
class _Surrogate:
    """A surrogate's value for each unit, and (bool) at which of them its lower and upper bound act."""

    loss_U: torch.Tensor
    low_U: torch.Tensor
    high_U: torch.Tensor


def _clipped(
    logprobs_T: torch.Tensor, ratio_U: torch.Tensor, advantage_U: torch.Tensor, low: float, high: float
) -> _Surrogate:
    """−min(r A, clip(r, 1 − ε_low, 1 + ε_high) A), PPO's (arXiv:1707.06347, eq. 7)."""
    loss_U = -torch.minimum(ratio_U * advantage_U, ratio_U.clamp(1 - low, 1 + high) * advantage_U)
    return _Surrogate(loss_U, (ratio_U < 1 - low) & (advantage_U < 0), (ratio_U > 1 + high) & (advantage_U > 0))


def _weighted(
    logprobs_T: torch.Tensor, ratio_U: torch.Tensor, advantage_U: torch.Tensor, low: float, high: float
) -> _Surrogate:
    """−sg(clip(r, 1 − ε_low, 1 + ε_high)) A log π: every token keeps a gradient (CISPO, arXiv:2506.13585, eq. 4)."""
    weight_U = ratio_U.detach().clamp(1 - low, 1 + high)
    return _Surrogate(-weight_U * advantage_U * logprobs_T, ratio_U < 1 - low, ratio_U > 1 + high)


def _gated(
    logprobs_T: torch.Tensor, ratio_U: torch.Tensor, advantage_U: torch.Tensor, low: float, high: float
) -> _Surrogate:
    """−(4/τ) σ(τ(r − 1)) A: the gradient falls off smoothly with the distance of r from 1 (SAPO, arXiv:2511.20347)."""
    steepness_U = torch.where(advantage_U > 0, *GATE_STEEPNESS)
    gate_U = torch.sigmoid(steepness_U * (ratio_U - 1)) * 4 / steepness_U
    nowhere_U = torch.zeros_like(ratio_U, dtype=torch.bool)
    return _Surrogate(-gate_U * advantage_U, nowhere_U, nowhere_U)


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


def unbiased_kl(log_ratio: torch.Tensor, reference_log_ratio: torch.Tensor) -> torch.Tensor:
    """(π/π_old) · k3, an estimate of KL(π ‖ π_ref) from samples of π_old (DeepSeek-V3.2, arXiv:2512.02556).

    The ratio has its gradient, so that the expected gradient under π_old is that of the divergence itself: at each
    token it is (π/π_old) log(π/π_ref) ∇ log π. That of :func:`k3` alone is (1 − π_ref/π) ∇ log π, which has no bound
    where the policy finds a token far less probable than the reference.

    Args:
        log_ratio: log π − log π_old, with gradient. ``reference_log_ratio``: log π_ref − log π, with gradient.
    """
    return limited_exp(log_ratio) * k3(reference_log_ratio)


def sum_by(value_U: torch.Tensor, index_U: torch.Tensor, size: int) -> torch.Tensor:
    """Sum of the values of each index 0 … ``size`` − 1."""
    return torch.zeros(size, dtype=value_U.dtype, device=value_U.device).index_add(0, index_U, value_U)


def mean_by(value_U: torch.Tensor, index_U: torch.Tensor, size: int) -> torch.Tensor:
    """Mean of the values of each index 0 … ``size`` − 1; 0 where there is none."""
    return sum_by(value_U, index_U, size) / torch.bincount(index_U, minlength=size).clamp(min=1)


RATIOS = {
    "token": _own_ratio,
    "product": _own_ratio,
    "geometric": _geometric_ratio,
    "geometric_token": _geometric_token_ratio,
}
SURROGATES = {"clip": _clipped, "weight": _weighted, "gate": _gated}


def _check_settings(
    kind: LossKind, beta: float, reference_logprobs_T: torch.Tensor | None, max_length: int | None
) -> None:
    if kind not in LOSSES:
        raise ValueError(f"loss {kind!r} is none of {', '.join(LOSSES)}")
    if beta and reference_logprobs_T is None:
        raise ValueError(f"beta = {beta} needs the reference model's log-probabilities")
    if LOSSES[kind].mean == "constant" and not max_length:
        raise ValueError(f"loss {kind!r} divides by the longest length: give max_length")


def _check(
    logprobs_T: torch.Tensor,
    old_logprobs_T: torch.Tensor,
    advantages_N: torch.Tensor,
    sequence_T: torch.Tensor,
    reference_logprobs_T: torch.Tensor | None,
    correction_T: torch.Tensor | None,
) -> None:
    tokens = {"logprobs_T": logprobs_T, "old_logprobs_T": old_logprobs_T, "sequence_T": sequence_T}
    tokens |= {"reference_logprobs_T": reference_logprobs_T} if reference_logprobs_T is not None else {}
    tokens |= {"correction_T": correction_T} if correction_T is not None else {}
    shapes = {name: tuple(t.shape) for name, t in tokens.items()}
    if len(set(shapes.values())) != 1 or logprobs_T.dim() != 1 or advantages_N.dim() != 1:
        raise ValueError(f"packed losses take vectors of one length, not {shapes}")
