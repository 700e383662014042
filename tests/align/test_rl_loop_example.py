"""The example of one file makes the steps that the real loop makes."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import training_runs
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

EXAMPLE = Path(__file__).parents[2] / "examples" / "rl_loop.py"
QUESTIONS = [
    "What is 1 + 2?",
    "How many are 3 apples?",
    "Is 7 more than 5?",
    "What is two and two?",
    "Add 4 to 9.",
    "One more?",
]


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rl_loop", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["rl_loop"] = module
    spec.loader.exec_module(module)
    return module


def test_it_is_short() -> None:
    assert EXAMPLE.read_text(encoding="utf-8").count("\n") <= 120


def test_without_a_model_it_prints_its_usage() -> None:
    done = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("usage: python examples/rl_loop.py MODEL")


def test_its_first_steps_are_those_of_the_real_loop(example: ModuleType, policy: Path, tmp_path: Path) -> None:
    settings = example.Settings(
        steps=3, prompts_per_step=2, samples_per_prompt=4, max_new_tokens=10, lr=3e-3, beta=0.05, seed=1
    )
    model = AutoModelForCausalLM.from_pretrained(policy, attn_implementation="eager")
    log = example.train(model, AutoTokenizer.from_pretrained(policy), QUESTIONS, settings)
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": q, "domain": "helpfulness"}) + "\n" for q in QUESTIONS))
    words = (
        f"model.path={policy}",
        f"prompts.train=['{file}']",
        "rewards=[{term: 'letters:Letters'}]",
        *("steps=3", "steps_per_rollout=1", "prompts_per_step=2", "samples_per_prompt=4", "max_new_tokens=10"),
        *("loss.beta=0.05", "ref_update_steps=0", "engine.dtype=fp32", "engine.lr=3e-3", "seed=1", "loggers=[]"),
    )
    training_runs.train(tmp_path / "run", settings=words, program="align.train")
    lines = training_runs.metrics(tmp_path / "run")
    for name in ("reward", "loss", "kl", "grad_norm"):
        assert [each[name] for each in log] == pytest.approx([line[name] for line in lines], rel=1e-3, abs=1e-5), name
    assert lines[0]["reward"] != lines[2]["reward"]
    trained, before = load_file(tmp_path / "run" / "model.safetensors"), load_file(policy / "model.safetensors")
    ours = model.state_dict()
    for name, weight in trained.items():
        torch.testing.assert_close(ours[name], weight, rtol=1e-3, atol=1e-4)
    assert any(not torch.equal(trained[name], weight) for name, weight in before.items())
