"""Mixed rewards inside TRL's own GRPOTrainer, and what the bridge makes of missing values."""

from __future__ import annotations

import asyncio
import importlib
import logging
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from live_server import running
from stand_in_rewards import keel, serving
from trl.trainer.utils import get_callable_name

from align.bridges.conversion import filled
from align.bridges.service import MixerService
from align.bridges.trl import MixedReward, TermReward
from align.config import AlignConfig
from align.rewards.scoring import RewardFailure
from align.rewards.terms import TermError
from reward_models.runtime.config import load_config
from reward_models.serving.limits import Limits

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
    assert filled([1.0, None, 3.0, None, None, 5.0], list("abcabc")) == [1.0, None, 3.0, 1.0, None, 5.0]


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


def test_terms_that_compare_a_group_need_whole_groups() -> None:
    mixture, texts = ["rewards=[{term: length_in_group}]"], ["x" * 10, "x" * 30, "yy", "yyyyyy"]
    for reward in (MixedReward(None, mixture, group_size=2), TermReward("length_in_group", group_size=2)):
        assert reward(["a", "a", "b", "b"], texts) == pytest.approx([0.0, -0.5, 0.0, -0.5])
        assert reward(["a", "a", "a", "a"], texts) == pytest.approx([0.0, -0.5, 0.0, -0.5])  # a prompt drawn twice
        assert reward(["a", "b", "a", "b"], [texts[0], texts[2], texts[1], texts[3]]) == [0.0, 0.0, -0.5, -0.5]
    for reward in (MixedReward(None, mixture), MixedReward(None, mixture, group_size=3)):
        with pytest.raises(TermError, match="or has divided them among processes"):
            reward(["a", "a", "b", "b"], texts)


def test_a_term_that_fails_stops_the_trainer() -> None:
    reward = MixedReward(None, ["rewards=[{term: 'letters:Raises'}]"])
    with pytest.raises(RewardFailure, match="failed on 1 of 1"):
        reward(prompts=["a"], completions=["b"])


def scored(conversation: list[dict[str, str]]) -> dict[str, Any]:
    """A mixer's result: twice the length, less one."""
    length = float(len(conversation[-1]["content"]))
    return {"raw": 2 * length - 1, "terms": {"long": {"raw": length, "weighted": 2 * length}}}


def test_a_mixer_on_a_server_is_told_all_it_needs_and_logged_like_a_local_one() -> None:
    stand_in = keel(scored, "stage2", "mixer")
    with serving(stand_in) as urls:
        reward = pickle.loads(pickle.dumps(MixedReward(",".join(urls), model="stage2")))
        metrics: dict[str, float] = {}
        extra: dict[str, list[Any]] = {}
        values = reward(
            prompts=["1 + 2?", "1 + 2?"],
            completions=["a", "bcd"],
            answer=["3", "3"],
            difficulty=[1, 2],
            trainer_state=SimpleNamespace(global_step=7),
            log_metric=metrics.__setitem__,
            log_extra=extra.__setitem__,
        )
    assert values == [1.0, 5.0]
    body = stand_in.requests[-1][1]
    assert (body["step"], body["domains"]) == (7, ["reasoning", "reasoning"])
    facts = {"think_prefilled": [False] * 2, "finished": [True] * 2, "tokens": [None] * 2}
    assert body["columns"] == {"difficulty": [1, 2], "answer": ["3", "3"], "language": [None] * 2, **facts}
    assert metrics == {"term/long": 2.0, "weighted/long": 4.0, "unscorable": 0.0}
    assert extra == {"raw long": [1.0, 3.0], "weighted long": [2.0, 6.0]}


def test_a_mixer_that_fails_stops_the_trainer_and_what_json_cannot_hold_is_named() -> None:
    with serving(keel(lambda conversation: {"error": "broken"}, "stage2", "mixer")) as urls:
        reward = MixedReward(urls[0])
        with pytest.raises(RewardFailure, match="stage2 failed on 1 of 1"):
            reward(prompts=["a"], completions=["b"])
        with pytest.raises(ValueError, match="column 'image' cannot be sent"):
            reward(prompts=["a"], completions=["b"], image=[object()])


