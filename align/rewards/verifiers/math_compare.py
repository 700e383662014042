"""Equality of two values: structures part by part, numbers with their units, expressions by sympy."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Literal

from align.rewards.verifiers.math_expressions import latex_equal, near, numbers_equal, relations_equal
from align.rewards.verifiers.math_latex import operations
from align.rewards.verifiers.math_numbers import Value, as_expression, read_number
from align.rewards.verifiers.math_text import hedged
from align.rewards.verifiers.math_units import MULTIPLES

Form = Literal["reference", "any"]
POUND, STERLING = (("mass", 1),), (("sterling", 1),)
YEN, YUAN = (("yen", 1),), (("yuan", 1),)
ANGLE, RADIAN = (("angle", 1),), (("radian", 1),)
# In front of an answer in words, folded: "it is tuesday", "it falls on a tuesday".
LED_WORDS = re.compile(
    r"^(?:(?:so|thus|therefore|hence|then),? )?"
    r"(?:(?:(?:it|that|this|the (?:answer|day|month|number)) (?:is|was|will be|falls|fell|must be) )"
    r"(?:on )?|on )(?:an? |the )?"
)
POLAR = re.compile(r"(yes|no|true|false) ?[,.:;-] ?(.+)", re.DOTALL)
POLAR_WORD = re.compile(r"\b(?:yes|no|true|false)\b")
DEGREE = r"\cdot\frac{\pi}{180}"


def same(reference: Value, answer: Value, form: Form = "reference") -> bool:
    """True if the answer is the reference.

    Args:
        form: ``reference``: an answer must be a number where the reference is one, and may use no operation (a sum, an
            integral, a factorial, a sine) that the reference does not use. ``any``: whatever equals it.

    Raises:
        ReferenceError: the reference cannot be read after all.
    """
    if answer.product and reference.kind != "number":
        answer = as_expression(answer)
    if not all(_expressions_equal(answer, check, "any") for check in answer.checks):
        return False  # 6 = 5
    if not all(rounds_to(_latex(answer), decimal) for decimal in answer.rounded):
        return False  # 2 sqrt 3 = 7
    if reference.kind == "number" and reference.digits and answer.kind == "expression" and answer.rounded:
        answer = answer.rounded[-1]  # 0.866 is asked for, and √3/2 ≈ 0.866 given
    if reference.kind == "number" and answer.kind == "relation":
        answer = _quantity(answer) or answer
    if reference.kind == "words" or answer.kind == "words":
        return reference.kind == answer.kind and (
            reference.text == answer.text
            or reference.text == LED_WORDS.sub("", answer.text)
            or _says(answer, reference)
        )
    if reference.name and answer.name and reference.name != answer.name:
        return False
    if reference.kind == "number" and answer.kind == "list" and answer.number is not None:
        answer = Value("number", number=answer.number)
    if reference.kind == "number" and answer.kind == "list" and all(i.kind == "number" for i in answer.items):
        return all(same(reference, item, form) for item in answer.items)  # 72 clips, 72
    if reference.kind in ("number", "expression") and answer.kind in ("number", "expression"):
        return _quantities_equal(reference, answer, form)
    if reference.kind == "relation" and answer.kind == "relation":
        return _relations_equal(reference.text, answer.text)
    return _structures_equal(reference, answer, form)


def rounds_to(latex: str, decimal: Value) -> bool:
    """True if an exact value is the decimal, within a unit of its last digit."""
    written = re.search(r"\.(\d+)$", decimal.text)
    return decimal.number is not None and near(
        latex, decimal.number, Fraction(1, 10 ** len(written[1] if written else ""))
    )


def _says(answer: Value, reference: Value) -> bool:
    """True if a sentence begins with the reference, which is yes, no, true or false, and says no other of these."""
    found = POLAR.fullmatch(answer.text)
    return found is not None and found[1] == reference.text and not hedged(found[2]) and not POLAR_WORD.search(found[2])


def _quantity(relation: Value) -> Value | None:
    """The number of ``m + n = 7``: a quantity made of two letters or more, without numbers, and what it is equal to."""
    name, sign, number = relation.text.partition(" = ")
    letters = set(
        re.findall(
            r"(?<![\\A-Za-z])[A-Za-z]|(?<=[A-Za-z])(?<!\\)[A-Za-z]", re.sub(r"\\[a-z]+|_\s*\{?\w+\}?", " ", name)
        )
    )
    if not sign or len(letters) < 2 or re.search(r"\d", re.sub(r"_\s*\{?\w+\}?|\^\s*\{?[23]\}?", "", name)):
        return None
    return read_number(number.strip())


def _structures_equal(reference: Value, answer: Value, form: Form) -> bool:
    kinds = (reference.kind, answer.kind)
    if "relation" in kinds or any(item.kind == "relation" for side in (reference, answer) for item in side.items):
        if kinds == ("list", "list") and not (as_interval(reference) and as_interval(answer)):
            return _in_any_order(reference.items, answer.items, form)
        ours, theirs = as_interval(reference), as_interval(answer)
        if ours is None or theirs is None:
            return False
        return _structures_equal(ours, theirs, form) if "relation" not in (ours.kind, theirs.kind) else False
    if "ratio" in kinds:
        return _ratios_equal(reference, answer)
    if kinds[0] in ("number", "expression") and kinds[1] in ("set", "list", "tuple"):
        return kinds[1] == "set" and len(answer.items) == 1 and same(reference, answer.items[0], form)
    if kinds[1] in ("number", "expression"):
        return kinds[0] in ("set", "list") and len(reference.items) == 1 and same(reference.items[0], answer, form)
    if len(reference.items) != len(answer.items):
        return False
    unordered = {"set", "list"}
    if set(kinds) <= unordered:
        named = len({item.name for item in reference.items}) > 1 and not any(item.name for item in answer.items)
        return _in_order(reference, answer, form) if named else _in_any_order(reference.items, answer.items, form)
    if kinds == ("union", "union"):
        return _in_any_order(reference.items, answer.items, form)
    if "union" in kinds or "set" in kinds:
        return False
    if "interval" in kinds and reference.text != answer.text:
        return False
    pair = len(reference.items) == 2
    if kinds == ("tuple", "tuple") and pair and reference.text != answer.text:
        return False
    if "interval" in kinds and "list" in kinds:
        return False
    return _in_order(reference, answer, form)


def _in_order(reference: Value, answer: Value, form: Form) -> bool:
    return all(same(ours, theirs, form) for ours, theirs in zip(reference.items, answer.items, strict=True))


def _in_any_order(reference: Sequence[Value], answer: Sequence[Value], form: Form) -> bool:
    """Each item of one side has its own on the other."""
    left = list(answer)
    for item in reference:
        place = next((i for i, other in enumerate(left) if same(item, other, form)), None)
        if place is None:
            return False
        del left[place]
    return not left


def _ratios_equal(reference: Value, answer: Value) -> bool:
    if reference.kind == answer.kind:
        ours = [item.number or Fraction(0) for item in reference.items]
        theirs = [item.number or Fraction(0) for item in answer.items]
        if len(ours) != len(theirs):
            return False
        return (
            all(a * d == b * c for (a, b), (c, d) in itertools.combinations(list(zip(ours, theirs, strict=True)), 2))
            and (any(ours) == any(theirs))
            and all(bool(a) == bool(b) for a, b in zip(ours, theirs, strict=True))
        )
    ratio, other = (reference, answer) if reference.kind == "ratio" else (answer, reference)
    if other.kind != "number" or not re.search(r"/|\\frac", other.text) or len(ratio.items) != 2:
        return False
    over, under = (item.number or Fraction(0) for item in ratio.items)
    return under != 0 and other.number == over / under


def as_interval(value: Value) -> Value | None:
    """An inequality of one variable against numbers as the interval it describes; intervals and unions as they are.

    ``(1, 2)`` stays a tuple: whether it is a point or an interval is not known, and it equals no inequality. With an
    infinite end, or another bracket, it is an interval.
    """
    if value.kind == "tuple":
        infinite = any(r"\infty" in item.text for item in value.items)
        return replace(value, kind="interval") if infinite and len(value.items) == 2 else None
    if value.kind in ("interval", "union"):
        return value
    if value.kind == "list" and value.text == "and":  # 0 <= x and x < 1
        return _intersection([as_interval(item) for item in value.items])
    if value.kind == "list":
        parts = [as_interval(item) for item in value.items]
        return None if any(p is None for p in parts) else Value("union", items=tuple(p for p in parts if p is not None))
    if value.kind != "relation":
        return None
    sides = re.split(r"\s*(\\le|\\ge|<|>)\s+|\s*([<>])\s*", value.text)
    pieces = [piece.strip() for piece in sides if piece and piece.strip()]
    if len(pieces) == 3:
        left, sign, right = pieces
        if not re.fullmatch(r"\\?[A-Za-z]+", left):
            left, right, sign = right, left, {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}.get(sign, "")
        if not re.fullmatch(r"\\?[A-Za-z]+", left) or re.search(r"(?<![\\a-z])[a-df-hj-z](?![a-z])", right):
            return None
        low, high = (_end(r"-\infty"), _end(right)) if sign in ("<", r"\le") else (_end(right), _end(r"\infty"))
        brackets = {"<": "()", r"\le": "(]", ">": "()", r"\ge": "[)"}.get(sign)
    elif len(pieces) == 5 and pieces[1] in ("<", r"\le") and pieces[3] in ("<", r"\le"):
        low, high = _end(pieces[0]), _end(pieces[4])
        brackets = ("(" if pieces[1] == "<" else "[") + (")" if pieces[3] == "<" else "]")
    elif len(pieces) == 5 and pieces[1] in (">", r"\ge") and pieces[3] in (">", r"\ge"):
        low, high = _end(pieces[4]), _end(pieces[0])
        brackets = ("(" if pieces[3] == ">" else "[") + (")" if pieces[1] == ">" else "]")
    else:
        return None
    return None if brackets is None else Value("interval", brackets, items=(low, high))


def _intersection(parts: list[Value | None]) -> Value | None:
    """Of intervals with rational or infinite ends; ``None`` if it is none, or empty."""
    low, high, brackets = _end(r"-\infty"), _end(r"\infty"), "()"
    for part in parts:
        if part is None or part.kind != "interval":
            return None
        left, right = part.items
        if left.number is not None and (low.number is None or left.number > low.number):
            low, brackets = left, part.text[0] + brackets[1]
        if right.number is not None and (high.number is None or right.number < high.number):
            high, brackets = right, brackets[0] + part.text[1]
        if any(end.number is None and "infty" not in end.text for end in part.items):
            return None
    if low.number is None or high.number is None or low.number >= high.number:
        return None
    return Value("interval", brackets, items=(low, high))


def _end(latex: str) -> Value:
    return (
        Value("number", latex, Fraction(latex))
        if re.fullmatch(r"-?\d+(?:\.\d+)?", latex)
        else Value("expression", latex)
    )


def _quantities_equal(reference: Value, answer: Value, form: Form) -> bool:
    if form == "reference" and not _has_form(reference, answer):
        return False
    ours, theirs = reference.unit, answer.unit
    if (ours is not None and answer.percent) or (theirs is not None and reference.percent):
        return False  # 5% is not 5 cm
    if ours is None and theirs is not None and any(MULTIPLES.fullmatch(word) for word in theirs.noun.split()[:1]):
        return False
    if ours is not None and theirs is not None:
        if bool(ours.dimensions) != bool(theirs.dimensions):
            return False
        if not ours.dimensions:
            left, right = set(ours.noun.split()), set(theirs.noun.split())
            return (left <= right or right <= left) and _expressions_equal(reference, answer, form)
        if {ours.dimensions, theirs.dimensions} in ({POUND, STERLING}, {YEN, YUAN}):
            return _expressions_equal(reference, answer, form)
        if {ours.dimensions, theirs.dimensions} == {ANGLE, RADIAN}:
            return _expressions_equal(_in_radians(reference), _in_radians(answer), form)
        if ours.dimensions != theirs.dimensions:
            return False
        return _expressions_equal(_scaled(reference), _scaled(answer), form)
    if any(unit is not None and unit.dimensions == ANGLE for unit in (ours, theirs)) and (
        _expressions_equal(_in_radians(reference), _in_radians(answer), form)
    ):
        return True
    return _expressions_equal(reference, answer, form)


def _has_form(reference: Value, answer: Value) -> bool:
    """True if the answer is as simple as the reference: the verifier does not finish the policy's calculation."""
    if reference.kind == "number":
        if answer.kind != "number":
            angle = reference.unit is not None and reference.unit.dimensions == ANGLE
            return angle and r"\pi" in answer.text and operations(answer.text) <= {"arithmetic"}
        fraction = re.search(r"/|\\frac", answer.text)
        whole = reference.number is not None and reference.number.denominator == 1
        return (
            not (fraction and whole and not reference.percent and _factor(reference) == _factor(answer))
            or "/" in reference.text
            or r"\frac" in reference.text
        )
    if answer.kind == "number":
        return True
    return operations(answer.text) <= operations(reference.text) | {"arithmetic"}


