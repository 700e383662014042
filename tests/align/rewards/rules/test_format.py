"""Format: every rule, and what the template has already written."""

from __future__ import annotations

from typing import Any

import pytest

from align.rewards.rules.format import Format

TAGGED = [
    ("<think>a</think><answer>b</answer>", 1.0),
    (" <think>a</think>\n<answer>b</answer>\n", 1.0),
    ("a</think><answer>b</answer>", 0.0),  # never opened
    ("<think>a<answer>b</answer>", 0.0),  # never closed
    ("<think>a</think>b", 0.0),
    ("<think>a</think>so <answer>b</answer>", 0.0),
    ("<think>a</think><answer>b</answer> done", 0.0),
    ("so <think>a</think><answer>b</answer>", 0.0),
    ("<think></think><answer>b</answer>", 0.0),
    ("<think>a</think><answer> </answer>", 0.0),
    ("<answer>b</answer><think>a</think>", 0.0),
    ("<think>a</think><answer>b</answer><answer>b</answer>", 0.0),
    ("<think>a</think><think>a</think><answer>b</answer>", 0.0),
    ("<think>a<answer>b</answer></think><answer>c</answer>", 0.0),
    ("<think>a</think></answer>b<answer>", 0.0),
    ("", 0.0),
]


@pytest.mark.parametrize(("response", "reward"), TAGGED)
def test_tagged(response: str, reward: float, sample: Any) -> None:
    assert Format().score([sample(response)]) == [reward]


@pytest.mark.parametrize(("response", "reward"), [row for row in TAGGED if row[0].strip().startswith("<think>")])
def test_a_prefilled_tag_counts_as_written(response: str, reward: float, sample: Any) -> None:
    rest = response.strip().removeprefix("<think>")
    assert Format().score([sample(rest, think_prefilled=True)]) == [reward]
    assert Format().score([sample(response, think_prefilled=True)]) == [0.0]  # twice


@pytest.mark.parametrize(
    ("response", "reward"),
    [
        ("<think>a</think>b", 1.0),
        ("<think>a</think>", 0.0),
        ("<think>a</think><answer>b</answer>", 0.0),
        ("b", 0.0),
    ],
)
def test_plain(response: str, reward: float, sample: Any) -> None:
    assert Format(answer="plain").score([sample(response)]) == [reward]


def test_unknown_answers_are_refused() -> None:
    with pytest.raises(ValueError, match="neither tagged nor plain"):
        Format(answer="boxed")  # type: ignore[arg-type]
