"""The value of a reference, and of an answer, which may have to be found in a sentence."""

from __future__ import annotations

import re
from dataclasses import replace

from align.rewards.verifiers.math_numbers import CURRENCY, Value, as_expression
from align.rewards.verifiers.math_passages import announced_before, candidates, rivals
from align.rewards.verifiers.math_phrases import DISCLAIMED, TRANSFORMED, misleading
from align.rewards.verifiers.math_reading import read_value
from align.rewards.verifiers.math_text import hedged, tidy, words_of
from align.rewards.verifiers.math_units import CARDINALS, CJK, PARTS, SCALES

LAST = re.compile(
    rf"(?:^|(?<=[\s=:,{CURRENCY}{CJK}]))(?P<value>[-+]?[{CURRENCY}]?-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:/\d+)?%?)"
    r"(?P<rest>(?!\s*-)[^\d\\=+*/^<>?@#&|~_{}]*)$"
)
# A word, an equals sign or a colon stands before the number, and no command or other sign; 3:15 is a time or a ratio.
INTRODUCED = re.compile(rf"^\s*$|(?:(?<![\\A-Za-z])[^\W\d_]+[',]?|[{CJK}=]|(?<!\d):|[{CURRENCY}])\s*$")
# A number with its noun at the beginning of a sentence, in front of what happens to it.
FIRST = re.compile(
    rf"[-+]?[{CURRENCY}]?-?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?(?:\s+[A-Za-z]+){{0,3}}?"
    r"(?=,?\s+(?:in|for|after|because|since|as|when|at|on|during|from|with|which|that|while|where|to)\s)"
)
# Behind a number without a noun: a power, a range, a difference.
_ORDINAL = r"(?:\d+(?:st|nd|rd|th)|n-?th|first|second|third|(?:four|fif|six|seven|eigh|nin|ten|\w+teen|\w+tie)th)"
COMPUTED = re.compile(
    rf"\s+(?:to\s+(?:(?:the\s+)?(?:(?:power|minus|negative|{_ORDINAL})\b|[-+]?\d)|an?\s+power\b|the\s+\w+\s+power\b"
    rf"|(?:{'|'.join(CARDINALS)})\b)|from\s+[-+]?\d)",
    re.IGNORECASE,
)
# At the end of a sentence: why it is so, and of what the number is made. Numbers in it are not the answer.
REASON = re.compile(
    r"[,;]?\s+(?:because|since|rejecting|discarding)\b.*$"
    r"|\s*\((?:since|because|as|rejecting|discarding|ignoring|excluding|including|by|using)\b[^()]*(?:\([^()]*\)[^()]*)*\)\W*$"
    r"|\s*\(\d+\s+[a-z]+(?:(?:,|\s+and|\s+plus|,\s+and)\s+\d+\s+[a-z]+)+\)\W*$",
    re.IGNORECASE | re.DOTALL,
)
# Two numbers, the second in an adverbial: it takes 73 minutes to walk 72 miles.
AMBIGUOUS = re.compile(
    r"\d[^\d=:,;]*\s(?:in|to|for|after|within|every|during|at|over)\s+(?!get\b|be\b|make\b|give\b|a\s+total)(?:[a-z]+\s+){0,2}$"
)
# Words right before or behind a number that make another one of it.
_CHANGES = """
doubled halved tripled quadrupled something grand
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


def read_answer(text: str, *, marked: bool, behind: str = "") -> Value:
    """The value of an answer.

    Args:
        marked: the text is the answer. Otherwise it is looked for in the text, as it is in a marked sentence.
        behind: the text behind a marked answer. A value that it gives as well must be equal to the answer.

    Raises:
        Unreadable: see :func:`tidy`.
    """
    value = _read_answer(text, marked=marked)
    if not behind or value.kind not in ("number", "expression"):
        return value
    others = [read_passage(tidy(passage)) for passage in rivals(behind)]
    if any(other.kind in ("list", "set") for other in others):
        return Value("words", "another answer is given behind it")
    known = [other for other in others if other.kind in ("number", "expression")]
    near = tuple(other for other in known if _endless(value) and other.digits)
    exact = tuple(other for other in known if other not in near)
    return replace(value, checks=(*value.checks, *exact), rounded=(*value.rounded, *near))


def _read_answer(text: str, *, marked: bool) -> Value:
    if marked:
        line = tidy(text)
        value = read_value(line)
        if TRANSFORMED.search(line):
            return Value("words", line.casefold()[:200])
        if value.kind != "words" or len(value.text.split()) < 4 or hedged(line):
            return value
    last = Value("words", " ".join(text.split())[:200])
    for passage in candidates(text):
        last = read_passage(tidy(passage))
        if last.kind != "words":
            break
    before = announced_before(text)
    if last.kind == "number" and before is not None:
        rival = read_passage(tidy(before))
        if rival.kind == "number" and _differ(rival, last):
            return Value("words", "two different answers are announced")
    return last


def _endless(value: Value) -> bool:
    """True for a value without a finite decimal, of which a decimal can only be a rounding."""
    if value.number is None:
        return value.kind == "expression"
    rest = value.number.denominator
    for factor in (2, 5):
        while rest % factor == 0:
            rest //= factor
    return rest > 1


def _differ(one: Value, other: Value) -> bool:
    """True for two numbers that differ whatever is counted; numbers with different units are not told apart."""
    units = [value.unit.dimensions for value in (one, other) if value.unit is not None]
    return one.number != other.number and len(set(units)) < 2 and one.percent == other.percent


def without_reason(text: str) -> str:
    """A sentence without the reason or the breakdown at its end: ``x = 7 (since x > 0)``, ``7 (3 red and 4 green)``."""
    found = REASON.search(text)
    if found is None or not re.search(r"\d", text[: found.start()]) or DISCLAIMED.search(found[0]):
        return text
    return text[: found.start()]


def read_passage(text: str) -> Value:
    """A sentence that gives the answer: all of it, or its number if nothing in it is hedged.

    That is the number at its beginning (``73 clips in 72 months``), else the last one.
    """
    value = read_value(text)
    if value.kind in ("words", "list") and (shorter := without_reason(text)) != text:
        return read_passage(shorter)
    if value.kind == "list" and any(item.unit is not None and item.unit.noun for item in value.items):
        return value if hedged(text) else value.items[-1]  # 5 apples and 3 pears, 8 fruits in total
    if value.kind != "words" or hedged(text) or misleading(text):
        return value
    if (
        (found := FIRST.match(text))
        and not found[0].endswith("times")
        and (found[0][-1].isalpha() or not COMPUTED.match(text, found.end()))
        and (first := read_value(found[0])).kind == "number"
    ):
        return first
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
    if AMBIGUOUS.search(before):
        return otherwise
    left, right = words_of(before), words_of(rest)
    if re.match("[多余餘几幾倍半百千万萬亿億点點]", rest):
        return otherwise
    if (left and left[-1] in CHANGES and before.rstrip().lower().endswith(left[-1])) or re.match("[A-Za-z]", rest):
        return otherwise
    if right and (right[0] in CHANGES or right[0] in SCALES or right[0] in PARTS) and right != ["times"]:
        return otherwise
    return read_value(found["value"])
