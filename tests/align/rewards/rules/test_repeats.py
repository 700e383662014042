"""Shares of a text that occurred before, by hand, and against counting them one by one."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import pytest

from align.rewards.rules import repeats
from align.rewards.rules.penalties import RepetitionPenalty
from align.rewards.rules.repeats import PIECE, WINDOW, are_numbers, characters, covered_share, numbered, repeated_share


def test_numbers_by_hand() -> None:
    assert numbered(["b", "a", "b", ""]).tolist() == [0, 1, 0, 2]
    assert are_numbers(["1", "a", "²", "1a", "٣"]).tolist() == [True, False, True, False, True]
    assert characters("aé好\ud800").tolist() == [97, 233, 0x597D, 0xD800]


def test_shares_by_hand() -> None:
    units = numbered(list("abab"))
    assert repeated_share(units, 1) == 0.5
    assert repeated_share(units, 2) == pytest.approx(1 / 3)  # ab, ba, ab
    assert repeated_share(units, 3) == repeated_share(units, 5) == 0.0
    assert repeated_share(units[:0], 1) == 0.0


def test_covered_windows_by_hand() -> None:
    words = list(range(100))
    # units 100 to 199 are covered; windows from the 88th on have 48 of them
    assert covered_share(numbered([str(i) for i in words * 2])) == 53 / 141
    assert covered_share(numbered([str(i) for i in range(200)])) == 0.0
    assert covered_share(numbered([str(i) for i in words[:50] * 2])) == 0.0  # shorter than two windows
    both = numbered([*map(str, words), *(f"{i}x" if i % 5 == 4 else str(i) for i in words)])
    assert covered_share(both) == 0.0  # four words in a row are no piece
    # units 100 to 198 lie in pieces with one change inside: windows from the 98th on have 57 of them
    assert covered_share(both, one_changed=True) == 44 / 141


def counted_one_by_one(units: Sequence[str], length: int) -> float:
    """The share of n-grams that occurred before; those of numbers and at most three other units without the numbers."""
    grams = []
    for at in range(len(units) - length + 1):
        plain = tuple("0" if are_numbers([unit])[0] else unit for unit in units[at : at + length])
        grams.append(plain if len(set(plain) - {"0"}) <= 3 else tuple(units[at : at + length]))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def covered_one_by_one(units: Sequence[str], *, one_changed: bool) -> float:
    """The windows of which a share lies in pieces seen before."""
    seen: set[tuple[str | None, ...]] = set()
    covered = [False] * len(units)
    for at in range(len(units) - PIECE + 1):
        piece = tuple(units[at : at + PIECE])
        pieces = [piece, *((*piece[:i], None, *piece[i + 1 :]) for i in range(1, PIECE - 1) if one_changed)]
        if not seen.isdisjoint(pieces):
            covered[at : at + PIECE] = [True] * PIECE
        seen.update(pieces)
    windows = [sum(covered[at : at + WINDOW]) for at in range(len(units) - WINDOW + 1)]
    return sum(inside >= (57 if one_changed else 48) for inside in windows[WINDOW:]) / len(windows)


@pytest.mark.parametrize("seed", range(12))
def test_the_same_as_counting_one_by_one(seed: int) -> None:
    draw = random.Random(seed)
    words = draw.sample(["alpha", "beta", "x", "12", "7", "0", "+", "=", "好", "é", "word", "$"], 3 + seed % 5)
    loop = [draw.choice(words) for _ in range(draw.randint(20, 60))]
    units = [draw.choice(words) if draw.random() < 0.05 else loop[at % len(loop)] for at in range(200)]
    numbers = numbered(units)
    for length in (10, 20, 200, 201):
        found = repeats.repeated_share_of_counting(numbers, are_numbers(units), length)
        assert found == counted_one_by_one(units, length)
    for one_changed in (False, True):
        assert covered_share(numbers, one_changed=one_changed) == covered_one_by_one(units, one_changed=one_changed)


def test_time_grows_with_the_text_and_not_faster(sample: object) -> None:
    """A text of eight times the length takes about eight times as long; sorting adds a little."""
    draw = random.Random(0)
    text = "".join(draw.choice("+-*/=()[]{}<>") for _ in range(160_000)) + "\u200b"

    def seconds(size: int) -> float:
        began = time.process_time()
        RepetitionPenalty().explain([sample(text[-size:])])  # type: ignore[operator]
        return time.process_time() - began

    seconds(20_000)
    assert seconds(160_000) < 20 * max(min(seconds(20_000) for _ in range(3)), 0.01)
