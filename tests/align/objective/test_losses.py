"""The policy's losses: values worked by hand, laws, and TRL's own code on the same batch."""

from __future__ import annotations

import math
from collections import defaultdict
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch

from align.objective.corrections import near_policy
from align.objective.kinds import LOSSES, KlEstimate, LossKind
from align.objective.losses import LOG_RATIO_LIMIT, PolicyLoss, k3, policy_loss, unbiased_kl

KINDS: list[LossKind] = list(LOSSES)
LONGEST = 7  # what dr_grpo divides by
LOG2, LOG3 = math.log(2), math.log(3)


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def batch(seed: int = 0, spread: float = 0.3) -> dict[str, Any]:
    """Four responses of 3, 1, 5 and 2 tokens."""
    generator = torch.Generator().manual_seed(seed)
    sequence_T = torch.repeat_interleave(torch.arange(4), torch.tensor([3, 1, 5, 2]))
    logprobs_T = -torch.rand(11, generator=generator, dtype=torch.float64) * 2
    noise = torch.randn(2, 11, generator=generator, dtype=torch.float64) * spread
    return {
        "logprobs_T": logprobs_T,
        "old_logprobs_T": logprobs_T + noise[0],
        "reference_logprobs_T": logprobs_T + noise[1],
        "advantages_N": torch.randn(4, generator=generator, dtype=torch.float64),
        "sequence_T": sequence_T,
    }


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def total(loss: PolicyLoss) -> torch.Tensor:
    return loss.loss_N.sum() / loss.weight_N.sum()


# ---- by hand: response 0 has ratios 2 and 1/2 and advantage 1, response 1 has ratio 3 and advantage −1


HAND = {
    "logprobs_T": t(-1.0, -1.0, -1.0),
    "old_logprobs_T": t(-1.0 - LOG2, -1.0 + LOG2, -1.0 - LOG3),
    "advantages_N": t(1.0, -1.0),
    "sequence_T": torch.tensor([0, 0, 1]),
}


@pytest.mark.parametrize(
    ("kind", "clip", "loss", "weight"),
    [
        ("token", 10.0, [-(2 + 0.5) / 2, 3.0], [1, 1]),
        ("token", 0.2, [-(1.2 + 0.5) / 2, 3.0], [1, 1]),  # min(2, 1.2), min(0.5, 0.8); −3 is below −1.2
        ("token_mean", 10.0, [-2.5, 3.0], [2, 1]),
        ("sequence", 10.0, [-1.0, 3.0], [1, 1]),  # the ratio of the response is 2 · 1/2
        ("dr_grpo", 10.0, [-2.5 / LONGEST, 3 / LONGEST], [1, 1]),
        ("gspo", 0.2, [-1.0, 3.0], [1, 1]),  # the geometric mean of 2 and 1/2
        ("gspo_token", 0.2, [-1.0, 3.0], [1, 1]),
        ("cispo", 10.0, [2.5, -3.0], [2, 1]),  # the weight is the ratio, and log π is −1 everywhere
        ("cispo", 0.2, [1.2 + 0.8, -1.2], [2, 1]),
        ("sapo", 10.0, [-2 * (sigmoid(1) + sigmoid(-0.5)), 4 / 1.05 * sigmoid(1.05 * 2)], [1, 1]),
    ],
)
def test_values_by_hand(kind: LossKind, clip: float, loss: list[float], weight: list[float]) -> None:
    result = policy_loss(**HAND, kind=kind, clip_low=clip, clip_high=clip, max_length=LONGEST)
    assert torch.allclose(result.loss_N, t(*loss))
    assert result.weight_N.tolist() == weight


