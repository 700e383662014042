"""The bridge to verl, called as verl 0.9.1 calls it. It is not installed here; ``benchmarks/neighbours.py`` runs it."""

from __future__ import annotations

import asyncio
import inspect
import sys
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from stand_in_rewards import keel, serving

from align.bridges import verl as bridge
from align.bridges.rewarder import CONFIG
from reward_models.runtime.config import ConfigError

RIGHT, WRONG = "<think>abc</think><answer>3</answer>", "<think>abc</think><answer>4</answer>"
TRUTH = {"ground_truth": "3"}


async def call_with_kwargs_async(raw_fn: Any, extra_kwargs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
    """``_call_with_kwargs_async`` of trainer/ppo/reward.py."""
    return await raw_fn(*args, **{**kwargs, **extra_kwargs})


class Characters:
    eos_token_id = 10

    def encode(self, text: str) -> list[int]:
        return [*(ord(c) for c in text), self.eos_token_id]

    def decode(self, ids: torch.Tensor, skip_special_tokens: bool) -> str:
        return "".join(chr(i) for i in ids.tolist() if i != self.eos_token_id or not skip_special_tokens)


def sequences(*texts: str, **columns: Any) -> Any:
    """A ``DataProto`` of a trajectory's sequences, padded on the right as the agent loop's ``_compute_score`` does it.

    Every prompt has one token for each character of its response.
    """
    rows = [Characters().encode(text) for text in texts]
    longest = max(len(ids) for ids in rows)
    items = []
    for ids in rows:
        batch = {
            "responses": torch.tensor(ids + [0] * (longest - len(ids))),
            "attention_mask": torch.tensor([1] * (2 * len(ids)) + [0] * (2 * (longest - len(ids)))),
        }
        items.append(SimpleNamespace(batch=batch, non_tensor_batch=columns | {"response_len": len(ids)}))
    return items


async def managed(data: Any) -> Any:
    return await bridge.RewardManager(SimpleNamespace(), Characters(), None, None, None).run_single(data)


def test_compute_score(rules: Path) -> None:
    function = partial(call_with_kwargs_async, bridge.compute_score, {})
    assert inspect.iscoroutinefunction(function)

    async def run_all() -> list[Any]:
        rows = [(RIGHT, "3"), (WRONG, "3"), ("zzz", "3")]
        calls = [
            function(data_source="gsm8k", solution_str=text, ground_truth=truth, extra_info={"num_turns": None})
            for text, truth in rows
        ]
        return await asyncio.gather(*calls)

    results = asyncio.run(run_all())
    assert [result["score"] for result in results] == [1.5, 0.5, 0.0]
    keys = list(results[0])
    table = {key: np.array([info[key] for info in results]) for key in keys}  # as compute_rm_score gathers them
    assert table["weighted/format"].tolist() == [0.5, 0.5, 0.0]


def test_the_manager_knows_the_conversation(rules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = asyncio.run(managed(sequences(RIGHT, data_source="x", reward_model=TRUTH, extra_info={})))
    assert found["reward_score"] == 1.5
    assert found["reward_extra_info"]["score"] == 1.5
    stand_in = keel(lambda c: {"raw": 8.0, "calibrated": float(len(c))})
    with serving(stand_in) as urls:
        monkeypatch.setenv(CONFIG, urls[0])
        raw = np.array([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi."}], dtype=object)
        found = asyncio.run(managed(sequences("Hello.", reward_model={"ground_truth": ""}, raw_prompt=raw)))
    assert found["reward_score"] == 3.0
    assert stand_in.requests[-1][1]["conversations"][0] == [*raw, {"role": "assistant", "content": "Hello."}]


def test_of_several_sequences_the_last_is_scored_at_its_own_length(rules: Path) -> None:
    longer = RIGHT + " and much more text than in the other"
    assert asyncio.run(managed(sequences(longer, WRONG, reward_model=TRUTH)))["reward_score"] == 0.5
    assert asyncio.run(managed(sequences(WRONG, longer, reward_model=TRUTH)))["reward_score"] == 1.0
    (alone,) = sequences(RIGHT, reward_model=TRUTH)
    del alone.non_tensor_batch["response_len"]  # the reward loop's other callers do not tell it
    assert asyncio.run(managed([alone]))["reward_score"] == 1.5


def test_scores_are_assembled_by_verl(monkeypatch: pytest.MonkeyPatch) -> None:
    class RewardManagerBase:
        @classmethod
        def assemble_rm_scores(cls, data: Any, scores: list[float]) -> tuple[Any, list[float]]:
            return data, scores

    base: Any = ModuleType("verl.experimental.reward_loop.reward_manager.base")
    base.RewardManagerBase = RewardManagerBase
    monkeypatch.setitem(sys.modules, base.__name__, base)
    assert bridge.RewardManager.assemble_rm_scores("data", [1.0, 2.0]) == ("data", [1.0, 2.0])


# --- settings that verl does not read --------------------------------------------------------------------------------


class NaiveRewardManager:
    """verl's own."""


@pytest.fixture
def verl(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the bridge calls of ``verl.trainer.ppo.reward`` and ``main_ppo``; ``ran`` are the configurations run."""
    reward: Any = ModuleType("verl.trainer.ppo.reward")
    trainer: Any = ModuleType("verl.trainer.main_ppo")
    trainer.ran = []

    def resolve_reward_manager_cls(config: dict[str, Any]) -> type:
        manager = config["reward"]["reward_manager"]
        return bridge.RewardManager if manager["source"] == "importlib" else NaiveRewardManager

    def get_custom_reward_fn(config: dict[str, Any]) -> Any:
        path = config["reward"]["custom_reward_function"]["path"]
        return partial(call_with_kwargs_async, bridge.compute_score, {}) if path else None

    def main() -> None:
        """``main_ppo.main``: composes the options and gives them to ``run_ppo``, which it finds in its module."""
        options = dict(option.split("=", 1) for option in sys.argv[1:])
        trainer.run_ppo(composed(options), task_runner_class=None)

    def run_ppo(config: Any, task_runner_class: Any) -> None:
        trainer.ran.append(config)

    reward.resolve_reward_manager_cls, reward.get_custom_reward_fn = resolve_reward_manager_cls, get_custom_reward_fn
    trainer.main, trainer.run_ppo = main, run_ppo
    monkeypatch.setitem(sys.modules, reward.__name__, reward)
    monkeypatch.setitem(sys.modules, trainer.__name__, trainer)
    monkeypatch.setattr(sys, "argv", ["main_ppo"])
    return trainer


def composed(options: dict[str, str]) -> dict[str, Any]:
    """verl's default configuration with these options: the keys of both versions exist."""
    return {
        "data": {"return_raw_chat": options.get("data.return_raw_chat", "False")},
        "custom_reward_function": {"path": options.get("custom_reward_function.path")},
        "reward_model": {"reward_loop_source": options.get("reward_model.reward_loop_source")},
        "reward": {
            "custom_reward_function": {"path": options.get("reward.custom_reward_function.path")},
            "reward_manager": {"source": options.get("reward.reward_manager.source", "register")},
        },
    }


def test_the_launcher_names_the_manager(rules: Path, verl: Any) -> None:
    bridge.main(["data.train_files=x"])
    (config,) = verl.ran
    assert config["reward"]["reward_manager"]["source"] == "importlib"
    assert config["data"]["return_raw_chat"] == "True"


def test_the_launcher_leaves_what_is_said_and_takes_the_function(rules: Path, verl: Any) -> None:
    bridge.main(["reward.custom_reward_function.path=pkg://align.bridges.verl", "data.return_raw_chat=False"])
    (config,) = verl.ran
    assert config["reward"]["reward_manager"]["source"] == "register"
    assert config["data"]["return_raw_chat"] == "False"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["reward.reward_manager.source=register"], "come from verl's .*NaiveRewardManager"),
        (["custom_reward_function.path=x"], "does not read custom_reward_function.path any more"),
        (["reward_model.reward_loop_source=importlib"], "does not read reward_model.reward_loop_source any more"),
    ],
)
def test_rewards_that_would_come_from_elsewhere_stop_before_the_training(
    rules: Path, verl: Any, options: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        bridge.main(options)
    assert not verl.ran


def test_a_wrong_configuration_of_rewards_stops_before_verl_starts(
    verl: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(CONFIG, str(tmp_path / "missing.yaml"))
    with pytest.raises(ConfigError, match=r"missing\.yaml"):
        bridge.main([])
    assert not verl.ran
