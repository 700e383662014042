"""The learning rate of a step, and where the loss corrects the rollout engine's probabilities."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import get_scheduler

from align.config import AlignConfig, LossConfig
from align.rollouts.config import RolloutConfig
from align.training.batches import plan_micro_batches
from align.training.rollout import new_rollout
from align.training.update import _layout, set_learning_rate
from reward_models.runtime.config import ConfigError, load_config
from reward_models.runtime.distributed import start


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


def test_importance_is_corrected_where_another_program_samples() -> None:
    def corrects(engine: str, correction: str) -> bool:
        loss, rollout = LossConfig(correction=correction), RolloutConfig(engine=engine)  # type: ignore[arg-type]
        return AlignConfig(loss=loss, rollout=rollout).corrects_importance

    assert [corrects("vllm", each) for each in ("auto", "always", "never")] == [True, True, False]
    assert [corrects("local", each) for each in ("auto", "always", "never")] == [False, True, False]


def test_micro_batches_of_a_teacher_that_pads_keep_the_budget() -> None:
    tokens = np.arange(8)
    four = np.full(4, 2)
    rollout = new_rollout([np.arange(10, dtype=np.int32)], 4, tokens, np.zeros(8), four, np.ones(4, bool))

    def planned(policy: str, teacher: str | None) -> list[int]:
        """Tokens that the teacher, or the policy alone, computes in each micro-batch, padding included."""
        learner = SimpleNamespace(layout=teacher) if teacher is not None else None
        run: Any = SimpleNamespace(policy=SimpleNamespace(layout=policy), teacher=learner)
        trees = [rollout.trees(each) for each in plan_micro_batches(rollout, [0], _layout(run), 20, start())]
        rows = [[(len(tree.prompt), [len(b) for b in tree.branches]) for tree in batch] for batch in trees]
        if (teacher or policy) == "tree":
            return [sum(prompt + sum(branches) for prompt, branches in batch) for batch in rows]
        return [sum(len(branches) * (prompt + max(branches)) for prompt, branches in batch) for batch in rows]

    assert planned("tree", None) == planned("tree", "tree") == [18]
    assert planned("tree", "padded") == planned("padded", None) == [12, 12, 12, 12]  # one tree would be 48 for it
    assert planned("padded", "tree") == [12, 12, 12, 12]


@pytest.mark.parametrize("word", ["prompts.limit=0", "prompts.max_bad=-1", "prompts.max_length=0"])
def test_numbers_of_prompts_below_the_least_are_refused(word: str) -> None:
    with pytest.raises(ConfigError, match=f"{word} must be at least"):
        load_config(AlignConfig, None, [word])
