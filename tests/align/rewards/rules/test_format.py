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


NOTHING = [
    "\u200b",
    "\u00ad",
    "\u3164",
    "\u2800",
    "\u2060\ufeff",
    ".",
    "...",
    "…",
    "-",
    "\n \t",
    "\u180e",
    "\u115f",
    "\u00a0",
]


@pytest.mark.parametrize("nothing", NOTHING, ids=lambda text: text.encode("unicode_escape").decode())
def test_what_shows_nothing_is_no_thought_and_no_answer(nothing: str, sample: Any) -> None:
    texts = [f"<think>{nothing}</think><answer>5</answer>", f"<think>2+3</think><answer>{nothing}</answer>"]
    assert Format().score([sample(text) for text in texts]) == [0.0, 0.0]
    assert Format(answer="plain").score([sample(f"<think>2+3</think>{nothing}")]) == [0.0]


@pytest.mark.parametrize(
    "text",
    [
        "<think>a<think>b</think></think><answer>5</answer>",
        "<think>a<answer>5</answer></think>",
        "<think>a</think><answer>5<think>b</think></answer>",
        "<think>a</think><answer>4</answer><answer>5</answer>",
        "<think>a<answer></think>5</answer>",
        "<think>a</think><answer>5</answer></THINK>",
        "<think>a</think><answer>5< / answer ></answer>",
        "<Think>a</Think><answer>5</answer>",
        "<think>a</think><answer>5</answer>\u200bmore",
    ],
)
def test_nested_repeated_and_misspelt_tags(text: str, sample: Any) -> None:
    assert Format().score([sample(text)]) == [0.0]


def test_the_reason_names_the_fault(sample: Any) -> None:
    texts = [
        "5",
        "x<think>a</think><answer>5</answer>",
        "<think>a</think>so<answer>5</answer>",
        "<think>a</think><answer>5</answer>",
    ]
    reasons = [reason for _, reason in Format().explain([sample(text) for text in texts])]
    assert "found none" in reasons[0]
    assert "in front of <think>" in reasons[1]
    assert "between </think> and <answer>" in reasons[2]
    assert reasons[3] == "the layout holds"
