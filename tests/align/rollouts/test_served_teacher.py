"""A teacher behind a server that speaks vLLM's HTTP: what it is asked, and which answers are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from stand_in_vllm import StandIn, stand_in

from align.rollouts.served import ServedError
from align.rollouts.served_teacher import PROBE, ServedTeacher, answered
from reward_models.data.chat import train_tokenizer
from reward_models.data.trees import PromptTree

TOKENIZER = train_tokenizer(["What is 1 + 2?"], 300)
LONGEST = 200


@pytest.fixture
def server() -> Iterator[StandIn]:
    with stand_in() as state:
        state.tokenize = lambda text: TOKENIZER(text, add_special_tokens=False)["input_ids"]
        yield state


def connect(server: StandIn, longest: int = LONGEST) -> ServedTeacher:
    return ServedTeacher(server.url, TOKENIZER, longest, start_seconds=2.0, request_seconds=5.0)


def trees(*parts: tuple[list[int], list[list[int]]]) -> list[PromptTree]:
    return [PromptTree(np.array(p, np.int32), tuple(np.array(r, np.int32) for r in many)) for p, many in parts]


def test_every_response_is_asked_about_and_answered_in_order(server: StandIn) -> None:
    teacher = connect(server)
    asked = teacher.ask(trees(([5, 6], [[7, 8], [9]]), ([1, 2, 3], [[4]])))
    assert answered(asked, torch.device("cpu")).tolist() == pytest.approx([-0.7, -0.8, -0.9, -0.4])
    sent = [tuple(payload["prompt"][0]) for payload in server.payloads]
    assert sorted(sent) == [(1, 2, 3, 4), (5, 6, 7, 8), (5, 6, 9)]
    assert all(payload["prompt_logprobs"] == 0 for payload in server.payloads)
    assert answered(teacher.ask([]), torch.device("cpu")).shape == (0,)
    teacher.close()


def _shorter(answer: dict[str, Any]) -> Any:
    answer["choices"][0]["prompt_logprobs"].pop()
    return answer


def _others(answer: dict[str, Any]) -> Any:
    answer["choices"][0]["prompt_logprobs"][-1] = {"99": {"logprob": -1.0}}
    return answer


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_shorter, r"teacher.url=http.*log-probabilities of 2 tokens, where 3 were sent"),
        (_others, "no log-probability of token 7"),
        (lambda answer: {}, "choices"),
    ],
)
def test_an_answer_to_something_else_is_refused(
    spoil: Callable[[dict[str, Any]], Any], message: str, server: StandIn
) -> None:
    server.spoil = spoil
    teacher = connect(server)
    with pytest.raises(ServedError, match=message):
        answered(teacher.ask(trees(([5, 6], [[7]]))), torch.device("cpu"))
    teacher.close()


def test_a_server_of_other_tokens_or_of_too_few_is_refused(server: StandIn) -> None:
    limit = int(server.settings["max_model_len"])
    connect(server, limit - 1).close()
    with pytest.raises(ValueError, match=f"takes {limit} tokens, .*start it with --max-model-len {limit + 1}"):
        connect(server, limit)
    assert len(TOKENIZER(PROBE)["input_ids"]) > 10
    server.tokenize = lambda text: TOKENIZER(text[1:])["input_ids"]
    with pytest.raises(ValueError, match="whose tokenizer splits a text in another way than the policy's"):
        connect(server)
