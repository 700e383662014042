"""The divergence of a policy from a teacher, token by token, without ever holding the probabilities of all of them.

As in :mod:`align.objective.logprobs` the output layers run a chunk of tokens at a time, and again in the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch

from align.objective import logprobs


def reverse_kl(
    hidden_TH: torch.Tensor,
    weight_VH: torch.Tensor,
    target_T: torch.Tensor,
    temperature: float,
    *,
    teacher_hidden_TD: torch.Tensor,
    teacher_weight_VD: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """KL(π ‖ π_teacher) = Σ_v π(v) (log π(v) − log π_teacher(v)) of the next token, at every place.

    On the policy's own samples this is on-policy distillation: GKD (arXiv:2306.13649) with λ = 1 and the reverse KL
    divergence, the token-level form of MiniLLM (arXiv:2306.08543). The gradient is that of the divergence at each place
    with the samples held fixed, without a term for how a token changes later places.

    Args:
        hidden_TH: hidden states of the policy that predict the targets, shape ``[T, H]``.
        weight_VH: of its output layer, which has no bias.
        target_T: token ids of the samples, ``[T]``; the divergence does not depend on them.
        temperature: of both distributions.
        teacher_hidden_TD, teacher_weight_VD: the same of the teacher. Where one model has more rows than the other
            (rows beyond the tokenizer's tokens, which are never trained), both distributions are over the common rows.

    Returns:
        ``kl_T`` in nats, with gradient to ``hidden_TH`` and ``weight_VH``; ``logprobs_T`` of the targets and
        ``entropy_T`` under the policy, without. All are float32. A token that the policy never takes (π = 0) adds 0,
        whatever the teacher's probability; where the teacher never takes one that the policy does, ``kl_T`` is inf.

    Raises:
        ValueError: policy and teacher have other numbers of places.
    """
    if len(hidden_TH) != len(teacher_hidden_TD) or len(hidden_TH) != len(target_T):
        raise ValueError(
            f"policy, teacher and targets differ in places: {len(hidden_TH)}, {len(teacher_hidden_TD)}, {len(target_T)}"
        )
    rows = min(len(weight_VH), len(teacher_weight_VD))
    weight_VH = weight_VH if len(weight_VH) == rows else weight_VH[:rows]
    teacher = teacher_hidden_TD.detach(), teacher_weight_VD[:rows].detach()
    return _ReverseKl.apply(hidden_TH, weight_VH, target_T, temperature, *teacher)  # type: ignore[no-any-return]


def sampled_reverse_kl(
    logprobs_T: torch.Tensor, old_logprobs_T: torch.Tensor, teacher_logprobs_T: torch.Tensor
) -> torch.Tensor:
    """r (log π − log π_teacher) of the sampled token, r = π/π_old: an estimate of KL(π ‖ π_teacher) at every place.

    Value and gradient have :func:`reverse_kl`'s as their means over tokens that π_old samples: the bracket is without
    gradient, for E[∇ log π] = 0. It needs one number a token from the teacher, and has a larger variance
    (https://thinkingmachines.ai/blog/on-policy-distillation/).

    Args:
        logprobs_T: of the sampled tokens under the policy, shape ``[T]``. ``old_logprobs_T``: under the policy that
            sampled them. ``teacher_logprobs_T``: under the teacher.
    """
    return (logprobs_T - old_logprobs_T).exp() * (logprobs_T.detach() - teacher_logprobs_T)


class _ReverseKl(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_TH: torch.Tensor,
        weight_VH: torch.Tensor,
        target_T: torch.Tensor,
        temperature: float,
        teacher_hidden_TD: torch.Tensor,
        teacher_weight_VD: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        chunk = max(1, logprobs.CHUNK_ELEMENTS // (2 * len(weight_VH)))
        kls, targets, entropies = [], [], []
        for hidden, target, teacher in zip(
            hidden_TH.split(chunk), target_T.split(chunk), teacher_hidden_TD.split(chunk), strict=True
        ):
            log_p = _log_softmax(hidden, weight_VH, temperature)
            p = log_p.exp()
            targets.append(log_p.gather(1, target[:, None])[:, 0])
            impossible = p == 0
            log_p.masked_fill_(impossible, 0)  # 0 · log 0 is 0
            entropies.append(-(p * log_p).sum(1))
            log_p.sub_(_log_softmax(teacher, teacher_weight_VD, temperature)).masked_fill_(impossible, 0)
            kls.append((p * log_p).sum(1))
        empty = hidden_TH.new_zeros(0, dtype=torch.float32)
        kl_T, target_T1, entropy_T = (torch.cat([empty, *parts]) for parts in (kls, targets, entropies))
        ctx.save_for_backward(hidden_TH, weight_VH, teacher_hidden_TD, teacher_weight_VD, kl_T)
        ctx.temperature, ctx.chunk = temperature, chunk
        ctx.mark_non_differentiable(target_T1, entropy_T)
        return kl_T, target_T1, entropy_T

    @staticmethod
    def backward(ctx: Any, grad_T: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden_TH, weight_VH, teacher_hidden_TD, teacher_weight_VD, kl_T = ctx.saved_tensors
        grad_hidden = torch.empty_like(hidden_TH)
        # Summed over chunks, in fp32 whatever the weights are.
        grad_weight = torch.zeros_like(weight_VH, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        for at in range(0, len(hidden_TH), ctx.chunk):
            part = slice(at, at + ctx.chunk)
            hidden = hidden_TH[part]
            log_p = _log_softmax(hidden, weight_VH, ctx.temperature)
            p = log_p.exp()
            ratio = log_p.sub_(_log_softmax(teacher_hidden_TD[part], teacher_weight_VD, ctx.temperature))
            ratio.masked_fill_(p == 0, 0)
            # d KL / d logits = π (log π − log π_teacher − KL) / temperature
            grad_logits = ratio.sub_(kl_T[part, None]).mul_(p).mul_(grad_T[part, None] / ctx.temperature)
            grad_logits = grad_logits.to(hidden.dtype)
            torch.mm(grad_logits, weight_VH, out=grad_hidden[part])
            if grad_weight is not None:
                grad_weight += grad_logits.t() @ hidden
        return grad_hidden, None if grad_weight is None else grad_weight.to(weight_VH.dtype), None, None, None, None


def _log_softmax(hidden: torch.Tensor, weight: torch.Tensor, temperature: float) -> torch.Tensor:
    return ((hidden @ weight.t()).float() / temperature).log_softmax(1)
