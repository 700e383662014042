"""Plain numbers, with their sign, currency, percent sign, scale, unit or noun, read from one line of LaTeX."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal

from align.rewards.verifiers.math_latex import as_latex
from align.rewards.verifiers.math_text import MONEY, ROMAN
from align.rewards.verifiers.math_units import (
    CARDINALS,
    CJK,
    SCALES,
    TAILS,
    UNITS,
    VARIABLES,
    Unit,
    counted_noun,
    parse_unit,
)
from align.rewards.verifiers.math_words import CHINESE, chinese_number, number_in_words

Kind = Literal["number", "expression", "relation", "list", "set", "tuple", "interval", "union", "ratio", "words"]
DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d+)(?:\.\d*)?|\.\d+"
SIGN = r"[-+]?\s?"
NUMBER = re.compile(
    rf"(?P<sign>{SIGN})(?:"
    r"(?:(?P<whole>\d+)\s*(?:and\s+)?)?\\frac\s*\{\s*(?P<over>[-+]?\d+(?:\.\d+)?)\s*\}\s*\{\s*(?P<under>[-+]?\d+(?:\.\d+)?)\s*\}"
    r"|(?:(?P<whole2>\d+)\s+(?:and\s+)?)?(?P<over2>\d[\d,]*(?:\.\d+)?)\s?/\s?(?P<under2>\d[\d,]*(?:\.\d+)?)"
    r"|(?P<before>\d*)\.(?P<once>\d*)(?:\\overline|\\bar|\\dot|\\overset\{\.\})\s*\{?(?P<again>\d{1,40})\}?"
    r"|10\s*\^\s*\{?\s*(?P<power3>[-+]?\s?\d{1,6})\s*\}?"
    rf"|(?P<digits>{DIGITS})"
    r"(?:\s*(?:\\times|\\cdot|\*|x)\s*10\s*\^\s*\{?\s*(?P<power>[-+]?\s?\d{1,6})\s*\}?|[eE](?P<power2>[-+]?\d{1,6}))?"
    r")"
)
CURRENCY = f"{MONEY}€£¥₹₽₩"
PREFIX = re.compile(rf"(?P<sign>[-+]?)\s?(?P<code>US|Rs\.?|USD|EUR|GBP|INR)?\s?(?P<symbol>[{CURRENCY}]?)\s?(?=[-+\d.])")
# 12,34,567: a number with India's separators, or a list; its last comma alone would separate thousands.
INDIAN = re.compile(
    rf"(?P<sign>-?)(?:[{CURRENCY}]|Rs\.?|INR)?\s?(?P<digits>\d{{1,2}}(?:,\d{{2}})+,\d{{3}}(?:\.\d+)?)(?:\s*/-)?"
)
ORDINAL = re.compile(r"(\d+)\s?(?:\^\{?\s?)?(?:st|nd|rd|th)\}?", re.IGNORECASE)
TIME = re.compile(r"(\d{1,2}):([0-5]\d)(?::([0-5]\d))?\s*([ap]\.?m\.?)?|(\d{1,2})\s*([ap]\.?m\.?)", re.IGNORECASE)
_MONTH = (
    r"(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|"
    r"dec(?:ember)?)\.?"
)
DATE = re.compile(
    rf"{_MONTH}\s+(\d{{1,2}})(?:st|nd|rd|th)?(?:,?\s+(\d{{4}}))?"
    rf"|(\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTH}(?:,?\s+(\d{{4}}))?",
    re.IGNORECASE,
)
RATIO = re.compile(rf"({DIGITS})((?:\s*(?::|\bto\b)\s*(?:{DIGITS}))+)")
OUT_OF = re.compile(rf"({DIGITS})\s+(?:out\s+of|in)\s+({DIGITS})")
BASE = re.compile(r"\(?([0-9A-Za-z]{1,60})\)?\s*(?:_\s*\{?|base(?![a-z]))\s*\(?(\d{1,2}|[a-z]{3,9})\s*\)?\s*\}?")
UNIT_FRACTION = re.compile(r"\\frac\s*\{\s*([^{}\d\\]{1,20})\}\s*\{\s*([^{}\d\\]{1,20}(?:\^\s*\{?\d\}?\s*)?)\}")
CHOOSE = re.compile(r"(?:C|\^\{?\d+\}?C_?)\s*\(\s*(\d+)\s*,\s*(\d+)\s*\)")


@dataclass(frozen=True, slots=True)
class Value:
    """An answer or a reference, or a part of one.

    Args:
        kind: what it is.
        text: LaTeX of an expression or relation; folded words; the brackets of a tuple or interval.
        number: the exact value of a plain number or of a ratio's parts' quotient; of a list, the number that it is as
            well where the commas are India's separators.
        digits: significant digits, if the number is written with a decimal point, else 0.
        items: of a list, set, tuple, interval, union or ratio.
        name: of the variable or function it is the value of, as in ``x = 5``.
        unit: what it is measured in, or what was counted.
        percent: written with a percent sign; ``number`` is without it.
        product: of a number with a unit that may be a variable (``5 m``): LaTeX of the product.
        checks: further members of a chain of equations, which must all be equal to it.
        rounded: decimals behind ``≈``, which must be near it.
    """

    kind: Kind
    text: str = ""
    number: Fraction | None = None
    digits: int = 0
    items: tuple[Value, ...] = ()
    name: str = ""
    unit: Unit | None = None
    percent: bool = False
    product: str = ""
    checks: tuple[Value, ...] = field(default=())
    rounded: tuple[Value, ...] = field(default=())

    def __str__(self) -> str:
        """For people."""
        if self.kind == "number":
            body = str(self.number)
        elif self.kind in ("tuple", "interval"):
            body = self.text[0] + ", ".join(map(str, self.items)) + self.text[1]
        else:
            joint = {"ratio": ":", "union": " ∪ "}.get(self.kind, ", ")
            body = self.text or joint.join(map(str, self.items))
            body = f"{{{body}}}" if self.kind == "set" else body
        unit = "%" if self.percent else f" {self.unit}" if self.unit is not None else ""
        return f"{self.name + ' = ' if self.name else ''}{body}{unit}"


def as_expression(value: Value) -> Value:
    """``5 m`` as five times m; other values as they are."""
    items = tuple(as_expression(item) for item in value.items)
    if value.product:
        return replace(value, kind="expression", text=value.product, number=None, digits=0, unit=None, product="")
    return replace(value, items=items) if items else value


def indian_number(text: str) -> Fraction | None:
    """The number that a list is as well, if it is written with India's separators: 1234567 for ``12,34,567``."""
    found = INDIAN.fullmatch(text)
    return Fraction(found["sign"] + found["digits"].replace(",", "")) if found else None


