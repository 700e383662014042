"""Numbers in words: ``minus twenty-five``, ``three and a half``, ``七十二``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from align.rewards.verifiers.math_units import CARDINALS, PARTS, SCALES


def number_in_words(text: str) -> Fraction | None:
    """The value of ``minus twenty-five``, ``one hundred and five``, ``two thirds``, ``3 dozen``, ``1.5 million``."""
    words = re.sub(r"(?<=[a-z])-(?=[a-z])", " ", text.lower()).split()
    if mixed := re.fullmatch(r"(.*\S) and ((?:an?|one|two|three) \S+)", " ".join(words)):
        whole, part = number_in_words(mixed[1]), mixed[2].split()
        if whole is not None and whole.denominator == 1 and part[-1] in PARTS and PARTS[part[-1]] < 10:
            share = number_in_words(mixed[2])
            return None if share is None or not 0 < share < 1 else whole + (share if whole >= 0 else -share)
    sign = 1
    if words[:1] and words[0] in ("minus", "negative"):
        sign, words = -1, words[1:]
    if not words or len(words) > 20:
        return None
    if words[-1] in PARTS and len(words) > 1:
        top = Fraction(1) if words[:-1] in (["a"], ["an"]) else _cardinal(words[:-1])
        return None if top is None else sign * top / PARTS[words[-1]]
    if words == ["half"]:
        return Fraction(sign, 2)
    value = _cardinal(words)
    return None if value is None else sign * value


CHINESE_DIGITS = {c: n for n, c in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "兩": 2}
CHINESE = re.compile("[零〇一二两兩三四五六七八九十百千万萬亿億]+")


def chinese_number(text: str) -> int | None:
    """The value of ``七十二``, ``一百零五``, ``两万三千``; ``None`` for characters in another order."""
    total = section = digit = 0
    size, larger = 10**4, 10**12  # the last unit within a section, and of a section
    waiting = False
    for char in text:
        if char in CHINESE_DIGITS:
            if waiting and digit:
                return None
            digit, waiting = CHINESE_DIGITS[char], char not in "零〇"
            continue
        unit = {"十": 10, "百": 100, "千": 1000}.get(char)
        if unit is not None:
            if unit >= size or (not waiting and (unit > 10 or section)):
                return None
            section, size = section + (digit if waiting else 1) * unit, unit
        else:
            unit = 10**4 if char in "万萬" else 10**8
            if unit >= larger or not section + digit:
                return None
            total, section, larger, size = total + (section + digit) * unit, 0, unit, 10**4
        digit, waiting = 0, False
    return total + section + digit


def _cardinal(words: Sequence[str]) -> Fraction | None:
    total = group = Fraction(0)
    previous = ""  # what kind of word came before
    for word in words:
        if word in SCALES:
            size = SCALES[word]
            if previous == "" or (previous == "scale" and size < 1000):
                return None
            if size >= 1000:
                total, group = (total + group * size if group else total * size), Fraction(0)
            else:
                group = (group or Fraction(1)) * size
            previous = "scale"
        elif word in CARDINALS:
            size = CARDINALS[word]
            if previous == "one" or (previous == "ten" and not 0 < size < 10):
                return None
            group += size
            previous = "ten" if size >= 20 else "one"
        elif re.fullmatch(r"\d+(?:\.\d+)?", word) and previous in ("", "scale"):
            group += Fraction(word)
            previous = "one"
        elif word == "and" and previous == "scale":
            continue
        elif word in ("a", "an") and previous == "":
            group, previous = Fraction(1), "article"
        else:
            return None
    return None if previous in ("", "article") else total + group
