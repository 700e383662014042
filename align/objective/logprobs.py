"""Log-probabilities of tokens from hidden states, without ever holding the logits of all of them.

The output layer over a vocabulary of 150,000 makes a hundred times as many numbers as the hidden states it reads. Here
it runs a chunk of tokens at a time, and again in the backward pass, so that memory holds one chunk's logits.
"""

from __future__ import annotations

from typing import Any

import torch

CHUNK_ELEMENTS = 1 << 24  # logits of one chunk: 64 MiB in fp32


def token_logprobs(
    hidden_TH: torch.Tensor, weight_VH: torch.Tensor, target_T: torch.Tensor, temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """log softmax(h W^T / temperature) at the targets, and the entropy of that distribution in nats.

    Args:
        hidden_TH: hidden states that predict the targets, shape ``[T, H]``.
        weight_VH: of the output layer, which has no bias.
        target_T: token ids, ``[T]``.

    Returns:
        ``logprobs_T`` with gradient to ``hidden_TH`` and ``weight_VH``, and ``entropy_T`` without; both float32.
    """
    logprobs_T, entropy_T, _ = _TokenLogprobs.apply(hidden_TH, weight_VH, target_T, temperature, False)
    return logprobs_T, entropy_T


def token_predictions(
    hidden_TH: torch.Tensor, weight_VH: torch.Tensor, target_T: torch.Tensor, temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """As :func:`token_logprobs`, and ``correct_T``: whether the target is the token of the highest probability."""
    return _TokenLogprobs.apply(hidden_TH, weight_VH, target_T, temperature, True)  # type: ignore[no-any-return]


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_TH: torch.Tensor,
        weight_VH: torch.Tensor,
        target_T: torch.Tensor,
        temperature: float,
        predict: bool,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        chunk = max(1, CHUNK_ELEMENTS // len(weight_VH))
        logprobs, entropies, normalisers, correct = [], [], [], []
        for hidden, target in zip(hidden_TH.split(chunk), target_T.split(chunk), strict=True):
            logits = _logits(hidden, weight_VH, temperature)
            if predict:
                correct.append(logits.argmax(1) == target)
            normaliser = logits.logsumexp(1, keepdim=True)
            logprobs.append(logits.gather(1, target[:, None])[:, 0] - normaliser[:, 0])
            log_p = logits.sub_(normaliser)
            # In place and deleted, so that two such chunks exist at once, and not four.
            p = log_p.exp()
            entropies.append(-p.mul_(log_p.clamp_(min=torch.finfo(log_p.dtype).min)).sum(1))
            normalisers.append(normaliser)
            del logits, log_p, p
        ctx.save_for_backward(hidden_TH, weight_VH, target_T, torch.cat(normalisers) if normalisers else hidden_TH)
        ctx.temperature, ctx.chunk = temperature, chunk
        entropy_T, correct_T = torch.cat(entropies), torch.cat(correct) if predict else None
        ctx.mark_non_differentiable(entropy_T, *([] if correct_T is None else [correct_T]))
        return torch.cat(logprobs), entropy_T, correct_T

    @staticmethod
    def backward(ctx: Any, grad_T: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden_TH, weight_VH, target_T, normaliser_T1 = ctx.saved_tensors
        grad_hidden = torch.empty_like(hidden_TH)
        # Summed over chunks, in fp32 whatever the weights are.
        grad_weight = torch.zeros_like(weight_VH, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        for at in range(0, len(hidden_TH), ctx.chunk):
            part = slice(at, at + ctx.chunk)
            hidden = hidden_TH[part]
            # d logprob / d logits = (onehot − p) / temperature
            grad_logits = _logits(hidden, weight_VH, ctx.temperature).sub_(normaliser_T1[part]).exp_().neg_()
            rows = torch.arange(len(hidden), device=hidden.device)
            grad_logits[rows, target_T[part]] += 1
            grad_logits = grad_logits.mul_(grad_T[part, None] / ctx.temperature).to(hidden.dtype)
            torch.mm(grad_logits, weight_VH, out=grad_hidden[part])
            if grad_weight is not None:
                if grad_weight.dtype == hidden.dtype:
                    grad_weight.addmm_(grad_logits.t(), hidden)
                else:
                    grad_weight += grad_logits.t() @ hidden
            del grad_logits
        return grad_hidden, None if grad_weight is None else grad_weight.to(weight_VH.dtype), None, None, None


def _logits(hidden_TH: torch.Tensor, weight_VH: torch.Tensor, temperature: float) -> torch.Tensor:
    logits = (hidden_TH @ weight_VH.t()).float()
    return logits if temperature == 1 else logits.div_(temperature)