def read_number(text: str) -> Value | None:
    """A plain number with its sign, currency, percent sign, unit or noun."""
    prefix = PREFIX.match(text)
    start, unit, negative = 0, None, False
    if prefix and (prefix["symbol"] or prefix["code"]):
        name = {"": prefix["code"] or "", MONEY: "$"}.get(prefix["symbol"], prefix["symbol"]).lower().rstrip(".")
        unit, start, negative = parse_unit({"us": "$"}.get(name, name)), prefix.end(), prefix["sign"] == "-"
    found = NUMBER.match(text, start)
    if found is None:
        return None
    number, digits = _exact(found)
    if number is None:
        return None
    value = Value("number", text[start : found.end()], -number if negative else number, digits, unit=unit)
    return _with_suffix(value, text[found.end() :])


def _with_suffix(value: Value, rest: str) -> Value | None:
    """``value`` with the unit, percent sign, scale or noun that follows it; ``None`` if something else follows."""
    spaced = rest.startswith(" ")
    upright = ROMAN in rest
    rest = rest.replace(ROMAN, "").strip()
    if not rest:
        return value
    if fraction := UNIT_FRACTION.fullmatch(rest):
        if value.unit is not None or (unit := parse_unit(f"{fraction[1].strip()}/{fraction[2].strip()}")) is None:
            return None
        return replace(value, unit=unit, product="" if upright else f"{value.text} {rest}")
    if re.fullmatch(r"%|percent|per cent|pct|percentage points?", rest, re.IGNORECASE) and value.unit is None:
        return replace(value, percent=True)
    scale = re.match(r"[^\W\d_]+", rest)
    if scale and value.number is not None:
        word = scale[0].lower()
        known = next(
            (w for w in (word, word[:2], word[:1]) if w in SCALES and (w == word or re.match(f"[{CJK}]", word))), None
        )
        if known == "千" and word[:2] in ("千克", "千米", "千瓦"):
            known = None
        if known:
            larger = replace(value, number=value.number * SCALES[known], digits=0)
            return _with_suffix(larger, rest[len(known) :])
    if (not spaced and rest.lower() in VARIABLES) or (
        value.unit is not None and not TAILS.fullmatch(rest) and counted_noun(rest) is None
    ):
        return None
    if not upright and re.fullmatch(r"[A-Za-z](?:\s?\^\s?\{?\d\}?)?", rest):
        if rest[0] not in "msghlLNJWVAKCF" or value.unit is not None:
            return None
        value = replace(value, product=f"{value.text} {rest}")
    unit = unit_or_noun(rest, value.number)
    if unit is None:
        return None
    if not spaced and not re.match(rf"[°¢{CURRENCY}{CJK}-]|[A-Za-z]{{4}}", rest) and not _known(rest):
        return None
    if value.unit is not None:
        return replace(value, unit=replace(value.unit, noun=unit.noun))
    return replace(value, unit=unit)


