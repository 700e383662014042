"""Each bridge called as its library's source calls it, at the commit that is named; none of them is installed here."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import math
import re
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from stand_in_rewards import keel, serving

from align.bridges import rewarder as bridge
from align.bridges.conversion import as_sample
from align.bridges.ms_swift import MixedReward as SwiftReward
from align.bridges.ms_swift import register as register_orm
from align.bridges.open_instruct import main as launch_open_instruct
from align.bridges.open_instruct import register as register_verifier
from align.bridges.rewarder import CONFIG, MODEL, STEP, UNSCORABLE, rewarder
from align.bridges.slime import reward as slime_reward
from align.config import AlignConfig
from align.rewards.models.client import RewardClient
from align.rewards.models.replicas import TOKEN_VARIABLE
from align.rewards.scoring import RewardFailure
from align.rewards.terms import TermError
from reward_models.runtime.config import ConfigError, load_config

RIGHT, WRONG = "<think>abc</think><answer>3</answer>", "<think>abc</think><answer>4</answer>"


# --- OpenRLHF 0.11.0, 3c3be62, openrlhf/utils/agent.py: SingleTurnAgentExecutor --------------------------------------


def openrlhf_function() -> Any:
    spec = importlib.util.spec_from_file_location(
        "reward_func", importlib.util.find_spec("align.bridges.openrlhf").origin
    )  # type: ignore[union-attr,arg-type]
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    spec.loader.exec_module(module)
    return module.reward_func


async def openrlhf_execute(reward_func: Any, samples: list[tuple[str, str, Any]]) -> list[dict[str, Any]]:
    """A call for each sample, in threads, at the same time."""
    calls = [asyncio.to_thread(reward_func, [query], [prompt], [label]) for query, prompt, label in samples]
    return await asyncio.gather(*calls)


PROMPT = "<|im_start|>user\n1 + 2?<|im_end|>\n<|im_start|>assistant\n"


def test_openrlhf(rules: Path) -> None:
    samples = [(f"{PROMPT}{text}<|im_end|>", PROMPT, "3") for text in (RIGHT, WRONG, "zzz")]
    outputs = asyncio.run(openrlhf_execute(openrlhf_function(), samples))
    values = [torch.tensor([output["rewards"]]) for output in outputs]  # as _process_response_into_experience does
    assert torch.cat(values).tolist() == [1.5, 0.5, 0.0]
    assert [output["scores"].item() for output in outputs] == [1.5, 0.5, 0.0]
    infos = [{key: value.flatten()[0].item() for key, value in output["extra_logs"].items()} for output in outputs]
    assert infos[0].keys() == infos[1].keys() == infos[2].keys()
    assert infos[1]["raw/accuracy_math"] == 0.0
    assert infos[1]["weighted/format"] == 0.5


@pytest.mark.parametrize(
    "end", ["<|im_end|>", "</s>", "<|eot_id|>\n", "<｜end▁of▁sentence｜>", "<|im_end|><|endoftext|>", ""]
)
def test_openrlhf_decodes_with_special_tokens_and_cuts_long_prompts(rules: Path, end: str) -> None:
    function = openrlhf_function()
    query = f"<s>{PROMPT}{RIGHT}{end}"
    assert function([query], [PROMPT], ["3"])["rewards"].tolist() == [1.5]
    long = f"x{PROMPT * 5}"
    cut = f"{long[30:]}{WRONG}{end}"
    assert function([cut], [long], [json.dumps({"answer": "4"})])["rewards"].tolist() == [1.5]
    with pytest.raises(ValueError, match="does not hold the end of its prompt"):
        function(["quite another"], [PROMPT], ["3"])


def test_openrlhf_by_servers_and_reward_models_get_the_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = keel(lambda c: {"raw": 8.0, "calibrated": float(len(c[-1]["content"]))})
    with serving(stand_in) as urls:
        monkeypatch.setenv(CONFIG, ",".join(urls))
        label = json.dumps({"prompt": [{"role": "user", "content": "1 + 2?"}], "domain": "helpfulness"})
        found = openrlhf_function()([f"{PROMPT}Three.<|im_end|>"], [PROMPT], [label])
        assert found["rewards"].tolist() == [6.0]
        with pytest.raises(ValueError, match="without its prompt"):
            openrlhf_function()([f"{PROMPT}Three."], [PROMPT], [json.dumps({"domain": "helpfulness"})])
    turns = [{"role": "user", "content": "1 + 2?"}, {"role": "assistant", "content": "Three."}]
    assert stand_in.requests[-1][1]["conversations"] == [turns]


def test_a_reward_that_cannot_be_had_is_an_error_and_never_a_number(
    rules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenRLHF #1123, #1109: a reward model out of reach became a reward of None."""
    unreadable = ([f"{PROMPT}{RIGHT}"], [PROMPT], [json.dumps({"answer": "\\frac{"})])
    function = openrlhf_function()
    with pytest.raises(RewardFailure, match=UNSCORABLE):
        function(*unreadable)
    monkeypatch.setenv(UNSCORABLE, "-1")
    assert function(*unreadable)["rewards"].tolist() == [-1.0]
    with serving(keel(lambda c: {"error": "broken"}, "stage2", "mixer")) as urls:
        monkeypatch.setenv(CONFIG, urls[0])
        with pytest.raises(RewardFailure, match="stage2 failed on 1 of 1"):
            function(*unreadable)


