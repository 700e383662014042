"""Corrections of the rollout engine's probabilities: values worked by hand, laws, and TRL's own code on one batch."""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from types import SimpleNamespace
from typing import get_args

import pytest
import torch

from align.objective.corrections import Correction, effective_share, importance_weights, near_policy
from align.objective.kinds import CORRECTIONS, CorrectionKind, CorrectionSetting

LOG2, LOG3 = math.log(2), math.log(3)
SEQUENCE = torch.tensor([0, 0, 1, 1])
OLD = torch.full((4,), -1.0, dtype=torch.float64)
ROLLOUT = OLD - torch.tensor([LOG3, 0.0, -LOG2, LOG2], dtype=torch.float64)  # ratios 3, 1 and 1/2, 2


def found(kind: CorrectionKind, low: float | None = None, high: float | None = None) -> Correction:
    return importance_weights(OLD, ROLLOUT, SEQUENCE, kind, low=low, high=high)


def listed(values: torch.Tensor) -> list[float]:
    return [round(value, 9) for value in values.tolist()]


@pytest.mark.parametrize(
    ("kind", "low", "high", "weights"),
    [
        ("token_cap", None, 2.0, [2, 1, 0.5, 2]),
        ("token_cap", None, 1.5, [1.5, 1, 0.5, 1.5]),
        ("token_mask", 0.6, 2.5, [0, 1, 0, 2]),
        ("sequence_cap", None, 2.0, [2, 2, 1, 1]),
        ("sequence_mask", 0.0, 2.0, [0, 0, 1, 1]),
        ("sequence_mask", 0.0, 3.5, [3, 3, 1, 1]),
        ("geometric_mask", 0.5, 1.7, [0, 0, 1, 1]),  # the square root of 3, and 1
        ("geometric_mask", 0.5, 1.8, [1, 1, 1, 1]),
    ],
)
def test_weights_by_hand(kind: CorrectionKind, low: float | None, high: float, weights: list[float]) -> None:
    correction = found(kind, low, high)
    assert listed(correction.weight_T) == weights
    assert correction.masked_T.tolist() == [weight == 0 for weight in weights]
    if kind == "token_cap":
        assert correction.limited_T.tolist() == [True, False, False, high == 1.5]  # 2 is at the cap of 2, not above it
    if kind == "sequence_cap":
        assert correction.limited_T.tolist() == [True, True, False, False]


def test_weights_have_no_gradient_and_an_unbounded_mask_masks_nothing() -> None:
    old_T = OLD.clone().requires_grad_()
    for kind in CORRECTIONS:
        correction = importance_weights(old_T, ROLLOUT, SEQUENCE, kind, low=0.0, high=math.inf)
        assert not correction.weight_T.requires_grad
        assert not correction.masked_T.any()
        assert not correction.limited_T.any()
        expected = {"token": [3, 1, 0.5, 2], "product": [3, 3, 1, 1], "geometric": [1, 1, 1, 1]}
        assert listed(correction.weight_T) == expected[CORRECTIONS[kind].level]


@pytest.mark.parametrize("kind", CORRECTIONS)
def test_where_engine_and_trainer_agree_nothing_is_changed(kind: CorrectionKind) -> None:
    assert importance_weights(OLD, OLD, SEQUENCE, kind).weight_T.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("kind", CORRECTIONS)
def test_a_response_has_the_same_weights_in_every_batch_and_extremes_stay_finite(kind: CorrectionKind) -> None:
    generator = torch.Generator().manual_seed(0)
    sequence_T = torch.repeat_interleave(torch.arange(3), torch.tensor([4, 1, 3]))
    old_T = -torch.rand(8, generator=generator, dtype=torch.float64)
    rollout_T = old_T + 0.5 * torch.randn(8, generator=generator, dtype=torch.float64)
    rollout_T[5] -= 900.0
    whole_T = importance_weights(old_T, rollout_T, sequence_T, kind).weight_T
    assert torch.isfinite(whole_T).all()
    for member in range(3):
        own_T = sequence_T == member
        alone = importance_weights(old_T[own_T], rollout_T[own_T], torch.zeros_like(sequence_T[own_T]), kind)
        assert torch.equal(alone.weight_T, whole_T[own_T])


