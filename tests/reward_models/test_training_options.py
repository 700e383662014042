"""Whole training runs with every way to compute them: adapters, offloading, launchers, loggers."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import preloaded
import pytest
import torch
from training_runs import (
    ENVIRONMENT,
    PARTITION_ALL,
    ROOT,
    SETTINGS,
    assert_close_run,
    assert_same_run,
    checkpoints,
    held_out,
    metrics,
    start,
    train,
)
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with nothing special about it but evaluations on the way."""
    out = tmp_path_factory.mktemp("plain") / "run"
    train(out, "eval_every=2", charts=True)
    return out


@pytest.fixture(scope="module")
def pretrained(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Settings that begin at a language model on disk, which has no head for scoring."""
    path = tmp_path_factory.mktemp("pretrained")
    tokenizer = AutoTokenizer.from_pretrained(plain)
    tokenizer.save_pretrained(path)
    config = Qwen3Config.from_pretrained(plain)
    config.architectures = None
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(config)
    model.save_pretrained(path)
    assert isinstance(AutoModelForCausalLM.from_pretrained(path), Qwen3ForCausalLM)
    return (f"model.path={path}", "model.config=null")


@pytest.fixture(scope="module")
def from_pretrained(pretrained: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("from_pretrained") / "run"
    train(out, *pretrained)
    return out


# --- what is computed where -------------------------------------------------------------------------------------------


def test_a_pretrained_model_is_loaded_in_parts_and_its_head_made_whole(
    pretrained: tuple[str, ...], from_pretrained: Path, tmp_path: Path
) -> None:
    train(tmp_path / "run", *pretrained, "engine.zero_stage=3", PARTITION_ALL, ranks=2)
    assert_close_run(tmp_path / "run", from_pretrained)


def test_gradient_checkpointing_changes_nothing(
    pretrained: tuple[str, ...], from_pretrained: Path, tmp_path: Path
) -> None:
    train(tmp_path / "run", *pretrained, "model.gradient_checkpointing=true")
    assert_close_run(tmp_path / "run", from_pretrained)


@pytest.mark.parametrize(
    "words",
    [
        ("engine.zero_stage=1",),
        ("engine.zero_stage=2",),
        ("engine.zero_stage=3", "engine.offload_params=true", PARTITION_ALL),
    ],
    ids=["stage 1", "stage 2", "stage 3 with its parameters"],
)
def test_offloading_to_cpu_memory_changes_nothing(words: tuple[str, ...], plain: Path, tmp_path: Path) -> None:
    # The first of these runs compiles DeepSpeed's CPU Adam, once per machine.
    train(tmp_path / "run", "eval_every=2", "engine.offload_optimizer=true", *words)
    assert_close_run(tmp_path / "run", plain)


def test_a_run_goes_on_with_its_optimizer_offloaded_and_back(plain: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for words, steps in ((("engine.zero_stage=1",), 1), (("engine.zero_stage=2", "engine.offload_optimizer=true"), 2)):
        run = start(out, "eval_every=2", "save_every=1", "keep_checkpoints=9", *words)
        run.wait_for(lambda n=steps: len(checkpoints(out)) >= n)
        run.kill()
    train(out, "eval_every=2", charts=True)
    assert_close_run(out, plain)


# --- frozen layers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [(), ("model.lora={r: 4}",), ("engine.zero_stage=3", PARTITION_ALL)])
def test_frozen_layers_stay_and_a_killed_run_goes_on_to_the_same_bits(
    more: tuple[str, ...], pretrained: tuple[str, ...], tmp_path: Path
) -> None:
    words = (*pretrained, "model.freeze_layers=1", *more)
    train(tmp_path / "whole", *words)
    base = AutoModelForCausalLM.from_pretrained(pretrained[0].removeprefix("model.path=")).model.state_dict()
    trained = AutoModelForSequenceClassification.from_pretrained(tmp_path / "whole").model.state_dict()
    moved = {name for name, weight in trained.items() if not torch.equal(weight, base[name])}
    assert any(name.startswith("layers.1.") for name in moved)
    assert not [name for name in moved if name.startswith(("layers.0.", "embed"))]
    run = start(tmp_path / "run", *words, "save_every=1")
    run.wait_for(lambda: len(checkpoints(tmp_path / "run")) > 0)
    run.kill()
    train(tmp_path / "run", *words)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


# --- adapters ---------------------------------------------------------------------------------------------------------


def test_an_adapter_resumes_to_the_same_bits(pretrained: tuple[str, ...], tmp_path: Path) -> None:
    words = (*pretrained, "model.lora={r: 4, alpha: 8, dropout: 0.1}")
    train(tmp_path / "whole", *words)
    out = tmp_path / "run"
    run = start(out, *words, "save_every=1")
    run.wait_for(lambda: len(checkpoints(out)) > 0)
    run.kill()
    train(out, *words)
    assert_same_run(out, tmp_path / "whole")


@pytest.mark.parametrize("merge", [True, False])
def test_an_adapter_is_trained_and_saved_alike_when_everything_is_partitioned(
    merge: bool, pretrained: tuple[str, ...], tmp_path: Path
) -> None:
    words = (*pretrained, "max_steps=3", f"model.lora={{r: 4, alpha: 8, merge: {str(merge).lower()}}}")
    train(tmp_path / "whole", *words)
    train(tmp_path / "parts", *words, "engine.zero_stage=3", PARTITION_ALL, ranks=2)
    assert_close_run(tmp_path / "parts", tmp_path / "whole")
    assert (tmp_path / "parts" / "adapter_config.json").exists() == (not merge)


# --- launchers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "launch",
    [
        (str(Path(sys.executable).parent / "deepspeed"), "--num_gpus", "2", "--module", "reward_models.train"),
        ("-m", "keel.cli", "train", "rm", "--processes", "2"),
    ],
    ids=["deepspeed", "keel"],
)
def test_launchers_start_two_ranks_that_equal_one(launch: tuple[str, ...], plain: Path, tmp_path: Path) -> None:
    out, file = tmp_path / "run", tmp_path / "mine.yaml"
    file.write_text("loss: {label_smoothing: 0.0}\n")
    command = [preloaded.python(), *launch, "--config", str(file), f"output_dir={out}", *SETTINGS, "eval_every=2"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | ENVIRONMENT, cwd=ROOT, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert_close_run(out, plain)


# --- what is logged and left behind -----------------------------------------------------------------------------------


def documented_metrics() -> set[str]:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8").partition("## Supervised fine-tuning")[0]
    return set(re.findall(r"^\| `([\w*]+)` \|", text, flags=re.MULTILINE))


def test_every_metric_is_documented_and_every_documented_one_is_logged(plain: Path, tmp_path: Path) -> None:
    safety = tmp_path / "safety"
    train(safety, "task=safety", "data.train=['synthetic:safety:train']", "eval_every=2", "max_steps=3")
    logged: set[str] = set()
    for out in (plain, safety):
        for line in map(json.loads, (out / "metrics.jsonl").read_text().splitlines()):
            logged |= {"eval_*" if name.startswith("eval_") else name for name in line if name != "step"}
    assert logged == documented_metrics()
    manifest = json.loads((safety / "manifest.json").read_text())
    assert (manifest["task"], manifest["span"], manifest["evaluation"]["kind"]) == ("safety", "full", "safety")


def test_evaluations_on_the_way_leave_the_training_alone(plain: Path, tmp_path: Path) -> None:
    train(tmp_path / "run")
    without = [{k: v for k, v in line.items() if not k.startswith("eval_")} for line in metrics(plain)]
    assert without == metrics(tmp_path / "run")
    assert [line["step"] for line in metrics(plain) if "eval_loss" in line] == [2, 4]


def test_the_model_cards_code_gives_the_evaluations_scores(plain: Path) -> None:
    code = re.search(r"```python\n(.*?)```", (plain / "README.md").read_text(), flags=re.DOTALL)
    assert code is not None
    read = "text = tokenizer.apply_chat_template(messages, tokenize=False)"
    assert read in code.group(1)
    data = held_out(plain)
    lines = (plain / "evaluation_scores.jsonl").read_text().splitlines()
    for item in (0, len(data) - 1):
        for score, ids in zip(json.loads(lines[item])["scores"], data.tree(item).sequences, strict=True):
            # The rendered text takes the place of messages, whose template writes the same text.
            text = AutoTokenizer.from_pretrained(plain).decode(ids)
            names: dict[str, Any] = {}
            exec(code.group(1).replace("PATH", repr(str(plain))).replace(read, f"text = {text!r}"), names)
            assert names["score"].item() == pytest.approx(score, abs=1e-5)


@pytest.mark.skipif(importlib.util.find_spec("trackio") is not None, reason="trackio is installed")
def test_a_missing_logger_is_named_before_anything_is_made(tmp_path: Path) -> None:
    assert "trackio is not installed; pip install trackio" in train(tmp_path / "run", "loggers=[trackio]", status=1)
    assert not (tmp_path / "run").exists()