# --- slime 0.3.1, 624b824: rollout/rm_hub/__init__.py, rollout/sglang_rollout.py -------------------------------------


class Status(Enum):
    COMPLETED = "completed"
    TRUNCATED = "truncated"


@dataclass
class SlimeSample:
    """The fields of ``slime.utils.types.Sample`` that the bridge reads."""

    prompt: Any
    response: str
    label: str | None
    response_length: int = 7
    status: Status = Status.COMPLETED
    metadata: Any = None
    reward: Any = None
    remove_sample: bool = False
    custom_rm_path: str | None = None


async def batched_async_rm(args: Any, samples: list[SlimeSample]) -> list[float]:
    module, _, name = args.custom_rm_path.rpartition(".")
    return await getattr(importlib.import_module(module), name)(args, samples)


def test_slime(rules: Path) -> None:
    args = SimpleNamespace(custom_rm_path="align.bridges.slime.reward")
    assert asyncio.run(slime_reward(args, SlimeSample("1 + 2?", RIGHT, "3"))) == 1.5
    group = [SlimeSample("1 + 2?", text, "3") for text in (RIGHT, WRONG)]
    assert asyncio.run(batched_async_rm(args, group)) == [1.5, 0.5]
    group[1].metadata = {"verifier": "choice"}  # no entry judges it: its answer would count for nothing
    with pytest.raises(TermError, match="name the verifier choice, and the entries judge math here"):
        asyncio.run(batched_async_rm(args, group))
    group[1].metadata, group[1].label = None, "\\frac{"
    assert asyncio.run(batched_async_rm(args, group)) == [1.5, 1.5]
    assert [sample.remove_sample for sample in group] == [False, True]
    with pytest.raises(RewardFailure, match=UNSCORABLE):
        asyncio.run(slime_reward(args, group[1]))


def test_slime_and_ms_swift_compare_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "groups.yaml"
    file.write_text("rewards: [{term: length_in_group}]\n")
    monkeypatch.setenv(CONFIG, str(file))
    args = SimpleNamespace(custom_rm_path="align.bridges.slime.reward")
    group = [SlimeSample("1 + 2?", text, "3") for text in ("x" * 10, "x" * 30)]
    assert asyncio.run(batched_async_rm(args, group)) == [0.0, -0.5]
    with pytest.raises(ConfigError, match="compares all samples of a prompt"):
        asyncio.run(slime_reward(args, group[0]))
    rows = [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "x" * n}]} for n in (1, 3)]
    swift = SwiftReward(SimpleNamespace(num_generations=2))
    assert compute_rewards_per_func(rows, swift, None) == [0.0, -0.5]