def _known(text: str) -> bool:
    """True if the first word is a unit that is no product of variables."""
    word = re.match(r"[A-Za-z]+", text)
    return bool(word and len(word[0]) > 1 and (word[0].lower() in UNITS or word[0].lower() in ("st", "nd", "rd", "th")))


def unit_or_noun(text: str, number: Fraction | None = None) -> Unit | None:
    """The unit, or the counted noun, that all of ``text`` is."""
    text = text.replace(MONEY, "$").strip()
    unit = parse_unit(text)
    if unit is not None:
        return unit
    tail = TAILS.search(text)
    if tail and tail.end() == len(text) and (unit := parse_unit(text[: tail.start()])) is not None:
        return replace(unit, noun=" ".join(tail[0].lower().split()))
    noun = counted_noun(text, number)
    return None if noun is None else Unit(noun=noun)


def _exact(found: re.Match[str]) -> tuple[Fraction | None, int]:
    """The exact value of a match of :data:`NUMBER`, and its digits if it has a decimal point."""
    sign = -1 if "-" in found["sign"] else 1
    over, under = found["over"] or found["over2"], found["under"] or found["under2"]
    if over is not None:
        bottom = Fraction(under.replace(",", ""))
        if bottom == 0:
            return None, 0
        value = Fraction(over.replace(",", "")) / bottom
        whole = found["whole"] or found["whole2"]
        return sign * (value + int(whole or 0)), 0
    if found["again"] is not None:
        once, again = found["once"], found["again"]
        head = Fraction(int(found["before"] or 0)) + (Fraction(int(once), 10 ** len(once)) if once else 0)
        return sign * (head + Fraction(int(again), (10 ** len(again) - 1) * 10 ** len(once))), 0
    power = int((found["power"] or found["power2"] or found["power3"] or "0").replace(" ", ""))
    if abs(power) > 400:
        return None, 0
    if found["power3"] is not None:
        return sign * Fraction(10) ** power, 0
    written = found["digits"].replace(",", "").replace(" ", "").rstrip(".") or "0"
    digits = len(written.replace(".", "").lstrip("0")) if "." in written else 0
    return sign * Fraction(written) * Fraction(10) ** power, digits


def read_number_words(text: str) -> Value | None:
    """A number in words, with a unit or noun."""
    if found := CHINESE.match(text):
        value = chinese_number(found[0])
        return None if value is None else _with_suffix(Value("number", text, Fraction(value)), text[found.end() :])
    words = text.split(" ")
    if not re.match(r"[A-Za-z\d]", text) or len(words) > 16:
        return None
    for cut in range(len(words), 0, -1):
        number = number_in_words(" ".join(words[:cut]))
        if number is not None:
            return _with_suffix(Value("number", text, number), " " + " ".join(words[cut:]))
    return None