def _factor(value: Value) -> Fraction:
    return Fraction(1) if value.unit is None else value.unit.factor


def _scaled(value: Value) -> Value:
    """In base units, without the unit."""
    factor = _factor(value)
    if value.number is not None:
        return replace(value, number=value.number * factor, unit=None)
    return replace(value, text=rf"({value.text})\cdot\frac{{{factor.numerator}}}{{{factor.denominator}}}", unit=None)


def _in_radians(value: Value) -> Value:
    if value.unit is None or value.unit.dimensions != ANGLE:
        return replace(value, unit=None)
    return replace(value, kind="expression", text=rf"({_latex(value)}){DEGREE}", number=None, unit=None)


def _latex(value: Value) -> str:
    if value.number is None:
        return value.text
    return rf"\frac{{{value.number.numerator}}}{{{value.number.denominator}}}"


def _expressions_equal(reference: Value, answer: Value, form: Form) -> bool:
    """True if the values are equal, units aside. A percentage equals its number and its fraction."""
    if reference.percent != answer.percent:
        whole = replace(reference, percent=False), replace(answer, percent=False)
        if _expressions_equal(*whole, form):
            return True
        part = (
            _hundredth(whole[0]) if reference.percent else whole[0],
            _hundredth(whole[1]) if answer.percent else whole[1],
        )
        return _expressions_equal(*part, form)
    if reference.number is not None and answer.number is not None:
        return numbers_equal(reference.number, reference.digits, answer.number, answer.digits)
    return latex_equal(_latex(reference), _latex(answer), max(reference.digits, answer.digits))


def _hundredth(value: Value) -> Value:
    if value.number is not None:
        return replace(value, number=value.number / 100)
    return replace(value, text=rf"\frac{{{value.text}}}{{100}}")


def _relations_equal(reference: str, answer: str) -> bool:
    """True if two equations or inequalities in the same variables have the same solutions."""
    if re.sub(r"\s", "", reference) == re.sub(r"\s", "", answer):
        return True
    ours, theirs = as_interval(Value("relation", reference)), as_interval(Value("relation", answer))
    if ours is not None and theirs is not None:
        return _structures_equal(ours, theirs, "any")
    return relations_equal(reference, answer)