# --- ms-swift 4.6.0.dev0, 3602360: rewards/orm.py, rl_core/grpo_algorithm.py -----------------------------------------


def compute_rewards_per_func(rows: list[dict[str, Any]], reward_func: Any, trainer_state: Any) -> list[float]:
    """The calls of a synchronous reward function, ``rows_to_batched`` included."""
    batched: dict[str, list[Any]] = {}
    for i, row in enumerate(rows):
        for key, value in row.items():
            batched.setdefault(key, [None] * i).append(value)
        for key in batched.keys() - row.keys():
            batched[key].append(None)
    completions = [row["messages"][-1]["content"] for row in rows]
    output = reward_func(completions, trainer_state=trainer_state, **batched)
    return [math.nan if reward is None else reward for reward in output]


def test_ms_swift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "scheduled.yaml"
    file.write_text("rewards: [{term: accuracy, weight: [[0, 0.0], [100, 1.0]]}, {term: format, weight: 0.5}]\n")
    monkeypatch.setenv(CONFIG, str(file))
    swift = ModuleType("swift")
    plugins: Any = ModuleType("swift.rewards")
    plugins.orms = {}
    monkeypatch.setitem(sys.modules, "swift", swift)
    monkeypatch.setitem(sys.modules, "swift.rewards", plugins)
    register_orm()
    reward = plugins.orms["keel"](args=SimpleNamespace())  # as _prepare_rewards does
    assert not inspect.iscoroutinefunction(reward.__call__)
    rows = [
        {
            "messages": [{"role": "user", "content": "1 + 2?"}, {"role": "assistant", "content": text}],
            "prompt_id": "p",
            "request_id": str(number),
            "finish_reason": "stop",
            "is_truncated": False,
            "rollout_infos": {},
            "response_token_ids": [[1, 2, 3]],
            "solution": "3",
        }
        for number, text in enumerate((RIGHT, WRONG))
    ]
    rows[1]["extra"] = 1
    assert compute_rewards_per_func(rows, reward, SimpleNamespace(global_step=50)) == [1.0, 0.5]
    assert compute_rewards_per_func(rows, reward, SimpleNamespace(global_step=100)) == [1.5, 0.5]
    rows[1]["solution"] = "\\frac{"
    assert compute_rewards_per_func(rows, reward, SimpleNamespace(global_step=100)) == [1.5, 1.5]


# --- open-instruct, e6c3044: ground_truth_utils.py -------------------------------------------------------------------


class VerifierFunction(ABC):
    def __init__(self, name: str, weight: float = 1.0, verifier_config: Any = None) -> None:
        self.name, self.weight, self.verifier_config = name, weight, verifier_config

    @abstractmethod
    def __call__(self, tokenized_prediction: list[int], prediction: str, label: Any, query: str | None = None) -> Any:
        """One verdict."""


@dataclass
class VerificationResult:
    score: float
    cost: float = 0.0
    reasoning: str | None = None