def test_the_kl_term_by_hand() -> None:
    reference_T = HAND["logprobs_T"] + t(LOG2, LOG2, 0.0)  # k3 = 2 − ln 2 − 1 at two tokens, 0 at the third
    token = policy_loss(**HAND, reference_logprobs_T=reference_T, beta=0.5)
    assert torch.allclose(token.loss_N, t(-1.25 + 0.5 * (1 - LOG2), 3.0))
    assert torch.allclose(token.kl_N, t(2 * (1 - LOG2), 0.0))
    whole = policy_loss(**HAND, reference_logprobs_T=reference_T, beta=0.5, kind="sequence")
    assert torch.allclose(whole.loss_N, t(-1.0 + 0.5 * (4 - 2 * LOG2 - 1), 3.0))  # the response's ratio is 4


def test_diagnostics_by_hand() -> None:
    result = policy_loss(**HAND, clip_low=0.2, clip_high=0.2)
    assert torch.allclose(result.ratio_N, t(2.5, 3.0))
    assert result.tokens_N.tolist() == [2, 1]
    assert result.clipped_high_N.tolist() == [1, 0]  # 2 > 1.2 with A > 0; 3 > 1.2 has A < 0 and goes on pushing
    assert result.clipped_low_N.tolist() == [0, 0]  # 1/2 < 0.8, but with A > 0
    swapped = policy_loss(**HAND | {"advantages_N": -HAND["advantages_N"]}, clip_low=0.2, clip_high=0.2)
    assert swapped.clipped_low_N.tolist() == [1, 0]
    assert swapped.clipped_high_N.tolist() == [0, 1]
    assert result.kl_N is None
    weights = policy_loss(**HAND, kind="cispo", clip_low=0.2, clip_high=0.2)  # bounded whatever the advantage
    assert weights.clipped_high_N.tolist() == [1, 1]
    assert weights.clipped_low_N.tolist() == [1, 0]


def test_with_epsilon_10_only_a_ratio_above_11_with_a_positive_advantage_is_clipped() -> None:
    ratios = t(1e-6, 10.9, 11.1, 11.1)
    old_T = -1 - ratios.log()
    result = policy_loss(-torch.ones(4, dtype=torch.float64), old_T, t(-1, 1, 1, -1), torch.arange(4))
    assert result.clipped_high_N.tolist() == [0, 0, 1, 0]
    assert result.clipped_low_N.sum() == 0
    assert torch.allclose(result.loss_N, t(1e-6, -10.9, -11.0, 11.1))


# ---- laws


