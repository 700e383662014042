"""The learning rate of a step, its advantages and its denominator."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import get_scheduler

from align.config import AlignConfig
from align.objective.advantages import group_advantages
from align.objective.config import LossConfig
from align.training.rollout import Rollout, new_rollout
from align.training.update import _denominator, set_learning_rate, with_step_advantages


def test_the_rate_is_the_schedules_share_times_the_phases_peak_in_every_step() -> None:
    weights = [torch.nn.Parameter(torch.zeros(2, 2)), torch.nn.Parameter(torch.zeros(2))]
    optimizer = torch.optim.AdamW([{"params": [w]} for w in weights], lr=4e-3)
    scheduler = get_scheduler("linear", optimizer, 2, 10)
    engine = SimpleNamespace(basic_optimizer=optimizer, lr_scheduler=scheduler)
    peaks = [4e-3] * 5 + [1e-3] * 5  # the second phase begins with step 5
    shares = [0.0, 0.5, *(1 - n / 8 for n in range(8))]  # two steps of warmup, then down to 0
    for peak, share in zip(peaks, shares, strict=True):
        rate = set_learning_rate(engine, 4e-3, peak)
        assert rate == pytest.approx(share * peak)
        assert {group["lr"] for group in optimizer.param_groups} == {rate}
        optimizer.step()
        scheduler.step()


def rollout() -> Rollout:
    """Three prompts with two responses each, of 1 to 6 tokens; the third and the last were cut."""
    lengths = np.arange(1, 7)
    finished = np.array([True, True, False, True, True, False])
    prompts = [np.zeros(2, np.int32)] * 3
    made = new_rollout(prompts, 2, np.zeros(lengths.sum()), np.zeros(lengths.sum()), lengths, finished)
    rewards_N = np.array([0.0, 1.0, 5.0, 9.0, 2.0, 2.5])
    return made.with_advantages(rewards_N, group_advantages(torch.from_numpy(rewards_N).view(3, 2)).advantages_PG)


def test_the_std_of_the_batch_is_that_of_the_step_and_not_of_the_rollout() -> None:
    made = rollout()
    assert with_step_advantages(made, AlignConfig()) is made
    config = AlignConfig(loss=LossConfig(advantages="batch"))
    found = with_step_advantages(made.select([0, 2]), config).advantages_PG
    assert found is not None
    step = torch.tensor([[0.0, 1.0], [2.0, 2.5]], dtype=torch.float64)
    assert torch.allclose(found, (step - step.mean(1, keepdim=True)) / (step.std() + 1e-4))


@pytest.mark.parametrize(
    ("kind", "whole", "filtered"), [("token", 4, 3), ("dr_grpo", 4, 3), ("token_mean", 14, 8), ("cispo", 14, 8)]
)
def test_the_overlong_filter_takes_cut_responses_out_of_the_denominator(kind: str, whole: int, filtered: int) -> None:
    def denominator(prompts: list[int], overlong_filter: bool) -> float:
        loss = LossConfig(kind=kind, overlong_filter=overlong_filter)  # type: ignore[arg-type]
        return _denominator(rollout(), prompts, AlignConfig(loss=loss))

    assert denominator([0, 2], False) == whole
    assert denominator([0, 2], True) == filtered
