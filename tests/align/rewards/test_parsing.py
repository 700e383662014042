"""Parsing of responses: thoughts, summary and final answer."""

from __future__ import annotations

import time
from typing import Any

import pytest

from align.rewards.parsing import Answer, Parts, final_answer, last_boxes, split_response


@pytest.mark.parametrize(
    ("response", "prefilled", "parts"),
    [
        ("<think>a</think>b", False, Parts("a", "b")),
        ("a</think>b", True, Parts("a", "b")),
        ("<think>a", False, Parts("a", None)),
        ("a", True, Parts("a", None)),  # still inside the thoughts
        ("a", False, Parts(None, "a")),
        ("<think>a</think>b</think>c", False, Parts("a</think>b", "c")),
        ("<think>a</think>b<think>c", False, Parts("a", "b")),
        ("<think>a</think><think>c", False, Parts("a", "")),  # an answer in thoughts that go on is none
    ],
)
def test_thoughts_and_summary(response: str, prefilled: bool, parts: Parts, sample: Any) -> None:
    assert split_response(sample(response, think_prefilled=prefilled)) == parts


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"<think>x</think><answer>5</answer>", Answer("5", True)),
        (r"<think>x</think>It is \boxed{5}.", Answer("5", True)),
        (r"<answer>It is \boxed{5}.</answer>", Answer("5", True)),
        (r"\boxed{4} <answer>5</answer>", Answer("5", True)),
        (r"<answer>4</answer><answer>5</answer>", Answer("5", True)),
        (r"<answer>4</answer> or <answer>5</answer>", None),  # two answers are offered, as with boxes
        (r"It is 5.", Answer("It is 5.", False)),
        (r"<answer>5", Answer("<answer>5", False)),
        (r"<answer> </answer>", None),
        (r"<Answer>5</ANSWER>", Answer("5", True)),
        (r"<think>x</think><think>\boxed{5}", None),
        (r"<think>\boxed{5}</think>", None),
        (r"<think>\boxed{5}", None),
    ],
)
def test_final_answer(response: str, answer: Answer | None, sample: Any) -> None:
    assert final_answer(sample(response)) == answer


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{\frac{1}{2}} then \boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{\boxed{5}}", r"\boxed{5}"),
        (r"} \fbox {3} {", "3"),
        (r"\boxed{3", None),
        (r"\boxed{1} and \boxed{2", "1"),
        (r"\boxed{4}\boxed{5}", "5"),
        (r"\boxed{4}, \boxed{5}", "4, 5"),
        (r"$\boxed{3}$, $\boxed{4}$ and $\boxed{5}$", "3, 4, 5"),
        (r"\boxed{4}. Then it is \boxed{5}", "5"),
        (r"\boxed{4} and \boxed{\boxed{5}}", r"4, \boxed{5}"),
        (r"\boxed 5", "5"),
        ("none", None),
    ],
)
def test_boxes_are_balanced(text: str, content: str | None) -> None:
    assert last_boxes(text) == content


def test_a_mark_deep_in_a_comment_is_hidden_and_open_comments_take_no_time(sample: Any) -> None:
    hidden = f"<think>a</think><!-- {'a ' * 20000} \\boxed{{7}} --> 12"
    assert final_answer(sample(hidden)) == Answer("12", False)
    began = time.process_time()
    final_answer(sample("<think>a</think>" + "<!--" * 40000 + r"\boxed{7}"))
    assert time.process_time() - began < 1.0  # each beginning would take 20,000 steps of its own