def test_a_server_whose_terms_could_not_tell_is_no_failure() -> None:
    unscorable = {"error": "no score from accuracy_math", "terms": {"accuracy_math": {"raw": None, "weighted": None}}}
    with serving(keel(lambda c: unscorable if c[-1]["content"] == "b" else scored(c), "stage2", "mixer")) as urls:
        metrics: dict[str, float] = {}
        reward = MixedReward(urls[0])
        values = reward(prompts=["a"] * 3, completions=["aa", "b", "aa"], log_metric=metrics.__setitem__)
    assert values == [3.0, 3.0, 3.0]
    assert metrics["unscorable"] == 1.0


def test_single_terms_leave_out_what_they_do_not_apply_to_and_fill_in_what_they_cannot_tell() -> None:
    reward = pickle.loads(pickle.dumps(TermReward("accuracy_math")))
    assert get_callable_name(reward) == "accuracy_math"
    values = reward(
        prompts=["a", "a", "b", "b"],
        completions=[RIGHT, "<answer>4</answer>", RIGHT, RIGHT],
        answer=["3", "3", None, None],
        trainer_state=SimpleNamespace(global_step=0),
    )
    assert values == [1.0, 0.0, None, None]
    broken = TermReward("letters:Broken", max_failures=1.0)
    assert broken(prompts=["a"] * 3, completions=["bbb", "c", "ddd"]) == [0.5, 0.5, 0.5]
    with pytest.raises(RewardFailure):
        TermReward("letters:Raises")(prompts=["a"], completions=["b"])


def test_the_asynchronous_worker_scores_a_group_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """``AsyncRolloutWorker`` pickles its functions and calls them as its source does: here that source is what runs."""
    module: Any = importlib.import_module("trl.experimental.async_grpo.async_rollout_worker")
    monkeypatch.setattr(module, "logger", logging.getLogger("trl"))  # accelerate's wants a whole trainer
    functions = pickle.loads(pickle.dumps([MixedReward(None, SETTINGS), TermReward("format")]))
    worker = SimpleNamespace(
        reward_funcs=functions,
        reward_func_names=[get_callable_name(f) for f in functions],
        _env_reward_types=[],
        _provides_rollout_reward=False,
    )
    sequence = SimpleNamespace(input_ids=[1], completion_mask=[1], old_log_probs=[0.0])
    group = SimpleNamespace(
        prompts=["1 + 2?"] * 2,
        completions=[RIGHT, "zzz"],
        completions_ids=[[1, 2], [3]],
        completions_sequences=[[sequence], [sequence]],
        model_version=0,
        group_id=0,
        reward_kwargs={"answer": ["3", "3"]},
        tool_call_counts=[0, 0],
        tool_failure_counts=[0, 0],
    )
    samples: Any = asyncio.run(module._AsyncRolloutLoop._score_group(worker, group))
    mixed = [each.metrics["rewards/mixed_reward"] for each in samples]
    assert mixed == MixedReward(None, SETTINGS)(prompts=group.prompts, completions=group.completions, answer=["3", "3"])
    assert [each.metrics["rewards/format"] for each in samples] == [1.0, 0.0]
    assert [each.advantage for each in samples] == pytest.approx([1.0, -1.0], abs=1e-6)


ROWS = [{"prompt": [{"role": "user", "content": f"What is {i} + 2?"}], "answer": str(i + 2)} for i in range(8)]


