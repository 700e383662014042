"""A teacher behind a real vLLM on this machine's CPU: its log-probabilities, and a run that learns from them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import training_runs
from live_vllm import Launcher, LiveServer
from rollout_laws import moved, save_base
from training_runs import metrics
from transformers import AutoModelForCausalLM, AutoTokenizer

from align.rollouts.served_teacher import ServedTeacher, answered
from reward_models.data.trees import PromptTree

pytestmark = pytest.mark.live

TREES = [
    PromptTree(np.arange(5, 12, dtype=np.int32), tuple(np.arange(20, 20 + n, dtype=np.int32) for n in (3, 9, 1))),
    PromptTree(np.array([7, 8], np.int32), (np.arange(40, 60, dtype=np.int32),)),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def teacher(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    moved(base, 2).save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(vllm: Launcher, teacher: Path) -> Iterator[LiveServer]:
    started = vllm.start(teacher, "--dtype", "float32", "--max-model-len", "256")
    yield started.wait_until_up()
    started.kill()


@torch.no_grad()
def test_its_log_probabilities_are_those_of_the_local_teacher(server: LiveServer, teacher: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(teacher, dtype=torch.float32)
    expected = []
    for tree in TREES:
        for response in tree.branches:
            ids = torch.tensor([[*tree.prompt.tolist(), *response.tolist()]])
            places = model(ids).logits[0, len(tree.prompt) - 1 : -1].log_softmax(1)
            expected.append(places.gather(1, ids[0, len(tree.prompt) :, None])[:, 0])
    tokenizer = AutoTokenizer.from_pretrained(teacher)
    asked = ServedTeacher(server.url, tokenizer, 100, start_seconds=60.0, request_seconds=60.0)
    found = answered(asked.ask(TREES), torch.device("cpu"))
    asked.close()
    torch.testing.assert_close(found, torch.cat(expected), rtol=0, atol=5e-5)


def test_a_run_comes_nearer_to_it(server: LiveServer, base: Path, teacher: Path, tmp_path: Path) -> None:
    settings = (
        *(f"model.path={base}", f"teacher.path={teacher}", f"teacher.url={server.url}", "engine.dtype=fp32"),
        *("loss={kind: reverse_kl, beta: 0}", "prompts.train=['synthetic:reasoning:train']", "prompts.limit=20"),
        *("rewards=[{term: format}]", "evaluation.data=[]", "prompts_per_step=4", "samples_per_prompt=4"),
        *("steps_per_rollout=2", "steps=12", "max_new_tokens=16", "max_tokens=400", "engine.lr=1e-3", "loggers=[]"),
        *("engine.schedule=constant", "timeout_seconds=600"),
    )
    training_runs.train(tmp_path / "run", settings=settings, program="align.train")
    course = [line["kl_teacher"] for line in metrics(tmp_path / "run") if "kl_teacher" in line]
    assert len(course) == 12
    assert sum(course[-4:]) < 0.8 * sum(course[:4])
