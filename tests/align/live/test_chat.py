"""A policy saved by ``keel train sft`` behind the chat endpoint of a real vLLM on this machine's CPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import training_runs
from live_vllm import POLICY, Launcher, LiveServer
from rollout_laws import save_base
from transformers import AutoModelForCausalLM, AutoTokenizer

from reward_models.data.chat import prompt_text, tokenize_texts
from reward_models.data.records import Message

pytestmark = pytest.mark.live

CONVERSATIONS = (
    (Message("user", "What is 1 + 2?"),),
    (Message("system", "Be short."), Message("user", "What is 1 + 2?")),
    (Message("user", "What is 1 + 2?"), Message("assistant", "It is 3."), Message("user", "And 2 + 2?")),
)
R1 = {"temperature": 0.6, "top_p": 0.95}


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps of fine-tuning with the template ``r1``, which opens the thoughts."""
    folder = tmp_path_factory.mktemp("chat")
    settings = (
        *(f"model.path={save_base(folder / 'base')}", "model.chat_template=r1", "engine.dtype=fp32", "loggers=[]"),
        *("data.train=['synthetic:demonstrations:train']", "data.limit=20", "batch_size=4", "max_steps=2"),
    )
    training_runs.train(folder / "policy", settings=settings, program="align.train_sft")
    return folder / "policy"


@pytest.fixture(scope="module")
def server(vllm: Launcher, policy: Path) -> Iterator[LiveServer]:
    started = vllm.start(policy, *POLICY)
    yield started.wait_until_up()
    started.kill()


def chat(server: LiveServer, conversation: tuple[Message, ...], **options: Any) -> Any:
    messages = [{"role": m.role, "content": m.content} for m in conversation]
    body = {"messages": messages, "max_tokens": 12, "logprobs": True, "return_token_ids": True, "seed": 5}
    return server.post("/v1/chat/completions", body | options)


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=["one turn", "system turn", "several turns"])
def test_the_endpoint_renders_what_our_renderer_does(
    conversation: tuple[Message, ...], server: LiveServer, policy: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(policy)
    text = prompt_text(tokenizer, conversation)
    assert text.endswith("<think>\n")
    assert chat(server, conversation)["prompt_token_ids"] == tokenize_texts(tokenizer, [text])[0].tolist()


def test_the_saved_settings_of_sampling_are_the_endpoints_defaults(server: LiveServer, policy: Path) -> None:
    default = chat(server, CONVERSATIONS[0])
    assert answered(chat(server, CONVERSATIONS[0], **R1)) == answered(default)
    assert answered(chat(server, CONVERSATIONS[0], temperature=1.0, top_p=1.0)) != answered(default)

    ids, logprobs = answered(default)
    model = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    prompt = default["prompt_token_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1] / R1["temperature"]
    ordered, places = logits.softmax(1).sort(1, descending=True)
    kept = ordered.cumsum(1) - ordered < R1["top_p"]  # the fewest tokens that reach it
    nucleus = torch.zeros_like(logits).scatter(1, places, ordered * kept)
    expected = (nucleus / nucleus.sum(1, keepdim=True)).log()[torch.arange(len(ids)), ids]
    torch.testing.assert_close(torch.tensor(logprobs), expected, rtol=1e-3, atol=1e-3)


def answered(answer: Any) -> tuple[list[int], list[float]]:
    """The token ids of the answer, and their log-probabilities."""
    (choice,) = answer["choices"]
    return choice["token_ids"], [each["logprob"] for each in choice["logprobs"]["content"]]