def read_special(text: str) -> Value | None:
    """Ordinals, times of day, ratios, shares, numbers in another base."""
    if found := ORDINAL.fullmatch(text):
        return Value("number", text, Fraction(found[1]))
    if found := TIME.fullmatch(text):
        hour, minute = int(found[1] or found[5]), found[2] or "00"
        half = (found[4] or found[6] or "").lower().replace(".", "")
        seconds = f":{found[3]}" if found[3] and found[3] != "00" else ""
        if not half and 13 <= hour <= 23:
            hour, half = hour - 12, "pm"
        if found[1] is None or half or (len(found[2]) == 2 and int(found[1]) < 25):
            return Value("words", f"{hour}:{minute}{seconds} {half}".strip())
    if (found := DATE.fullmatch(text)) is not None:
        month, day = (found[1] or found[5]).lower()[:3], found[2] or found[4]
        return Value("words", f"{month} {int(day)} {found[3] or found[6] or ''}".strip())
    if found := RATIO.fullmatch(text):
        parts = [found[1], *re.split(r"\s*(?::|\bto\b)\s*", found[2])[1:]]
        numbers = tuple(Value("number", p, Fraction(re.sub("[, ]", "", p))) for p in parts)
        return Value("ratio", items=numbers)
    if (found := OUT_OF.fullmatch(text)) and (bottom := Fraction(re.sub("[, ]", "", found[2]))):
        return Value("number", text, Fraction(re.sub("[, ]", "", found[1])) / bottom)
    if found := CHOOSE.fullmatch(text):
        return Value("expression", rf"\binom{{{found[1]}}}{{{found[2]}}}")
    if (found := BASE.fullmatch(text)) and re.search(r"\d", found[1]):
        base = int(found[2]) if found[2].isdigit() else CARDINALS.get(found[2], 0)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[:base]
        if 2 <= base <= 36 and all(c in digits for c in found[1].lower()):
            return Value("words", f"{found[1].lower().lstrip('0') or '0'}_{base}")
    return None


def read_quantity(text: str) -> Value | None:
    """Several numbers with units of one dimension (``2 feet 6 inches``), or an expression with a unit."""
    parts = re.findall(
        r"(\d[\d,]*(?:\.\d+)?)\s*([A-Za-z°]+|[\u4e00-\u9fff]{1,2}|'{1,2}|\")\.?(?:\s+and)?(?:,\s+|\s*)", text
    )
    if len(parts) >= 2 and "".join(a + b for a, b in parts).replace(" ", "") == re.sub(
        r"\s|(?<=\w)\sand(?=\s)|,\s|\.$", "", text
    ).replace("and", ""):
        units = [parse_unit(unit) for _, unit in parts]
        known = [u for u in units if u is not None]
        if len(known) == len(parts) and len({u.dimensions for u in known}) == 1:
            total = sum(
                (Fraction(n.replace(",", "")) * u.factor for (n, _), u in zip(parts, known, strict=True)), Fraction(0)
            )
            return Value("number", text, total, unit=Unit(known[0].dimensions))
    found = re.fullmatch(
        r"(?P<body>.*?(?:[\d})]|\\pi))\s*(?P<unit>°|%|(?<=[\s}])[A-Za-z°][A-Za-z°\s/^*{}\d-]*|[" + CJK + r"]{1,4})",
        text,
        re.DOTALL,
    )
    if found and found["body"].strip():
        latex = as_latex(found["body"])
        if latex is not None and not re.fullmatch(r"[A-Za-z]", found["unit"]):
            if found["unit"] == "%":
                return Value("expression", latex, percent=True)
            if ((unit := unit_or_noun(found["unit"])) is not None and len(found["unit"]) != 1) or (
                unit is not None and found["unit"] == "°"
            ):
                return Value("expression", latex, unit=unit)
    return None
