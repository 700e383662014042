"""Reward models that Keel saves, served by a real vLLM: equal scores, and the ways to get others without a warning."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from live_server import save_small
from live_vllm import Launcher, LiveServer
from remote_samples import SAMPLES, sample, scores
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from align.rewards.models.local import ModelReward
from align.rewards.models.remote import RemoteReward
from align.rewards.models.replicas import RewardServerError
from align.rewards.models.server_check import PROBES, Reference, compare
from reward_models.data.records import Message, Task

pytestmark = pytest.mark.live

SHAPE = {"hidden_size": 64, "max_position_embeddings": 1024}  # 32 a head: vLLM computes no fewer on a CPU
BASES: dict[str, tuple[Task, str, dict[str, Any]]] = {
    "qwen3": ("preference", "summary", {"head_dim": 32, "num_key_value_heads": 1}),
    "llama": ("safety", "full", {"num_key_value_heads": 1}),
    "bert": ("preference", "full", {}),
}
BATCH = [*SAMPLES, sample("<think>one and two</think>It is 3."), sample("yes " * 200)]
PAIRS = [(prompt, (Message("assistant", response),)) for prompt, response in PROBES]


@dataclass
class Served:
    """A saved reward model and the server that serves it."""

    task: Task
    directory: Path
    server: LiveServer

    def term(self, **options: Any) -> RemoteReward:
        return RemoteReward(
            task=self.task, urls=self.server.url, reference=str(self.directory), value="raw", batch=5, **options
        )

    def locally(self) -> list[float | None]:
        return ModelReward(task=self.task, model=str(self.directory), value="raw").score(BATCH)

    def ids(self) -> list[list[int]]:
        """The probes, as the model reads them."""
        return Reference.load(str(self.directory), weights=True).token_ids(PAIRS)

    def probs(self, texts: Any, **options: Any) -> list[float]:
        """What ``/classify`` answers."""
        answer = self.server.post("/classify", {"model": str(self.directory), "input": texts, **options})
        return [item["probs"][0] for item in answer["data"]]


@pytest.fixture(scope="module")
def served(vllm: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Served]]:
    """One server for each architecture, in fp32, and one with vLLM's own choice of a type."""
    folder, found = tmp_path_factory.mktemp("models"), {}
    for name, (task, span, shape) in BASES.items():
        settings = {"model_type": name, **SHAPE, **shape}
        directory = save_small(folder / name, task, span=span, settings=settings)
        if name == "llama":
            add_bos(directory)
        found[name] = Served(task, directory, vllm.start(directory, "--dtype", "float32"))
    qwen3 = found["qwen3"]
    found["default type"] = Served(qwen3.task, qwen3.directory, vllm.start(qwen3.directory))
    for each in found.values():
        each.server.wait_until_up()
    yield found
    for each in found.values():
        each.server.kill()


def add_bos(directory: Path) -> None:
    """Let the tokenizer put a BOS before every text, as Llama's does."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    bos = tokenizer.convert_tokens_to_ids("<|im_start|>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing("<|im_start|> $A", None, [("<|im_start|>", bos)])
    tokenizer.save_pretrained(directory)


@pytest.mark.parametrize("protocol", ["vllm_classify", "vllm_pooling"])
@pytest.mark.parametrize("name", sorted(BASES))
def test_scores_are_the_local_models(name: str, protocol: Any, served: dict[str, Served]) -> None:
    model = served[name]
    expected = model.locally()
    assert len({round(score or 0, 4) for score in expected}) > 5
    for check in ("scores", "statistics"):
        assert scores(model.term(protocol=protocol, check=check), BATCH) == pytest.approx(expected, abs=1e-5)


def test_the_activation_of_a_safety_model_is_a_sigmoid_unless_the_request_says_no(served: dict[str, Served]) -> None:
    model = served["llama"]
    raw, squeezed = (model.probs(model.ids(), use_activation=use) for use in (False, True))
    assert squeezed == pytest.approx([1 / (1 + math.exp(-score)) for score in raw], abs=1e-5)
    assert model.probs(model.ids()) == pytest.approx(squeezed, abs=1e-5)  # vLLM's default
    reference = Reference.load(str(model.directory), weights=True)
    compare(raw, reference, "scores", where="vLLM")
    with pytest.raises(RewardServerError, match="a sigmoid over the score"):
        compare(squeezed, reference, "scores", where="vLLM")


@pytest.mark.parametrize("name", ["qwen3", "bert"])
def test_a_helpful_model_says_in_its_config_that_it_has_no_activation(name: str, served: dict[str, Served]) -> None:
    model = served[name]
    raw = model.probs(model.ids(), use_activation=False)
    assert model.probs(model.ids()) == pytest.approx(raw, abs=1e-5)


def test_text_gets_a_second_bos(served: dict[str, Served]) -> None:
    model = served["llama"]
    reference = Reference.load(str(model.directory), weights=True)
    texts = [reference.renderer.text(*pair) for pair in PAIRS]
    assert texts[0].startswith("<|im_start|>")
    doubled = model.probs(texts, use_activation=False)
    with pytest.raises(RewardServerError, match=r"the special tokens \(BOS\) added a second time"):
        compare(doubled, reference, "scores", where="vLLM")
    right = model.probs(model.ids(), use_activation=False)
    assert model.probs(texts, use_activation=False, add_special_tokens=False) == pytest.approx(right, abs=1e-6)


def test_without_a_type_vllm_rounds_an_fp32_model_to_fp16(served: dict[str, Served]) -> None:
    model = served["default type"]
    found, expected = scores(model.term(protocol="vllm_classify"), BATCH), model.locally()
    errors = [abs((a or 0) - (b or 0)) for a, b in zip(found, expected, strict=True)]
    assert 1e-4 < max(errors) < 5e-2  # beyond what fp32 explains, and within what the check allows for bf16
