"""TRL's GRPOTrainer on a mixture behind a server, whose phase changes in the middle, as on the same mixture at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from live_server import running

from align.bridges.trl import MixedReward
from align.config import AlignConfig
from align.serving import MixerService
from reward_models.runtime.config import load_config
from reward_models.serving.limits import Limits

ROWS = [
    {"prompt": [{"role": "user", "content": f"What is {i} + 2?"}], "kind": kind, "answer": str(i + 2)}
    for i, kind in enumerate(["reasoning", "helpfulness", "safety", "reasoning"] * 2)
]


def rewarded(reward: MixedReward, policy: Path, out: Path) -> list[dict[str, Any]]:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(policy),
        reward_funcs=reward,
        args=GRPOConfig(
            output_dir=str(out),
            per_device_train_batch_size=16,
            num_generations=4,
            max_completion_length=8,
            max_steps=4,
            logging_steps=1,
            use_cpu=True,
            bf16=False,
            report_to="none",
            save_strategy="no",
        ),
        train_dataset=Dataset.from_list(ROWS),
        processing_class=AutoTokenizer.from_pretrained(policy),
    )
    trainer.train()
    return [line for line in trainer.state.log_history if "reward" in line]


def test_trl_trains_on_a_servers_mixture_as_on_ours(policy: Path, models: dict[str, Path], tmp_path: Path) -> None:
    terms = ", ".join(f"{{term: {kind}, arguments: {{model: '{models[kind]}'}}}}" for kind in ("helpful", "safety"))
    settings = (
        *("steps=4", "steps_per_rollout=1", "ref_update_steps=0", "guards=[]"),
        f"rewards=[{{term: 'letters:Letters', weight: 2.0}}, {terms}]",
        "phases=[{until: 2, weights: {helpful: 0, safety: 0}}, {until: 4, weights: {'letters:Letters': 0.5}}]",
    )
    ours = rewarded(MixedReward(None, settings), policy, tmp_path / "ours")
    config = load_config(AlignConfig, None, settings)
    with running({"stage2": lambda metrics: MixerService("stage2", config, Limits(), metrics)}) as live:
        reward = MixedReward(f"http://127.0.0.1:{live.port}", model="stage2")
        served = rewarded(reward, policy, tmp_path / "served")
    assert [line["weight/letters:Letters"] for line in ours] == [2.0, 2.0, 0.5, 0.5]
    assert [line["weight/helpful"] for line in ours] == [0.0, 0.0, 1.0, 1.0]
    assert any(line.get("weighted/helpful") for line in served[2:])
    assert not any(line.get("weighted/helpful") for line in served[:2])
    for a, b in zip(ours, served, strict=True):
        for name in ("reward", "reward_std", "term/letters", "weighted/letters", "weighted/helpful", "grad_norm"):
            assert b.get(name) == pytest.approx(a.get(name), abs=1e-5), name
