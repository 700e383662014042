"""The divergence from a teacher: values worked by hand, laws, and equality with TRL."""

from __future__ import annotations

import math

import pytest
import torch
from trl.experimental.gkd import GKDTrainer

from align.objective import distillation, logprobs
from align.objective.distillation import reverse_kl, sampled_reverse_kl

TOKENS, VOCABULARY = 23, 50


def inputs(dtype: torch.dtype = torch.float32, teacher_rows: int = VOCABULARY) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype)

    return {
        "hidden_TH": drawn(TOKENS, 8).requires_grad_(),
        "weight_VH": drawn(VOCABULARY, 8).requires_grad_(),
        "target_T": torch.randint(VOCABULARY, (TOKENS,), generator=generator),
        "teacher_hidden_TD": drawn(TOKENS, 12),  # a teacher is wider
        "teacher_weight_VD": drawn(teacher_rows, 12),
    }


def plain(given: dict[str, torch.Tensor], temperature: float) -> torch.Tensor:
    log_p = (given["hidden_TH"] @ given["weight_VH"].t() / temperature).log_softmax(1)
    log_q = (given["teacher_hidden_TD"] @ given["teacher_weight_VD"].t() / temperature).log_softmax(1)
    return (log_p.exp() * (log_p - log_q)).sum(1)


def test_two_tokens_worked_by_hand() -> None:
    # π = (3/4, 1/4), π_teacher = (1/2, 1/2): 3/4 ln(3/2) + 1/4 ln(1/2)
    kl_T, logprobs_T, entropy_T = reverse_kl(
        torch.tensor([[math.log(3.0)]], requires_grad=True),
        torch.tensor([[1.0], [0.0]]),
        torch.tensor([1]),
        1.0,
        teacher_hidden_TD=torch.tensor([[0.0]]),
        teacher_weight_VD=torch.tensor([[1.0], [0.0]]),
    )
    assert kl_T.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert logprobs_T.item() == pytest.approx(math.log(0.25))
    assert entropy_T.item() == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    (gradient,) = torch.autograd.grad(kl_T.sum(), kl_T.grad_fn.next_functions[0][0].variable)  # type: ignore[union-attr]
    # d KL / d z_0 = π_0 (ln(π_0/q_0) − KL)
    assert gradient.item() == pytest.approx(0.75 * (math.log(1.5) - kl_T.item()))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("chunk", [1, 5, 1000])
