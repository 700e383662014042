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
    loop, prose = (
        sample("Wait, let me check. " * 200),
        sample(" ".join(chr(97 + i % 26) * (1 + i // 26) for i in range(1000))),
    )
    scores = RepetitionPenalty().score([loop, prose])
    assert scores[0] is not None
    assert -1.0 < scores[0] < -0.97
    assert scores[1] == 0.0


@pytest.mark.parametrize("every", [10, 15, 19])
def test_a_loop_that_changes_a_word_now_and_then_is_one(every: int, sample: Any) -> None:
    loop = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda"]
    changed = (f"{'abcdefghij'[i % 10]}{'klmnopqrst'[i // 10 % 10]}{'uvwxyz'[i // 100 % 6]}" for i in range(1000))
    words = [next(changed) if i % every == 0 else loop[i % len(loop)] for i in range(1000)]
    (score,) = RepetitionPenalty().score([sample(" ".join(words))])
    assert score is not None
    assert score < -0.8


@pytest.mark.parametrize("every", [4, 5, 6, 7, 8])
def test_a_loop_that_changes_a_word_often_is_one(every: int, sample: Any) -> None:
    loop = ["we", "see", "that", "the", "sum", "is", "even"][: every - 1]
    changed = (f"{'abcdefghij'[i % 10]}{'klmnopqrst'[i // 10 % 10]}{'uvwxyz'[i // 100 % 6]}" for i in range(1000))
    words = [word for _ in range(800 // every) for word in (*loop, next(changed))]
    (score,) = RepetitionPenalty().score([sample(" ".join(words))])
    assert score is not None
    assert score < -0.8


@pytest.mark.parametrize(
    "loop",
    [
        "\n" * 5000,
        " " * 50_000,
        "\u200b" * 5000,
        "loop" * 2000,
        "".join(f"loop{i} " for i in range(2000)),
        ", ".join(map(str, range(3000))),
        "\n".join(f"Step {i}:" for i in range(1000)),
        "x = 1 \\\\ \n" * 500,
        "".join(f"wait{chr(0x200B + i % 4)} " for i in range(2000)),
    ],
    ids=["lines", "spaces", "invisible", "unspaced", "numbered", "counting", "steps", "formulas", "disguised"],
)
def test_loops_of_any_kind_are_near_minus_one(loop: str, sample: Any) -> None:
    ((penalty, reason),) = RepetitionPenalty().explain([sample("Let us think about this problem. " + loop)])
    assert penalty is not None
    assert -1.0 <= penalty < -0.9
    assert "occurred before" in reason


@pytest.mark.parametrize(
    "text",
    [
        " ".join(
            f"Check n={n}: {n}*{n}+1={n * n + 1}, which {'is' if n % 3 else 'is not'} prime." for n in range(1, 60)
        ),
        "\n\n".join(f"We take {n} of the {n * n} apples, and {n + 3} are left over for Tom." for n in range(40)),
        "2, 3, 5, 7, 11, 13, 17, 19, 23, 29 are the primes below thirty.",
    ],
    ids=["cases", "paragraphs", "list"],
)
def test_honest_lists_are_not_penalised(text: str, sample: Any) -> None:
    assert RepetitionPenalty().score([sample(text)])[0] == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize(("tokens", "penalty"), [(0, 0.0), (80, 0.0), (90, -0.5), (100, -1.0), (500, -1.0)])
def test_overlong_by_hand(tokens: int, penalty: float, sample: Any) -> None:
    assert OverlongPenalty(max_tokens=100, buffer=20).score([sample("x", tokens=tokens)]) == [penalty]


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="n = 0"):
        RepetitionPenalty(n=0)
    with pytest.raises(ValueError, match="buffer = 0"):
        OverlongPenalty(max_tokens=10, buffer=0)