@pytest.mark.parametrize("kind", KINDS)
def test_on_policy_gradient_is_the_advantage_times_the_score(kind: LossKind) -> None:
    data = batch()
    logprobs_T = data["logprobs_T"].requires_grad_()
    moved = (logprobs_T, logprobs_T.detach(), data["advantages_N"], data["sequence_T"])
    total(policy_loss(*moved, kind=kind, max_length=LONGEST)).backward()
    mean_T = 1 / (4 * torch.tensor([3, 1, 5, 2])[data["sequence_T"]])
    shares: dict[LossKind, torch.Tensor] = {
        **dict.fromkeys(("token", "gspo", "gspo_token", "sapo"), mean_T),
        **dict.fromkeys(("token_mean", "cispo"), t(1 / 11)),
        "sequence": t(1 / 4),
        "dr_grpo": t(1 / (4 * LONGEST)),
    }
    assert torch.allclose(logprobs_T.grad, -data["advantages_N"][data["sequence_T"]] * shares[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_cutting_the_batch_does_not_change_the_gradient(kind: LossKind) -> None:
    data, settings = batch(), {"kind": kind, "clip_low": 0.2, "clip_high": 0.3, "beta": 0.04, "max_length": LONGEST}
    settings |= {"kl_estimate": "unbiased"}
    data |= {"correction_T": torch.linspace(0.5, 1.5, 11, dtype=torch.float64)}
    data |= {"kept_N": torch.tensor([True, True, False, True])}
    whole_T = data["logprobs_T"].clone().requires_grad_()
    total(policy_loss(**data | {"logprobs_T": whole_T}, **settings)).backward()

    parts_T = data["logprobs_T"].clone().requires_grad_()
    results = []
    for members in ([0, 1], [2], [3]):
        picked = torch.isin(data["sequence_T"], torch.tensor(members))
        part = {name: value[picked] for name, value in data.items() if name.endswith("_T")}
        part |= {"logprobs_T": parts_T[picked], "sequence_T": part["sequence_T"] - members[0]}
        part |= {name: data[name][members] for name in ("advantages_N", "kept_N")}
        results.append(policy_loss(**part, **settings))
    (sum(r.loss_N.sum() for r in results) / sum(r.weight_N.sum() for r in results)).backward()
    assert torch.allclose(whole_T.grad, parts_T.grad, atol=1e-14)


def test_k3_is_zero_at_equality_never_negative_and_the_kl_divergence_on_average() -> None:
    assert k3(t(0.0)) == 0
    assert (k3(torch.linspace(-30, 30, 101, dtype=torch.float64)) >= 0).all()
    p, q = t(0.2, 0.5, 0.3), t(0.4, 0.1, 0.5)
    assert torch.allclose((p * k3((q / p).log())).sum(), (p * (p / q).log()).sum())


@pytest.mark.parametrize("kind", KINDS)
def test_extreme_log_ratios_stay_finite_and_are_counted(kind: LossKind) -> None:
    data = batch()
    logprobs_T = data["logprobs_T"].clone().requires_grad_()
    moved = {"old_logprobs_T": data["old_logprobs_T"] - 500 * (data["sequence_T"] == 2)}
    moved |= {"reference_logprobs_T": data["reference_logprobs_T"] + 500 * (data["sequence_T"] == 0)}
    loss = policy_loss(**data | moved | {"logprobs_T": logprobs_T}, kind=kind, beta=0.1, max_length=LONGEST)
    total(loss).backward()
    assert torch.isfinite(loss.loss_N).all()
    assert torch.isfinite(logprobs_T.grad).all()
    assert loss.limited_N.tolist() == [3, 0, 5, 0]
    assert loss.ratio_N[2] <= 5 * math.exp(LOG_RATIO_LIMIT) * (1 + 1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_response_that_is_not_kept_is_as_if_it_had_not_been_sampled(kind: LossKind) -> None:
    data, settings = batch(), {"kind": kind, "clip_low": 0.2, "clip_high": 0.3, "beta": 0.04, "max_length": LONGEST}
    filtered = policy_loss(**data, **settings, kept_N=torch.tensor([True, False, True, True]))
    rest = {name: value[data["sequence_T"] != 1] for name, value in data.items() if name.endswith("_T")}
    rest |= {"sequence_T": torch.repeat_interleave(torch.arange(3), torch.tensor([3, 5, 2]))}
    alone = policy_loss(**rest, advantages_N=data["advantages_N"][[0, 2, 3]], **settings)
    assert torch.allclose(total(filtered), total(alone), atol=1e-14)
    assert filtered.loss_N[1] == filtered.weight_N[1] == 0


def test_gspo_token_has_the_gradient_of_gspo_until_tokens_are_weighed() -> None:
    weights_T = torch.linspace(0.5, 1.5, 11, dtype=torch.float64)

    def gradient(kind: LossKind, correction_T: torch.Tensor | None) -> torch.Tensor:
        data = batch(seed=1)
        logprobs_T = data["logprobs_T"].clone().requires_grad_()
        settings: dict[str, Any] = {"kind": kind, "clip_low": 0.1, "clip_high": 0.1}
        total(policy_loss(**data | {"logprobs_T": logprobs_T}, correction_T=correction_T, **settings)).backward()
        assert logprobs_T.grad is not None
        return logprobs_T.grad

    whole = gradient("gspo", None)
    assert torch.allclose(whole, gradient("gspo_token", None), atol=1e-14)
    assert whole.abs().sum() > 0
    assert not torch.allclose(gradient("gspo", weights_T), gradient("gspo_token", weights_T))


def test_the_unbiased_estimate_has_the_value_and_gradient_of_the_divergence_and_k3_has_not() -> None:
    """The expectation over tokens drawn from the old policy, summed up over a vocabulary of three."""
    logits = t(0.3, -0.2, 0.8).requires_grad_()
    old, reference = t(0.2, 0.5, 0.3), t(0.4, 0.1, 0.5)
    log_p = logits.log_softmax(0)
    estimate = (old * unbiased_kl(log_p - old.log(), reference.log() - log_p)).sum()
    biased = (old * k3(reference.log() - log_p)).sum()
    exact = (log_p.exp() * (log_p - reference.log())).sum()
    gradients = [torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (estimate, biased, exact)]
    assert torch.allclose(estimate, exact)
    assert torch.allclose(gradients[0], gradients[2])
    assert not torch.allclose(gradients[1], gradients[2], atol=0.05)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "change",
    [
        {"logprobs_T": 0.1},
        {"old_logprobs_T": 0.1},
        {"advantages_N": 0.1},
        {"reference_logprobs_T": 0.1},
        {"correction_T": 0.1},
        {"beta": 0.1},
        {"clip_low": 0.4},
        {"clip_high": 0.4},
        {"sequence_T": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_argument_matters(kind: LossKind, change: dict[str, Any]) -> None:
    base = batch(spread=1.0)
    base |= {"correction_T": torch.full((11,), 0.7, dtype=torch.float64), "kind": kind, "beta": 0.04}
    base |= {"clip_low": 0.1, "clip_high": 0.1, "advantages_N": t(1.0, -1.0, -0.5, 0.5), "max_length": LONGEST}
    name, step = next(iter(change.items()))
    if kind == "sapo" and name.startswith("clip_"):
        pytest.skip("it has no clip")
    if name == "sequence_T":
        moved = base | {"sequence_T": base["sequence_T"].roll(1)}
    else:
        moved = base | {name: base[name] + step}
    assert not torch.allclose(total(policy_loss(**base)), total(policy_loss(**moved)), rtol=0, atol=1e-4)


def test_every_name_is_another_loss() -> None:
    data = batch(spread=1.0) | {"advantages_N": t(1.0, -1.0, -0.5, 0.5), "clip_low": 0.1, "clip_high": 0.1}
    values = {kind: float(total(policy_loss(**data, kind=kind, max_length=LONGEST))) for kind in KINDS}
    assert values.pop("gspo_token") == pytest.approx(values["gspo"])  # they differ in what a token's weight does
    assert len({round(value, 6) for value in values.values()}) == len(values)


def test_names_and_rules_are_those_of_the_configuration() -> None:
    assert {*KINDS, "reverse_kl"} == set(get_args(LossKind))


def test_a_response_without_tokens_is_counted_and_costs_nothing() -> None:
    result = policy_loss(t(-1.0), t(-1.0), t(1.0, 5.0), torch.tensor([0]))
    assert result.loss_N.tolist() == [-1.0, 0.0]
    assert result.weight_N.tolist() == [1, 1]


def test_errors_name_what_is_wrong() -> None:
    data = batch()
    with pytest.raises(ValueError, match="vectors of one length"):
        policy_loss(**data | {"old_logprobs_T": t(1.0)})
    with pytest.raises(ValueError, match="divides by the longest length"):
        policy_loss(**data, kind="dr_grpo")
    with pytest.raises(ValueError, match="none of token, sequence, token_mean"):
        policy_loss(**data, kind="dapo")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs the reference"):
        policy_loss(**data | {"reference_logprobs_T": None}, beta=0.1)


# ---- TRL's own _compute_loss, fed with the same log-probabilities

MASK = torch.zeros(4, 5, dtype=torch.long)
for row, length in enumerate([3, 1, 5, 2]):
    MASK[row, :length] = 1


def pad(values_T: torch.Tensor) -> torch.Tensor:
    return torch.zeros(4, 5, dtype=torch.float64).masked_scatter(MASK.bool(), values_T)


def trl_loss(padded: dict[str, torch.Tensor], logprobs_NL: torch.Tensor, **settings: Any) -> tuple[torch.Tensor, Any]:
    grpo_trainer = pytest.importorskip("trl.trainer.grpo_trainer")
    arguments = {"delta": None, "use_bias_correction_kl": False, "steps_per_generation": 1}
    arguments |= {"sapo_temperature_pos": 1.0, "sapo_temperature_neg": 1.05}
    arguments |= {name: settings.pop(name) for name in list(settings) if name in arguments}
    defaults = {"importance_sampling_level": "token", "off_policy_mask_threshold": None}
    self = SimpleNamespace(
        accelerator=SimpleNamespace(gather=lambda x: x, reduce=lambda x, reduction: x, num_processes=1),
        model=SimpleNamespace(training=True),
        args=SimpleNamespace(**arguments),
        current_gradient_accumulation_steps=1,
        top_entropy_quantile=1.0,
        aux_loss_enabled=False,
        use_vllm="importance_sampling_ratio" in padded,
        vllm_importance_sampling_correction=True,
        max_completion_length=LONGEST,
        get_off_policy_mask=grpo_trainer.GRPOTrainer.get_off_policy_mask,
        _entropy_bonus_enabled=False,
        _metrics={"train": defaultdict(list)},
        _get_per_token_logps_and_entropies=lambda *_, **__: (logprobs_NL, torch.zeros_like(logprobs_NL), None),
        **defaults | settings,
    )
    mask = padded["completion_mask"]
    inputs = {"prompt_ids": mask[:, :1], "prompt_mask": mask[:, :1], "completion_ids": mask, **padded}
    inputs["num_items_in_batch"] = mask.sum()
    return grpo_trainer.GRPOTrainer._compute_loss(self, None, inputs), self._metrics["train"]


def trl_batch(data: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {
        "completion_mask": MASK,
        "advantages": data["advantages_N"],
        "old_per_token_logps": pad(data["old_logprobs_T"]),
        "ref_per_token_logps": pad(data["reference_logprobs_T"]),
    }


PEERS: dict[LossKind, dict[str, str]] = {
    "token": {"loss_type": "grpo"},
    "token_mean": {"loss_type": "dapo"},
    "dr_grpo": {"loss_type": "dr_grpo"},
    "gspo": {"loss_type": "grpo", "importance_sampling_level": "sequence"},
    "cispo": {"loss_type": "cispo"},
    "sapo": {"loss_type": "sapo"},
}


@pytest.mark.parametrize("kind", PEERS)
@pytest.mark.parametrize("clip", [(0.2, 0.28), (10.0, 10.0)], ids=["clip 0.2", "clip 10"])
@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.parametrize("corrected", [False, True], ids=["plain", "corrected"])
def test_loss_gradient_and_diagnostics_equal_trl(
    kind: LossKind, clip: tuple[float, float], beta: float, corrected: bool
) -> None:
    low, high = clip
    if kind == "cispo":
        low = 10.0  # TRL has no lower bound, and calls 1 + ε its epsilon_high
    data = batch(seed=3, spread=0.8)
    weights_T = torch.linspace(0.4, 1.6, 11, dtype=torch.float64) if corrected else None
    padded = trl_batch(data) | ({} if weights_T is None else {"importance_sampling_ratio": pad(weights_T)})
    theirs_T = data["logprobs_T"].clone().requires_grad_()
    epsilons = {"epsilon_low": low, "epsilon_high": 1 + high if kind == "cispo" else high}
    theirs, metrics = trl_loss(padded, pad(theirs_T), **PEERS[kind], **epsilons, beta=beta)
    theirs.backward()

    ours_T = data["logprobs_T"].clone().requires_grad_()
    settings: dict[str, Any] = {"kind": kind, "clip_low": low, "clip_high": high, "beta": beta, "max_length": LONGEST}
    ours = policy_loss(**data | {"logprobs_T": ours_T}, correction_T=weights_T, **settings)
    total(ours).backward()

    assert torch.allclose(total(ours), theirs, atol=1e-12)
    assert torch.allclose(ours_T.grad, theirs_T.grad, atol=1e-12)
    tokens = ours.tokens_N.sum()
    if kind in ("token", "token_mean", "dr_grpo"):
        assert math.isclose(ours.clipped_low_N.sum() / tokens, metrics["clip_ratio/low_mean"][0], abs_tol=1e-7)
        assert math.isclose(ours.clipped_high_N.sum() / tokens, metrics["clip_ratio/high_mean"][0], abs_tol=1e-7)
    if beta:
        assert math.isclose(ours.kl_N.sum() / tokens, metrics["kl"][0], abs_tol=1e-9)


@pytest.mark.parametrize("kl_estimate", ["k3", "unbiased"])
@pytest.mark.parametrize("threshold", [None, 0.05])
def test_the_additions_of_deepseek_v32_equal_trl(kl_estimate: KlEstimate, threshold: float | None) -> None:
    data = batch(seed=5, spread=0.8) | {"advantages_N": t(-1.0, 1.0, -0.5, 0.7)}
    rollout_T = data["logprobs_T"] + torch.where(data["sequence_T"] < 2, 0.3, -0.3)
    theirs_T, ours_T = (data["logprobs_T"].clone().requires_grad_() for _ in range(2))
    theirs, _ = trl_loss(
        trl_batch(data) | {"sampling_per_token_logps": pad(rollout_T)},
        pad(theirs_T),
        **PEERS["token"],
        epsilon_low=0.2,
        epsilon_high=0.28,
        beta=0.3,
        use_bias_correction_kl=kl_estimate == "unbiased",
        off_policy_mask_threshold=threshold,
    )
    theirs.backward()
    near_N = torch.ones(4, dtype=torch.bool)
    if threshold is not None:
        near_N = near_policy(ours_T, rollout_T, data["advantages_N"], data["sequence_T"], threshold)
        assert near_N.tolist() == [False, True, True, True]
    settings: dict[str, Any] = {"clip_low": 0.2, "clip_high": 0.28, "beta": 0.3, "kl_estimate": kl_estimate}
    weights_T = near_N[data["sequence_T"]].double()
    ours = policy_loss(**data | {"logprobs_T": ours_T}, correction_T=weights_T, **settings)
    total(ours).backward()
    assert torch.allclose(total(ours), theirs, atol=1e-12)
    assert torch.allclose(ours_T.grad, theirs_T.grad, atol=1e-12)


def test_the_overlong_filter_equals_trl_where_the_mean_is_over_tokens() -> None:
    data, kept_N = batch(seed=4), torch.tensor([True, True, False, True])
    theirs_T, ours_T = (data["logprobs_T"].clone().requires_grad_() for _ in range(2))
    padded = trl_batch(data) | {"completion_mask": MASK * kept_N[:, None]}  # as mask_truncated_completions makes it
    epsilons = {"epsilon_low": 0.2, "epsilon_high": 0.28, "beta": 0.04}
    theirs, _ = trl_loss(padded, pad(theirs_T), loss_type="dapo", **epsilons)
    theirs.backward()
    settings: dict[str, Any] = {"kind": "token_mean", "clip_low": 0.2, "clip_high": 0.28, "beta": 0.04}
    ours = policy_loss(**data | {"logprobs_T": ours_T}, kept_N=kept_N, **settings)
    total(ours).backward()
    assert torch.allclose(total(ours), theirs, atol=1e-12)
    assert torch.allclose(ours_T.grad, theirs_T.grad, atol=1e-12)
