"""The learning rate of a step, and where the loss corrects the rollout engine's probabilities."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers import get_scheduler

from align.training.update import set_learning_rate


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
