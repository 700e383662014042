"""Advantages: values worked by hand, laws, and TRL's formula."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from align.objective.advantages import group_advantages
from align.objective.kinds import AdvantageKind

KINDS: list[AdvantageKind] = ["group", "mean", "leave_one_out", "batch"]
NAN = float("nan")
groups = st.lists(st.lists(st.floats(-5, 5), min_size=4, max_size=4), min_size=1, max_size=5)


def as_tensor(group: Sequence[float | None]) -> torch.Tensor:
    """Rewards of one group, shape ``[1, G]``; ``None`` becomes nan."""
    return torch.tensor([[NAN if reward is None else reward for reward in group]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # mean 1, deviations −1, 0, 1, 0 → unbiased variance 2/3
        ("group", [-1 / math.sqrt(2 / 3), 0.0, 1 / math.sqrt(2 / 3), 0.0]),
        ("batch", [-1 / math.sqrt(2 / 3), 0.0, 1 / math.sqrt(2 / 3), 0.0]),  # of one group it is the same
        ("mean", [-1.0, 0.0, 1.0, 0.0]),
        # against the mean of the other three: 0 − 4/3, 1 − 1, 2 − 2/3, 1 − 1
        ("leave_one_out", [-4 / 3, 0.0, 4 / 3, 0.0]),
    ],
)
def test_values_by_hand(kind: AdvantageKind, expected: list[float]) -> None:
    result = group_advantages(torch.tensor([[0.0, 1.0, 2.0, 1.0]], dtype=torch.float64), kind, epsilon=0.0)
    assert torch.allclose(result.advantages_PG[0], torch.tensor(expected, dtype=torch.float64))
    assert result.signal_P.tolist() == [True]
    assert result.unscorable == 0


@pytest.mark.parametrize("kind", KINDS)
def test_unscorable_samples_are_left_out_counted_and_have_advantage_zero(kind: AdvantageKind) -> None:
    with_gap = group_advantages(as_tensor([0.0, None, 2.0, 1.0]), kind)
    without = group_advantages(as_tensor([0.0, 2.0, 1.0]), kind)
    assert with_gap.advantages_PG[0, [0, 2, 3]].tolist() == without.advantages_PG[0].tolist()
    assert with_gap.advantages_PG[0, 1] == 0
    assert with_gap.unscorable == 1
    as_zero = group_advantages(as_tensor([0.0, 0.0, 2.0, 1.0]), kind)
    assert not torch.allclose(with_gap.advantages_PG, as_zero.advantages_PG)  # None is not 0.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "rewards", [[1.0, 1.0, 1.0], [0.1 + 0.2, 0.3, 0.3], [None, 2.0, None], [None, None, None]], ids=str
)
def test_a_group_without_signal_moves_nothing(kind: AdvantageKind, rewards: list[float | None]) -> None:
    result = group_advantages(as_tensor(rewards), kind)
    assert result.advantages_PG.tolist() == [[0.0, 0.0, 0.0]]
    assert result.signal_P.tolist() == [False]


@pytest.mark.parametrize("kind", KINDS)
@given(rewards=groups, shift=st.floats(-3, 3))
@settings(max_examples=40, deadline=None)
def test_sum_to_zero_and_do_not_see_a_shift(kind: AdvantageKind, rewards: list[list[float]], shift: float) -> None:
    rewards_PG = torch.tensor(rewards, dtype=torch.float64)
    first = group_advantages(rewards_PG, kind, tolerance=1e-3)
    assert first.advantages_PG.sum(dim=1).abs().max() < 1e-9
    shifted = group_advantages(rewards_PG + shift, kind, tolerance=1e-3)
    same_signal = first.signal_P == shifted.signal_P  # a spread of exactly the tolerance may round either way
    assert torch.allclose(first.advantages_PG[same_signal], shifted.advantages_PG[same_signal], atol=1e-9)


def test_only_the_standard_deviation_removes_the_scale() -> None:
    rewards_PG = torch.tensor([[0.0, 1.0, 1.0, 3.0]], dtype=torch.float64)
    for kind in KINDS:
        once, thrice = (group_advantages(s * rewards_PG, kind, epsilon=0.0).advantages_PG for s in (1, 3))
        assert torch.allclose(thrice, once if kind in ("group", "batch") else 3 * once)


def test_group_and_mean_equal_trl() -> None:
    trl_utils = pytest.importorskip("trl.trainer.utils")
    rewards_PG = torch.randn(6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rewards_PG[2, 3] = rewards_PG[4, :5] = NAN
    # the lines of GRPOTrainer._generate_and_score_completions, on TRL's own nanstd
    centred = rewards_PG - rewards_PG.nanmean(dim=1, keepdim=True)
    scaled = centred / (trl_utils.nanstd(rewards_PG, dim=1, keepdim=True) + 1e-4)
    ours = [group_advantages(rewards_PG, kind).advantages_PG for kind in ("group", "mean")]
    for mine, theirs in zip(ours, (scaled, centred), strict=True):
        assert torch.allclose(mine, theirs.nan_to_num(0.0), atol=1e-12)


def test_the_std_of_the_batch_equals_trl() -> None:
    trl_utils = pytest.importorskip("trl.trainer.utils")
    rewards_PG = torch.randn(6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rewards_PG += torch.arange(6)[:, None]  # prompts differ in difficulty, which the std of the batch includes
    rewards_PG[2, 3] = rewards_PG[4, :5] = NAN
    centred = rewards_PG - rewards_PG.nanmean(dim=1, keepdim=True)
    theirs = (centred / (trl_utils.nanstd(rewards_PG.flatten()) + 1e-4)).nan_to_num(0.0)
    assert torch.allclose(group_advantages(rewards_PG, "batch").advantages_PG, theirs, atol=1e-12)
    alone = group_advantages(torch.full((1, 2), NAN, dtype=torch.float64), "batch")
    assert alone.advantages_PG.tolist() == [[0.0, 0.0]]


def test_every_argument_matters() -> None:
    rewards_PG = torch.tensor([[0.0, 1.0, 1.0, 3.0]], dtype=torch.float64)
    base = group_advantages(rewards_PG).advantages_PG
    for changed in (
        group_advantages(rewards_PG + torch.eye(4, dtype=torch.float64)[:1]),
        group_advantages(rewards_PG, "mean"),
        group_advantages(rewards_PG, epsilon=0.5),
        group_advantages(rewards_PG, tolerance=5.0),
    ):
        assert not torch.allclose(changed.advantages_PG, base)


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="none of group, mean"):
        group_advantages(torch.zeros(1, 2), "std")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\[prompts, samples\]"):
        group_advantages(torch.zeros(2))