def trained(name: str, rewards: Any, policy: Path, out: Path, rows: list[dict[str, Any]], **options: Any) -> list[Any]:
    """The lines that one of TRL's trainers logs of its steps."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    module = importlib.import_module("trl.experimental.online_dpo" if name == "OnlineDPO" else "trl")
    if name == "OnlineDPO":
        options |= {"max_new_tokens": 8}
    else:
        options |= {"num_generations": 4, "max_completion_length": 8}
    trainer = getattr(module, f"{name}Trainer")(
        model=AutoModelForCausalLM.from_pretrained(policy),
        reward_funcs=rewards,
        args=getattr(module, f"{name}Config")(
            output_dir=str(out),
            logging_steps=1,
            use_cpu=True,
            bf16=False,
            report_to="none",
            save_strategy="no",
            **options,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(policy),
    )
    trainer.train()
    return [line for line in trainer.state.log_history if any("reward" in key for key in line)]


def test_trl_trains_with_it(policy: Path, tmp_path: Path) -> None:
    reward = MixedReward(None, SETTINGS)
    lines = trained("GRPO", reward, policy, tmp_path, ROWS, max_steps=4, per_device_train_batch_size=8)
    assert [line["weight/letters:Letters"] for line in lines] == [2.0, 2.0, 1.0, 1.0]
    for line in lines:
        assert line["reward"] == pytest.approx(line["weighted/letters"] + line["weighted/format"], abs=1e-5)


@pytest.mark.parametrize("name", ["RLOO", "OnlineDPO"])
def test_the_other_trainers_train_with_it(policy: Path, tmp_path: Path, name: str) -> None:
    seen: list[list[float | None]] = []

    class Seen(TermReward):
        def __call__(self, *arguments: Any, **columns: Any) -> list[float | None]:
            seen.append(super().__call__(*arguments, **columns))
            return seen[-1]

    rewards = [MixedReward(None, SETTINGS), Seen("letters:Letters")]
    assert trained(name, rewards, policy, tmp_path, ROWS, max_steps=2, per_device_train_batch_size=4)
    assert len(seen) == 2
    assert all(0 <= value <= 1 for values in seen for value in values if value is not None)


def test_trl_trains_on_a_servers_mixture_as_on_ours(policy: Path, models: dict[str, Path], tmp_path: Path) -> None:
    domains = ["reasoning", "helpfulness", "safety", "reasoning"] * 2
    rows = [{**row, "domain": domain} for row, domain in zip(ROWS, domains, strict=True)]
    terms = ", ".join(f"{{term: {name}, arguments: {{model: '{models[name]}'}}}}" for name in ("helpful", "safety"))
    settings = (
        *("steps=4", "steps_per_rollout=1", "ref_update_steps=0", "guards=[]"),
        f"rewards=[{{term: 'letters:Letters', weight: 2.0}}, {terms}]",
        "phases=[{until: 2, weights: {helpful: 0, safety: 0}}, {until: 4, weights: {'letters:Letters': 0.5}}]",
    )
    options = {"max_steps": 4, "per_device_train_batch_size": 16}
    ours = trained("GRPO", MixedReward(None, settings), policy, tmp_path / "ours", rows, **options)
    config = load_config(AlignConfig, None, settings)
    with running({"stage2": lambda metrics: MixerService("stage2", config, Limits(), metrics)}) as live:
        reward = MixedReward(f"http://127.0.0.1:{live.port}", model="stage2")
        served = trained("GRPO", reward, policy, tmp_path / "served", rows, **options)
    assert [line["weight/letters:Letters"] for line in ours] == [2.0, 2.0, 0.5, 0.5]
    assert [line["weight/helpful"] for line in ours] == [0.0, 0.0, 1.0, 1.0]
    assert any(line.get("weighted/helpful") for line in served[2:])
    assert not any(line.get("weighted/helpful") for line in served[:2])
    for a, b in zip(ours, served, strict=True):
        for name in ("reward", "reward_std", "term/letters", "weighted/letters", "weighted/helpful", "grad_norm"):
            assert b.get(name) == pytest.approx(a.get(name), abs=1e-5), name


def test_a_verifier_that_no_entry_judges_is_an_error() -> None:
    said = [[{"role": "assistant", "content": "B"}]]
    rows = {"prompts": [[{"role": "user", "content": "Which?"}]], "answer": ["B"], "verifier": ["choice"]}
    rows |= {"completions": said, "completion_ids": [[1]]}
    for entry in ("accuracy", "accuracy_math"):  # with an entry for one verifier alone, too
        with pytest.raises(TermError, match=r"verifier choice, and the entries judge math here: .*accuracy_choice"):
            MixedReward(None, [f"rewards=[{{term: {entry}}}]"])(**rows)
    assert MixedReward(None, ["rewards=[{term: accuracy}, {term: accuracy_choice}]"])(**rows) == [1.0]
