"""Repetition and length, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from align.rewards.rules.penalties import OverlongPenalty, RepetitionPenalty


@pytest.mark.parametrize(
    ("text", "penalty"),
    [
        ("a b c d", 0.0),
        ("a b a b", -1 / 3),  # ab, ba, ab
        ("A b a B", -1 / 3),
        ("a a a a", -2 / 3),
        ("你好你好", -1 / 3),
        ("1+1+", -1 / 3),
        ("a", 0.0),
        ("", 0.0),
    ],
)
def test_repetition_by_hand(text: str, penalty: float, sample: Any) -> None:
    assert RepetitionPenalty(n=2).score([sample(text)]) == [pytest.approx(penalty)]


def test_a_loop_is_near_minus_one_and_prose_near_zero(sample: Any) -> None:
    loop, prose = sample("Wait, let me check. " * 200), sample(" ".join(f"word{i}" for i in range(1000)))
    scores = RepetitionPenalty().score([loop, prose])
    assert scores[0] is not None
    assert -1.0 < scores[0] < -0.97
    assert scores[1] == 0.0


@pytest.mark.parametrize(("tokens", "penalty"), [(0, 0.0), (80, 0.0), (90, -0.5), (100, -1.0), (500, -1.0)])
def test_overlong_by_hand(tokens: int, penalty: float, sample: Any) -> None:
    assert OverlongPenalty(max_tokens=100, buffer=20).score([sample("x", tokens=tokens)]) == [penalty]


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="n = 0"):
        RepetitionPenalty(n=0)
    with pytest.raises(ValueError, match="buffer = 0"):
        OverlongPenalty(max_tokens=10, buffer=0)
