"""The value of a reference, and of an answer, which may have to be found in a sentence."""

from __future__ import annotations

import re
from dataclasses import replace

from align.rewards.verifiers.math_numbers import CURRENCY, Value, as_expression
from align.rewards.verifiers.math_reading import read_value
from align.rewards.verifiers.math_text import candidates, hedged, tidy, words_of
from align.rewards.verifiers.math_units import CJK, PARTS, SCALES

LAST = re.compile(
    rf"(?:^|(?<=[\s=:,{CURRENCY}{CJK}]))(?P<value>[-+]?[{CURRENCY}]?-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:/\d+)?%?)"
    r"(?P<rest>(?!\s*-)[^\d\\=+*/^<>?@#&|~_{}]*)$"
)
# A word, an equals sign or a colon stands before the number, and no command or other sign.
INTRODUCED = re.compile(rf"^\s*$|(?:(?<![\\A-Za-z])[A-Za-z]+[',]?|[{CJK}=:]|[{CURRENCY}])\s*$")
# Words right before or behind a number that make another one of it.
_CHANGES = """
of to by from twice thrice half double triple minus negative plus times over than root square squared cube cubed log
factorial mod modulo base per percent until till within between above below beyond under up divided multiplied raised
power choose inverse reciprocal opposite menos moins meno минус negativo negatif negativ
"""
CHANGES = frozenset(_CHANGES.split())
MOST_WORDS = 3  # of a reference that is no mathematics; longer texts are sentences, which no answer repeats


def read_reference(text: str) -> Value:
    """The value of a reference answer. Words are words: nothing is searched in a sentence.

    A letter behind a number is a variable between dollars, and a unit (``5 m``) in plain text.
    """
    value = read_value(tidy(text))
    formula = any(mark in text for mark in ("$", r"\(", r"\["))
    return as_expression(value) if formula else replace(value, product="")


def read_answer(text: str, *, marked: bool) -> Value:
    """The value of an answer.

    Args:
        marked: the text is the answer. Otherwise it is looked for in the text, as it is in a marked sentence.

    Raises:
        Unreadable: see :func:`tidy`.
    """
    if marked:
        value = read_value(tidy(text))
        if value.kind != "words" or len(value.text.split()) < 4 or hedged(value.text):
            return value
    last = Value("words", " ".join(text.split())[:200])
    for passage in candidates(text):
        last = read_passage(tidy(passage))
        if last.kind != "words":
            break
    return last


def read_passage(text: str) -> Value:
    """A sentence that gives the answer: all of it, or its last number if nothing in it is hedged."""
    value = read_value(text)
    if value.kind == "list" and any(item.unit is not None and item.unit.noun for item in value.items):
        return value.items[-1]  # 5 apples and 3 pears, 8 fruits in total
    if value.kind != "words" or hedged(text):
        return value
    if re.search(r"\b(?:and|or|minus|negative|plus)\b|[,、]\s*-?\d+\s*$", text):
        clause = re.split(r"[,;]\s+|\s+(?:and|so)\s+", text)[-1]
        return value if clause == text else _last_number(clause, value)
    return _last_number(text, value)


def _last_number(text: str, otherwise: Value) -> Value:
    """The last number of a sentence, if what surrounds it is prose that neither changes it nor has another."""
    value = read_value(text)
    if value.kind != "words":
        return value
    found = LAST.search(text)
    if found is None or not INTRODUCED.search(before := text[: found.start("value")]) or hedged(rest := found["rest"]):
        return otherwise
    left, right = words_of(before), words_of(rest)
    if re.match("[多余餘几幾倍半百千万萬亿億点點]", rest):
        return otherwise
    if (left and left[-1] in CHANGES and before.rstrip().lower().endswith(left[-1])) or re.match("[A-Za-z]", rest):
        return otherwise
    if right and (right[0] in CHANGES or right[0] in SCALES or right[0] in PARTS):
        return otherwise
    return read_value(found["value"])
