"""The penalty for malformed thoughts, both ways."""

from __future__ import annotations

from typing import Any

import pytest

from align.rewards.rules.thoughts import MalformedThoughts

WELL = ["<think>one and two</think>It is 3.", "<think>1</think>\n<answer>3</answer>", "  <think>x</think> y"]
HACKS = {
    "none": "It is 3.",
    "never closed": "<think>one and two. It is 3.",
    "never opened": "one and two</think>It is 3.",
    "twice": "<think>a</think><think>b</think>It is 3.",
    "inside the answer": "<think>a</think>It is <think>b</think> 3.",
    "closed twice": "<think>a</think>b</think>It is 3.",
    "text in front": "It is 3. <think>a</think>It is 3.",
    "other spelling": "<Think>a</Think>It is 3.",
    "white space": "<think> \n </think>It is 3.",
    "zero-width": "<think>\u200b\u2060</think>It is 3.",
    "entity": "<think>&nbsp;</think>It is 3.",
    "punctuation": "<think>...</think>It is 3.",
    "nothing follows": "<think>It is 3.</think>",
}


@pytest.mark.parametrize("response", WELL)
def test_well_formed(response: str, sample: Any) -> None:
    assert MalformedThoughts().score([sample(response)]) == [0.0]


@pytest.mark.parametrize("hack", HACKS)
def test_hack(hack: str, sample: Any) -> None:
    assert MalformedThoughts().score([sample(HACKS[hack])]) == [-1.0]


def test_without_thoughts_where_none_are_required(sample: Any) -> None:
    term = MalformedThoughts(required=False)
    assert term.score([sample("It is 3."), sample(HACKS["never closed"])]) == [0.0, -1.0]
    assert term.score([sample("It is 3.", think_prefilled=True)]) == [-1.0]


def test_the_tag_of_the_template_counts(sample: Any) -> None:
    term = MalformedThoughts()
    assert term.score([sample("a</think>b", think_prefilled=True)]) == [0.0]
    assert term.score([sample("<think>a</think>b", think_prefilled=True)]) == [-1.0]
