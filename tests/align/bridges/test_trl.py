"""Mixed rewards inside TRL's own GRPOTrainer, and what the bridge makes of missing values."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from align.bridges.trl import MixedReward, filled
from align.scorer import RewardFailure

SETTINGS = (
    "steps=4",
    "steps_per_rollout=1",
    "ref_update_steps=0",
    "rewards=[{term: 'letters:Letters', weight: 2.0}, {term: accuracy}, {term: format, weight: 0.5}]",
    "phases=[{until: 2}, {until: 4, weights: {'letters:Letters': 1.0}}]",
)
RIGHT = "<think>abc</think><answer>3</answer>"


def test_a_missing_reward_becomes_the_mean_of_its_group() -> None:
    assert filled([1.0, None, 3.0, None, None, 5.0], list("aaabbc")) == [1.0, 2.0, 3.0, None, None, 5.0]


@pytest.mark.parametrize("conversational", [False, True])
def test_rewards_follow_the_trainers_step_and_are_logged(conversational: bool) -> None:
    reward = pickle.loads(pickle.dumps(MixedReward(None, SETTINGS)))
    metrics: dict[str, float] = {}
    extra: dict[str, list[Any]] = {}
    prompt: Any = [{"role": "user", "content": "1 + 2?"}] if conversational else "1 + 2?"
    texts = [RIGHT, "zzz"]
    completions: Any = [[{"role": "assistant", "content": t}] for t in texts] if conversational else texts
    share = sum("a" <= c <= "m" for c in RIGHT) / len(RIGHT)
    for step, weight in ((0, 2.0), (2, 1.0), (99, 1.0)):
        values = reward(
            prompts=[prompt, prompt],
            completions=completions,
            completion_ids=[[1, 2], [3]],
            answer=["3", "3"],
            trainer_state=SimpleNamespace(global_step=step),
            log_metric=metrics.__setitem__,
            log_extra=extra.__setitem__,
        )
        assert values == pytest.approx([weight * share + 1 + 0.5, 0.0])
        assert metrics["weight/letters:Letters"] == weight
    assert metrics["term/accuracy_math"] == 0.5
    assert extra["raw format"] == [1.0, 0.0]
    assert extra["weighted format"] == [0.5, 0.0]


def test_a_term_that_fails_stops_the_trainer() -> None:
    reward = MixedReward(None, ["rewards=[{term: 'letters:Raises'}]"])
    with pytest.raises(RewardFailure, match="failed on 1 of 1"):
        reward(prompts=["a"], completions=["b"])


def test_trl_trains_with_it(policy: Path, tmp_path: Path) -> None:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    rows = [{"prompt": [{"role": "user", "content": f"What is {i} + 2?"}], "answer": str(i + 2)} for i in range(8)]
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(policy),
        reward_funcs=MixedReward(None, SETTINGS),
        args=GRPOConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=8,
            num_generations=4,
            max_completion_length=8,
            max_steps=4,
            logging_steps=1,
            use_cpu=True,
            bf16=False,
            report_to="none",
            save_strategy="no",
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(policy),
    )
    trainer.train()
    lines = [line for line in trainer.state.log_history if "reward" in line]
    assert [line["weight/letters:Letters"] for line in lines] == [2.0, 2.0, 1.0, 1.0]
    for line in lines:
        assert line["reward"] == pytest.approx(line["weighted/letters"] + line["weighted/format"], abs=1e-5)
