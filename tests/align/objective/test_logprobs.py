"""Chunked log-probabilities against the plain computation."""

from __future__ import annotations

import pytest
import torch

from align.objective import logprobs


def inputs(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(23, 8, generator=generator, dtype=dtype).requires_grad_()
    weight = torch.randn(50, 8, generator=generator, dtype=dtype).requires_grad_()
    target = torch.randint(50, (23,), generator=generator)
    return hidden, weight, target, torch.randn(23, generator=generator, dtype=torch.float32)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("chunk", [1, 5, 23, 1000])
def test_values_and_gradients_are_those_of_the_whole_logits(
    monkeypatch: pytest.MonkeyPatch, temperature: float, chunk: int
) -> None:
    monkeypatch.setattr(logprobs, "CHUNK_ELEMENTS", 50 * chunk)
    hidden, weight, target, upstream = inputs(torch.float32)
    ours, ours_entropy = logprobs.token_logprobs(hidden, weight, target, temperature)
    ours_gradient = torch.autograd.grad((ours * upstream).sum(), (hidden, weight))

    hidden64, weight64 = (t.detach().double().requires_grad_() for t in (hidden, weight))
    logits = hidden64 @ weight64.t() / temperature
    plain = logits.log_softmax(1)[torch.arange(23), target]
    gradient = torch.autograd.grad((plain * upstream).sum(), (hidden64, weight64))
    torch.testing.assert_close(ours.double(), plain, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        ours_entropy.double(), torch.special.entr(logits.softmax(1)).sum(1), rtol=1e-5, atol=1e-5
    )
    for mine, theirs in zip(ours_gradient, gradient, strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-4, atol=1e-5)
    assert not ours_entropy.requires_grad


def test_a_frozen_output_layer_gets_no_gradient_and_bf16_keeps_its_type() -> None:
    hidden, weight, target, upstream = inputs(torch.bfloat16)
    values, _ = logprobs.token_logprobs(hidden, weight.detach(), target)
    assert values.dtype == torch.float32
    (gradient,) = torch.autograd.grad((values * upstream).sum(), (hidden,))
    assert gradient.dtype == torch.bfloat16
    reference = hidden.detach().double().requires_grad_()
    plain = (reference @ weight.detach().double().t()).log_softmax(1)[torch.arange(23), target]
    (expected,) = torch.autograd.grad((plain * upstream).sum(), (reference,))
    torch.testing.assert_close(gradient.double(), expected, rtol=0.1, atol=0.05)


def test_an_impossible_token_has_no_share_in_the_entropy() -> None:
    hidden = torch.tensor([[1.0]])
    weight = torch.tensor([[-torch.inf], [0.0], [0.0]])
    values, ent = logprobs.token_logprobs(hidden, weight, torch.tensor([1]))
    assert values.item() == pytest.approx(-0.6931472)
    assert ent.item() == pytest.approx(0.6931472)
