"""On-policy distillation as a whole run: the divergence falls, kills, ranks, phases, and teachers that cannot serve."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
import training_runs
from training_runs import assert_close_run, assert_same_run, metrics
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from align import run
from align.config import AlignConfig, LossConfig
from align.policy.config import PolicyConfig, TeacherConfig
from reward_models.data.chat import train_tokenizer


@pytest.fixture(scope="module")
def teacher(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wider model than the policy, with the policy's tokens."""
    path = tmp_path_factory.mktemp("teacher")
    tokenizer = AutoTokenizer.from_pretrained(policy)
    torch.manual_seed(1)
    shape = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = Qwen3Config(
        **shape,
        num_key_value_heads=1,
        head_dim=16,
        vocab_size=len(tokenizer),
        max_position_embeddings=200,
        initializer_range=0.1,
    )
    Qwen3ForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def options(policy: Path, teacher: Path) -> dict[str, Any]:
    settings = (
        f"model.path={policy}",
        f"teacher.path={teacher}",
        "loss={kind: reverse_kl, beta: 0}",
        "prompts.train=['synthetic:reasoning:train']",
        "prompts.limit=20",
        "rewards=[{term: format}]",
        "phases=[{until: 4}, {until: 8, temperature: 0.8}]",
        "steps=8",
        "prompts_per_step=4",
        "samples_per_prompt=1",
        "steps_per_rollout=2",
        "max_new_tokens=12",
        "max_tokens=120",
        "engine.dtype=fp32",
        "engine.lr=1e-2",
        "save_every=3",
        "loggers=[]",
        "timeout_seconds=60",
    )
    return {"settings": settings, "program": "align.train"}


@pytest.fixture(scope="module")
def train(options: dict[str, Any]) -> Any:
    return partial(training_runs.train, **options)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, train: Any) -> Path:
    out = tmp_path_factory.mktemp("distilled") / "run"
    train(out, charts=True)
    return out


def test_the_divergence_from_the_teacher_falls(uninterrupted: Path) -> None:
    lines = metrics(uninterrupted)
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert all(line["loss"] == line["kl_teacher"] > 0 for line in lines)
    assert lines[3]["kl_teacher"] < 0.9 * lines[0]["kl_teacher"]
    assert lines[7]["kl_teacher"] < lines[4]["kl_teacher"]  # of the other phase's temperature
    assert not {"kl", "ratio", "groups_without_signal", "advantage_size"} & set().union(*lines)
    assert AutoModelForCausalLM.from_pretrained(uninterrupted).config.hidden_size == 32


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(
    uninterrupted: Path, options: dict[str, Any], train: Any, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    training_runs.train_until_signal(out, step=5, **options)
    assert not (out / "policy.json").exists()
    train(out)
    assert_same_run(out, uninterrupted)


@pytest.mark.parametrize(
    "words",
    [(), ("engine.zero_stage=3", training_runs.PARTITION_ALL), ("engine.sequence_parallel=2",)],
    ids=["plain", "ZeRO 3", "shared tokens"],
)
def test_two_ranks_equal_one(words: tuple[str, ...], uninterrupted: Path, train: Any, tmp_path: Path) -> None:
    train(tmp_path / "run", *words, ranks=2)
    assert_close_run(tmp_path / "run", uninterrupted)


def test_a_policy_that_is_its_own_teacher_does_not_move(policy: Path, train: Any, tmp_path: Path) -> None:
    train(tmp_path / "run", f"teacher.path={policy}", "phases=[]", "steps=2")
    assert all(line["kl_teacher"] == line["grad_norm"] == 0 for line in metrics(tmp_path / "run"))
    before, after = training_runs.weights(policy), training_runs.weights(tmp_path / "run")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_teacher_of_other_tokens_is_refused_before_it_is_loaded(teacher: Path, train: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    tokenizer = train_tokenizer(["Some other text, quite unlike sums."], 300)
    tokenizer.save_pretrained(other)  # no weights: it is never loaded
    said = train(tmp_path / "run", f"teacher.path={other}", status=1)
    assert f"teacher.path={other}: its tokenizer differs from the policy's in" in said
    assert "take a teacher of the same family" in said


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("teacher=null",), "set teacher.path"),
        (("loss.kind=token", "samples_per_prompt=2"), "with loss.kind=reverse_kl only"),
        (("loss.beta=0.1",), "set loss.beta=0"),
        (("teacher.url=http://127.0.0.1:9",), "temperature=0.8 would compare others: set temperature=1"),
        (("teacher.url=somewhere",), "must begin with http://"),
        (("teacher.url=http://127.0.0.1:9", "teacher.dtype=bf16"), "teacher.dtype=bf16 has no effect with teacher.url"),
        (("resample_rounds=1",), "set resample_rounds=0"),
        (
            ("loss.advantages=mean", "loss.clip_low=0.2", "max_silent_rollouts=3"),
            "loss.advantages=mean, loss.clip_low=0.2, max_silent_rollouts=3 has no part in loss.kind=reverse_kl",
        ),
        (("loss.aggregation=gdpo",), "loss.aggregation=gdpo has no part in loss.kind=reverse_kl"),
        (("max_new_tokens=190", "phases=[]"), "the 200 positions of"),
    ],
)
def test_what_cannot_work_is_refused(words: tuple[str, ...], reason: str, train: Any, tmp_path: Path) -> None:
    assert reason in train(tmp_path / "run", *words, status=1)


@pytest.mark.parametrize(("own", "of_teacher", "limit"), [(30, 200, 30), (200, 30, 30), (200, 200, None)])
def test_neither_positions_of_the_policy_nor_of_the_teacher_are_exceeded(
    own: int, of_teacher: int, limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where both are read from one directory, and the policy's settings change its positions."""
    monkeypatch.setattr(run, "policy_architecture", lambda *_: SimpleNamespace(max_position_embeddings=own))
    settings = AlignConfig(
        model=PolicyConfig(path="one"),
        teacher=TeacherConfig(path="one"),
        loss=LossConfig(kind="reverse_kl", beta=0),
        max_new_tokens=25,
    )
    prompts: Any = SimpleNamespace(length_I=np.array([6]))
    refused = pytest.raises(ValueError, match=f"the {limit} positions of one") if limit else nullcontext()
    with refused:
        run._check_positions(settings, cast(Any, None), prompts, None, of_teacher)
