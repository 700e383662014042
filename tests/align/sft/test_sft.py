"""Whole fine-tuning runs: what the trainer is given, what it leaves, kills and signals."""

from __future__ import annotations

import json
import re
import shutil
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import training_runs
from transformers import AutoModelForCausalLM, AutoTokenizer

SETTINGS = (
    "model.config={model_type: qwen3, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, "
    "num_attention_heads: 2, num_key_value_heads: 1, head_dim: 16, max_position_embeddings: 512}",
    "model.vocab_size=400",
    "data.train=['synthetic:demonstrations:train']",
    "data.limit=60",
    "data.max_length=400",
    "batch_size=8",
    "max_tokens=512",
    "max_steps=6",
    "log_every=1",
    "save_every=2",
    "loggers=[]",
    "engine.dtype=fp32",
    "engine.lr=3e-3",
    "engine.warmup=0",
)
OPTIONS: dict[str, Any] = {"settings": SETTINGS, "program": "align.train_sft"}
train, start = partial(training_runs.train, **OPTIONS), partial(training_runs.start, **OPTIONS)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sft") / "run"
    train(out, charts=True)
    return out


def documented_metrics() -> set[str]:
    page = (training_runs.ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    text = page.partition("## Supervised fine-tuning")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE))


def test_a_run_leaves_a_policy_that_has_learnt(uninterrupted: Path) -> None:
    lines = training_runs.metrics(uninterrupted)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert all(line["useful"] == 1 and 0 < line["filled"] <= 1 for line in lines)
    assert {*lines[0], "tokens_per_second"} - {"step"} == documented_metrics()
    manifest = json.loads((uninterrupted / "policy.json").read_text())
    assert manifest["steps"] == 6
    assert manifest["demonstrations"]["count"] <= 60
    tokenizer = AutoTokenizer.from_pretrained(uninterrupted)
    assert "<think>" in tokenizer.apply_chat_template(
        [{"role": "user", "content": "1 + 1?"}], tokenize=False, add_generation_prompt=True
    )
    assert AutoModelForCausalLM.from_pretrained(uninterrupted).config.model_type == "qwen3"


def test_killed_or_stopped_a_run_goes_on_to_the_same_policy(uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run = start(out, "save_every=1")
    run.wait_for(lambda: (out / "metrics.jsonl").is_file() and (out / "metrics.jsonl").read_text().count("\n") >= 2)
    run.kill()
    assert not (out / "policy.json").exists()
    run = start(out, "save_every=1")
    run.wait_for(lambda: (out / "metrics.jsonl").read_text().count("\n") >= 4)
    run.ranks[0].send(signal.SIGTERM)
    said = run.finish()
    if not (out / "policy.json").exists():
        assert "stopped by a signal" in said
        train(out)
    ours, theirs = training_runs.weights(out), training_runs.weights(uninterrupted)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_of_damaged_checkpoints_an_older_one_is_taken(uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(uninterrupted, out)
    (out / "policy.json").unlink()
    (out / "checkpoints" / "step-garbage").mkdir()
    file = out / "checkpoints" / "step-00000006" / "rank-00000.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(bytes(content))
    said = train(out)
    assert "step-00000006 is damaged (the checksum of rank-00000.safetensors differs)" in said
    assert "step-00000004" in said
    ours, theirs = training_runs.weights(out), training_runs.weights(uninterrupted)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("words", [(), ("engine.zero_stage=3", training_runs.PARTITION_ALL)], ids=["plain", "ZeRO 3"])
def test_two_ranks_equal_one(words: tuple[str, ...], uninterrupted: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", *words, ranks=2)
    ours, theirs = training_runs.weights(tmp_path / "run"), training_runs.weights(uninterrupted)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=2e-4, msg=name)


def test_two_ranks_that_share_tokens_go_on_with_the_run_of_one(uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(uninterrupted, out)
    (out / "policy.json").unlink()
    shutil.rmtree(out / "checkpoints" / "step-00000006")
    words = ("engine.sequence_parallel=2", "model.mlp_tiles=3", "model.gradient_checkpointing=true")
    assert "step-00000004" in train(out, *words, "engine.zero_stage=2", ranks=2)
    assert json.loads((out / "policy.json").read_text())["steps"] == 6
    ours, theirs = training_runs.weights(out), training_runs.weights(uninterrupted)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=2e-4, msg=name)


def test_adapters_are_merged_into_a_plain_model(uninterrupted: Path, tmp_path: Path) -> None:
    start_from = (f"model.path={uninterrupted}", "model.config=null", "model.lora={r: 4}", "max_steps=2")
    train(tmp_path / "run", *start_from, "engine.dtype=bf16")
    before, after = training_runs.weights(uninterrupted), training_runs.weights(tmp_path / "run")
    assert before.keys() == after.keys()
    # Weights that are not trained are those of the base, rounded to the type of the computation.
    moved = {name for name in before if not torch.equal(before[name].bfloat16().float(), after[name])}
    assert moved
    assert all(name.endswith("_proj.weight") for name in moved)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("data.train=[]",), "data.train is empty"),
        (("micro_batch_size=4",), "it is now called max_tokens"),
        (("data.max_length=1000",), "data.max_length=1000 is more than the 512 positions"),
        (("model.chat_template=r9",), "neither a file nor one of"),
        (("data.max_length=5",), "no demonstration is left"),
        (("data.max_length=0",), "data.max_length=0 must be at least 1"),
        (("data.limit=0",), "data.limit=0 must be at least 1"),
    ],
)
def test_what_cannot_work_is_refused(words: tuple[str, ...], reason: str, tmp_path: Path) -> None:
    assert reason in train(tmp_path / "run", *words, status=1)