def test_only_negative_responses_that_the_policy_has_left_are_masked() -> None:
    logprobs_T = torch.tensor([-2.0, -1.0, -1.0, -1.0, -2.0], dtype=torch.float64)
    rollout_T = torch.tensor([-1.0, -1.0, -2.0, -1.0, -1.0], dtype=torch.float64)
    sequence_T = torch.tensor([0, 0, 1, 2, 2])  # mean distances 0.5, −1 and 0.5

    def kept(advantages: list[float], threshold: float) -> list[bool]:
        return near_policy(logprobs_T, rollout_T, torch.tensor(advantages), sequence_T, threshold).tolist()

    assert kept([-1.0, -1.0, 1.0], 0.4) == [False, True, True]
    assert kept([-1.0, -1.0, -1.0], 0.4) == [False, True, False]
    assert kept([-1.0, -1.0, -1.0], 0.6) == [True, True, True]
    assert kept([0.0, 0.0, 0.0], 0.1) == [True, True, True]


def test_the_effective_share_is_1_of_equal_weights_and_falls_with_their_spread() -> None:
    def share(*weights: float) -> float:
        w = torch.tensor(weights)
        return effective_share(float(w.mean()), float(w.square().mean()))

    assert share(2.0, 2.0, 2.0) == pytest.approx(1)
    assert share(1.0, 0.0, 0.0, 0.0) == pytest.approx(1 / 4)
    assert share(3.0, 1.0) == pytest.approx(16 / 20)
    assert share(0.0, 0.0) == 0


def test_names_are_those_of_the_configuration_and_others_are_refused() -> None:
    assert set(CORRECTIONS) == set(get_args(CorrectionKind)) == set(get_args(CorrectionSetting)) - {"auto", "never"}
    with pytest.raises(ValueError, match="none of token_cap, token_mask"):
        importance_weights(OLD, ROLLOUT, SEQUENCE, "tis")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("token_cap", "token_truncate"),
        ("token_mask", "token_mask"),
        ("sequence_cap", "sequence_truncate"),
        ("sequence_mask", "sequence_mask"),
    ],
)
def test_weights_equal_trl(kind: CorrectionKind, mode: str) -> None:
    """The branch of TRL's trainer, taken out of its source."""
    module = pytest.importorskip("trl.trainer.grpo_trainer")
    source = textwrap.dedent(inspect.getsource(module.GRPOTrainer._generate_and_score_completions))
    (branch,) = [
        node.body
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.If)
        and ast.unparse(node.test) == "self.use_vllm and self.vllm_importance_sampling_correction"
        and "per_token_logps_diff" in "".join(map(ast.unparse, node.body[:2]))
    ]
    lengths = torch.tensor([3, 1, 5, 2])
    sequence_T = torch.repeat_interleave(torch.arange(4), lengths)
    mask = (torch.arange(5) < lengths[:, None]).long()
    generator = torch.Generator().manual_seed(2)
    old_T = -torch.rand(11, generator=generator, dtype=torch.float64)
    rollout_T = old_T + 0.6 * torch.randn(11, generator=generator, dtype=torch.float64)

    def pad(values_T: torch.Tensor) -> torch.Tensor:
        return torch.zeros(4, 5, dtype=torch.float64).masked_scatter(mask.bool(), values_T)

    low, high = (None if kind.endswith("cap") else 0.6), 1.3
    names = {
        "torch": torch,
        "math": math,
        "completion_mask": mask,
        "tool_mask": None,
        "old_per_token_logps": pad(old_T),
        "sampling_per_token_logps": pad(rollout_T),
        "self": SimpleNamespace(
            vllm_importance_sampling_mode=mode,
            vllm_importance_sampling_clip_min=low,
            vllm_importance_sampling_clip_max=high,
        ),
    }
    exec(compile(ast.Module(branch, []), "trl", "exec"), names)
    theirs = names["vllm_importance_sampling_ratio"].expand(4, 5)[mask.bool()]
    ours = importance_weights(old_T, rollout_T, sequence_T, kind, low=low, high=high)
    assert torch.allclose(ours.weight_T, theirs, atol=1e-12)
    acted = ours.limited_T if kind.endswith("cap") else ours.masked_T
    assert 0 < acted.sum() < 11