def test_values_and_gradients_are_those_of_the_whole_logits(
    monkeypatch: pytest.MonkeyPatch, temperature: float, chunk: int
) -> None:
    monkeypatch.setattr(logprobs, "CHUNK_ELEMENTS", 2 * VOCABULARY * chunk)
    given, upstream = inputs(), torch.linspace(-1, 2, TOKENS)
    kl_T, logprobs_T, entropy_T = reverse_kl(temperature=temperature, **given)
    ours = torch.autograd.grad((kl_T * upstream).sum(), (given["hidden_TH"], given["weight_VH"]))
    expected = plain(given, temperature)
    theirs = torch.autograd.grad((expected * upstream).sum(), (given["hidden_TH"], given["weight_VH"]))
    torch.testing.assert_close(kl_T, expected, rtol=1e-5, atol=1e-5)
    for mine, plainly in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, plainly, rtol=1e-4, atol=1e-5)
    same = logprobs.token_logprobs(given["hidden_TH"], given["weight_VH"], given["target_T"], temperature)
    torch.testing.assert_close((logprobs_T, entropy_T), same, rtol=1e-5, atol=1e-5)
    assert not logprobs_T.requires_grad
    assert not entropy_T.requires_grad


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_it_is_trls_loss_of_on_policy_distillation(temperature: float) -> None:
    """``trl.experimental.gkd.GKDTrainer.generalized_jsd_loss`` of TRL 1.16.0 with ``beta=1``; λ = 1 is our sampling."""
    given = inputs()
    kl_T, _, _ = reverse_kl(temperature=temperature, **given)
    ours = kl_T.sum() / TOKENS
    student = (given["hidden_TH"] @ given["weight_VH"].t())[None]
    teacher = (given["teacher_hidden_TD"] @ given["teacher_weight_VD"].t())[None]
    labels = given["target_T"][None]
    theirs = GKDTrainer.generalized_jsd_loss(
        student, teacher, labels=labels, beta=1, temperature=temperature, num_items_in_batch=TOKENS
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    parts = given["hidden_TH"], given["weight_VH"]
    for mine, trls in zip(torch.autograd.grad(ours, parts), torch.autograd.grad(theirs, parts), strict=True):
        torch.testing.assert_close(mine, trls, rtol=1e-4, atol=1e-6)


def test_a_policy_that_is_its_teacher_has_no_loss_and_no_gradient() -> None:
    given = inputs()
    given |= {"teacher_hidden_TD": given["hidden_TH"], "teacher_weight_VD": given["weight_VH"]}
    kl_T, _, _ = reverse_kl(temperature=1.0, **given)
    assert torch.equal(kl_T, torch.zeros(TOKENS))
    for gradient in torch.autograd.grad(kl_T.sum(), (given["hidden_TH"], given["weight_VH"])):
        assert torch.equal(gradient, torch.zeros_like(gradient))


def test_it_is_never_negative_and_the_teacher_gets_no_gradient() -> None:
    given = inputs()
    given["teacher_weight_VD"].requires_grad_()
    kl_T, _, _ = reverse_kl(temperature=1.0, **given)
    assert (kl_T > 0).all()
    kl_T.sum().backward()
    assert given["teacher_weight_VD"].grad is None
    given["target_T"] = (given["target_T"] + 1) % VOCABULARY
    assert torch.equal(reverse_kl(temperature=1.0, **given)[0], kl_T)  # whole distributions: no target is in it


def test_a_step_against_the_gradient_lowers_it() -> None:
    given = inputs()
    before = reverse_kl(temperature=1.0, **given)[0].sum()
    (gradient,) = torch.autograd.grad(before, given["hidden_TH"])
    given["hidden_TH"] = given["hidden_TH"] - 1e-3 * gradient
    assert reverse_kl(temperature=1.0, **given)[0].sum() < before


def test_rows_that_only_one_of_them_has_are_left_out() -> None:
    given = inputs(teacher_rows=VOCABULARY + 6)
    kl_T, _, _ = reverse_kl(temperature=1.0, **given)
    cut = given | {"teacher_weight_VD": given["teacher_weight_VD"][:VOCABULARY]}
    torch.testing.assert_close(kl_T, plain(cut, 1.0), rtol=1e-5, atol=1e-5)
    narrow = given | {
        "teacher_weight_VD": given["teacher_weight_VD"][: VOCABULARY - 4],
        "target_T": torch.zeros_like(given["target_T"]),
    }
    kl_T, _, _ = reverse_kl(temperature=1.0, **narrow)
    cut = narrow | {"weight_VH": given["weight_VH"][: VOCABULARY - 4]}
    torch.testing.assert_close(kl_T, plain(cut, 1.0), rtol=1e-5, atol=1e-5)
    (gradient,) = torch.autograd.grad(kl_T.sum(), given["weight_VH"])
    assert not gradient[VOCABULARY - 4 :].any()


def test_a_token_that_the_policy_never_writes_has_no_part_in_it() -> None:
    kl_T, _, entropy_T = reverse_kl(
        torch.tensor([[1.0]], requires_grad=True),
        torch.tensor([[-torch.inf], [0.0], [0.0]]),
        torch.tensor([1]),
        1.0,
        teacher_hidden_TD=torch.tensor([[1.0]]),
        teacher_weight_VD=torch.zeros(3, 1),
    )
    assert kl_T.item() == pytest.approx(math.log(1.5))
    assert entropy_T.item() == pytest.approx(math.log(2))


def _of_two(policy: float, teacher: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The divergence of two tokens and its gradient; the first token's logits are given, the second's are 0."""
    weight = torch.tensor([[policy], [0.0]], requires_grad=True)
    kl_T, _, _ = reverse_kl(
        torch.ones(1, 1),
        weight,
        torch.tensor([1]),
        1.0,
        teacher_hidden_TD=torch.ones(1, 1),
        teacher_weight_VD=torch.tensor([[teacher], [0.0]]),
    )
    kl_T.sum().backward()
    assert weight.grad is not None
    return kl_T, weight.grad


def test_a_token_that_the_teacher_never_writes() -> None:
    for never in (-torch.inf, -500.0):  # the probability of both is 0 in float32
        kl_T, gradient = _of_two(never, -torch.inf)  # nor does the policy
        assert kl_T.item() == 0
        assert not gradient.any()
    kl_T, _ = _of_two(0.0, -torch.inf)
    assert kl_T.item() == math.inf  # a step that is refused, and not a number


def test_other_numbers_of_places_are_refused() -> None:
    given = inputs()
    with pytest.raises(ValueError, match="differ in places: 23, 22, 23"):
        distillation.reverse_kl(temperature=1.0, **(given | {"teacher_hidden_TD": given["teacher_hidden_TD"][1:]}))


def test_the_estimate_from_sampled_tokens_has_the_value_and_gradient_of_the_whole_divergence_as_its_means() -> None:
    torch.manual_seed(0)
    logits = torch.randn(7, dtype=torch.float64, requires_grad=True)
    old = (logits.detach() + 0.3 * torch.randn(7, dtype=torch.float64)).softmax(0)  # the policy that samples
    teacher = torch.randn(7, dtype=torch.float64).log_softmax(0)
    log_p = logits.log_softmax(0)
    whole = (log_p.exp() * (log_p - teacher)).sum()
    (wanted,) = torch.autograd.grad(whole, logits, retain_graph=True)
    mean = (old * sampled_reverse_kl(log_p, old.log(), teacher)).sum()  # each token as often as it is sampled
    (found,) = torch.autograd.grad(mean, logits)
    torch.testing.assert_close(mean, whole)
    torch.testing.assert_close(found, wanted)