@pytest.fixture
def open_instruct(rules: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that the bridge extends."""
    utilities: Any = ModuleType("open_instruct.ground_truth_utils")
    utilities.VerifierFunction, utilities.VerificationResult = VerifierFunction, VerificationResult
    monkeypatch.setitem(sys.modules, "open_instruct", ModuleType("open_instruct"))
    monkeypatch.setitem(sys.modules, "open_instruct.ground_truth_utils", utilities)
    return utilities


def test_open_instruct(open_instruct: Any) -> None:
    register_verifier()
    instances = [subclass(None) for subclass in VerifierFunction.__subclasses__()]  # type: ignore[arg-type,abstract]
    verifiers: dict[str, Any] = {instance.name.lower(): instance for instance in instances}  # build_all_verifiers

    async def apply() -> list[Any]:  # apply_verifiable_reward
        calls = [
            verifiers["keel"].async_call(
                tokenized_prediction=[1, 2], prediction=text, label=label, query=PROMPT, rollout_state=None
            )
            for text, label in ((RIGHT, "3"), (WRONG, json.dumps({"answer": "3"})))
        ]
        return await asyncio.gather(*calls)

    assert [result.score for result in asyncio.run(apply())] == [1.5, 0.5]
    assert verifiers["keel"]([1], RIGHT, "3").score == 1.5


def test_open_instruct_is_launched_with_the_verifier_and_no_row_goes_without(
    open_instruct: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    open_instruct.build_all_verifiers = lambda args: {"keel": args, "math": 1}
    (tmp_path / "stand_in_grpo.py").write_text(
        "import sys\n"
        "from open_instruct.ground_truth_utils import build_all_verifiers\n"
        "verifiers = build_all_verifiers(sys.argv[1:])\n"
        "assert verifiers.get('keel') == ['--seed', '1']\n"
        "verifiers.get('gsm8k')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["grpo_fast.py", "old"])
    with pytest.raises(ConfigError, match="no verifier for the data set 'gsm8k'"):
        launch_open_instruct(["--seed", "1"], "stand_in_grpo")


# --- what a library does not tell ------------------------------------------------------------------------------------


def test_a_configuration_that_needs_what_a_library_does_not_tell_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduled, overlong = tmp_path / "scheduled.yaml", tmp_path / "overlong.yaml"
    scheduled.write_text("rewards: [{term: format, weight: [[0, 0.0], [100, 1.0]]}]\n")
    overlong.write_text("rewards: [{term: overlong, arguments: {max_tokens: 10, buffer: 2}}]\n")
    with pytest.raises(ConfigError, match=f"weight of format follows the step.*{STEP}"):
        rewarder(str(scheduled), knows_step=False)
    monkeypatch.setenv(STEP, "50")
    found = asyncio.run(
        rewarder(str(scheduled), knows_step=False).rewards([as_sample("a", RIGHT, {})], bridge.fixed_step())
    )
    assert found.reward_N.tolist() == [0.5]
    with pytest.raises(ConfigError, match="overlong counts tokens"):
        rewarder(str(overlong), knows_tokens=False)
    groups = tmp_path / "groups.yaml"
    groups.write_text("rewards: [{term: length_in_group}]\n")
    with pytest.raises(ConfigError, match="compares all samples of a prompt, which this library gives one"):
        rewarder(str(groups), knows_groups=False)
    with pytest.raises(ConfigError, match="has its own configuration"):
        rewarder("http://host", ["steps=3"])
    with pytest.raises(ConfigError, match=CONFIG):
        bridge.rewarder_from_environment()


def test_no_bridge_imports_its_library() -> None:
    code = (
        "import sys, align.bridges.openrlhf, align.bridges.verl, align.bridges.slime, align.bridges.ms_swift, "
        "align.bridges.open_instruct, align.bridges.trl, align.bridges.verifiers; "
        "sys.exit(bool({'trl', 'verl', 'slime', 'swift', 'openrlhf', 'open_instruct', 'verifiers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_documentation_can_be_followed(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "bridges.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(\w+)\n(.*?)```", text, flags=re.DOTALL)
    (configuration,) = (block for language, block in blocks if language == "yaml")
    (tmp_path / "remote.yaml").write_text(configuration, encoding="utf-8")
    config = load_config(AlignConfig, tmp_path / "remote.yaml")
    for term in config.rewards[1:]:
        options = {name: value for name, value in term.arguments.items() if name != "urls"}
        RewardClient(list(term.arguments["urls"]), **options)  # it takes these arguments; nobody is asked yet
    for language, block in blocks:
        if language == "python":
            compile(block, "docs/bridges.md", "exec")
    named = set(re.findall(r"`(KEEL_[A-Z_]+)`", text))
    assert named == {CONFIG, MODEL, STEP, UNSCORABLE, TOKEN_VARIABLE}
