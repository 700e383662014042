"""Whether two values are the same: plain numbers exactly, structures part by part, expressions by sympy.

Only the comparison of expressions needs sympy, and only their parsing and the solving of relations needs math-verify.
Both compare small numbers by absolute differences; here differences are relative, so that 1/20! is not 1/21!.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, Literal

from align.rewards.verifiers.math_latex import operations
from align.rewards.verifiers.math_reading import Value, as_expression

Form = Literal["reference", "any"]

DECIMALS = 8  # significant digits that a decimal must have to stand for a number without a finite one, such as 1/3
ROUNDING = Fraction(5, 10**8)  # relative, of such a decimal
FLOAT_DIGITS, FLOAT_ERROR = 15, Fraction(1, 10**14)  # of a binary floating-point number, written out
PRECISION = 60  # decimal digits of numerical comparison
POINTS = (  # values given to variables, in turn, to tell two expressions apart
    (Fraction(7, 5), Fraction(11, 4), Fraction(17, 9), Fraction(23, 6), Fraction(29, 11), Fraction(31, 8)),
    (Fraction(13, 3), Fraction(5, 7), Fraction(19, 6), Fraction(8, 3), Fraction(27, 8), Fraction(9, 7)),
    (Fraction(-6, 5), Fraction(-15, 7), Fraction(-9, 4), Fraction(-12, 5), Fraction(-20, 9), Fraction(-31, 10)),
    (Fraction(5), Fraction(3), Fraction(4), Fraction(7), Fraction(2), Fraction(6)),
)
POUND, STERLING = (("mass", 1),), (("sterling", 1),)
YEN, YUAN = (("yen", 1),), (("yuan", 1),)
ANGLE, RADIAN = (("angle", 1),), (("radian", 1),)
DECIMAL = re.compile(r"(?<![\w.])(\d*)\.(\d{1,300})(?!\d)")  # made a fraction, lest sympy keep 15 digits of it
DEGREE = r"\cdot\frac{\pi}{180}"


class ReferenceError(ValueError):
    """sympy cannot read an expression of the reference."""


def same(reference: Value, answer: Value, form: Form = "reference") -> bool:
    """Whether the answer is the reference.

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
    if reference.kind == "words" or answer.kind == "words":
        return reference.kind == answer.kind and reference.text == answer.text
    if reference.name and answer.name and reference.name != answer.name:
        return False
    if reference.kind in ("number", "expression") and answer.kind in ("number", "expression"):
        return _quantities_equal(reference, answer, form)
    if reference.kind == "relation" and answer.kind == "relation":
        return _relations_equal(reference.text, answer.text)
    return _structures_equal(reference, answer, form)


# --- structures ------------------------------------------------------------------------------------------------------


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


def _end(latex: str) -> Value:
    return Value("number", latex, Fraction(latex)) if re.fullmatch(r"-?\d+", latex) else Value("expression", latex)


# --- numbers and units -----------------------------------------------------------------------------------------------


def _quantities_equal(reference: Value, answer: Value, form: Form) -> bool:
    if form == "reference" and not _has_form(reference, answer):
        return False
    ours, theirs = reference.unit, answer.unit
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
    """Whether the answer is written as the reference is, or simpler: the verifier does not do the policy's sum."""
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
    """Whether the values are equal, units aside. A percentage equals its number and its fraction."""
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


def numbers_equal(ours: Fraction, our_digits: int, theirs: Fraction, their_digits: int) -> bool:
    """Exactly, but for a decimal that stands for a fraction without a finite one, or that a computer wrote."""
    if ours == theirs:
        return True
    difference = abs(ours - theirs)
    scale = max(abs(ours), abs(theirs))
    if max(our_digits, their_digits) >= FLOAT_DIGITS and difference <= FLOAT_ERROR * scale:
        return True
    endless = [_is_endless(number) and digits == 0 for number, digits in ((ours, our_digits), (theirs, their_digits))]
    return any(endless) and max(our_digits, their_digits) >= DECIMALS and difference <= ROUNDING * scale


def _is_endless(number: Fraction) -> bool:
    bottom = number.denominator
    for prime in (2, 5):
        while bottom % prime == 0:
            bottom //= prime
    return bottom != 1


# --- expressions -----------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def parsed(latex: str) -> Any:
    """The sympy expression, or ``None`` if math-verify's grammar does not take the text."""
    import sympy
    from latex2sympy2_extended import NormalizationConfig, latex2sympy, normalize_latex
    from math_verify.grader import should_treat_as_complex

    config = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
    )
    exact = DECIMAL.sub(lambda m: rf"{{\frac{{{int(m[1] + m[2])}}}{{{10 ** len(m[2])}}}}}", latex)
    text = normalize_latex(exact, config=config)
    real = not should_treat_as_complex(text)
    try:
        found = latex2sympy(text, is_real=real, convert_degrees=False, normalization_config=None)
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception:
        return None
    if not real and isinstance(found, sympy.Basic) and not re.search(r"_\s*\{?\s*i(?![a-z])", text):
        found = found.subs({symbol: sympy.I for symbol in found.free_symbols if symbol.name == "i"})
    return found


def latex_equal(reference: str, answer: str, digits: int = 0) -> bool:
    """Whether two expressions are equal for all values of their variables.

    Args:
        digits: significant digits, if one of them is a decimal.
    """
    if re.sub(r"\s", "", reference) == re.sub(r"\s", "", answer):
        return True
    ours = parsed(reference)
    if ours is None:
        raise ReferenceError(f"sympy cannot read {reference[:80]!r}")
    theirs = parsed(answer)
    return theirs is not None and objects_equal(ours, theirs, digits)


def objects_equal(ours: Any, theirs: Any, digits: int = 0) -> bool:
    """The same of sympy objects."""
    import sympy

    if isinstance(ours, sympy.MatrixBase) or isinstance(theirs, sympy.MatrixBase):
        return (
            isinstance(ours, sympy.MatrixBase)
            and isinstance(theirs, sympy.MatrixBase)
            and ours.shape == theirs.shape
            and all(objects_equal(a, b, digits) for a, b in zip(ours.flat(), theirs.flat(), strict=True))
        )
    if not isinstance(ours, sympy.Expr) or not isinstance(theirs, sympy.Expr):
        return bool(ours == theirs)
    if ours.is_infinite or theirs.is_infinite:
        return bool(ours == theirs)
    first = {s.name: s for s in sorted(ours.free_symbols, key=str)}
    second = {s.name: s for s in sorted(theirs.free_symbols, key=str)}
    if first.keys() - second.keys() and second.keys() - first.keys():
        return False
    theirs = theirs.subs({symbol: first[name] for name, symbol in second.items() if name in first})
    if ours == theirs:
        return True
    names = sorted(first.keys() | second.keys())
    if not names:
        return bool(_close(ours, theirs, digits))
    return _equal_at_points(ours, theirs, [first.get(name, second.get(name)) for name in names])


def _equal_at_points(ours: Any, theirs: Any, symbols: list[Any]) -> bool:
    """Compare numerically at several points; where that tells nothing, let sympy simplify the difference."""
    import sympy

    told = 0
    for row in POINTS:
        values = {
            symbol: sympy.Rational(v.numerator, v.denominator) for symbol, v in zip(symbols, itertools.cycle(row))
        }
        if len(symbols) > len(row):
            values = {s: v + i for i, (s, v) in enumerate(values.items())}
        verdict = _close(ours.subs(values), theirs.subs(values), 0)
        if verdict is False:
            return False
        told += verdict is True
    if told >= 2:
        return True
    difference = sympy.simplify(ours - theirs)
    return bool(difference.is_zero)


def _close(ours: Any, theirs: Any, digits: int) -> bool | None:
    """Whether two numbers are equal to :data:`PRECISION` digits; ``None`` if they have no numerical value."""
    import sympy

    ours, theirs = ours.doit(), theirs.doit()
    if ours == theirs:
        return (bool(ours.is_number) and ours is not sympy.nan) or None
    if isinstance(ours, sympy.Rational) and isinstance(theirs, sympy.Rational):
        return bool(digits) and numbers_equal(Fraction(ours.p, ours.q), 0, Fraction(theirs.p, theirs.q), digits)
    exact = [sympy.nsimplify(x, rational=True) if x.has(sympy.Float) else x for x in (ours, theirs)]
    left, right = (sympy.N(x, PRECISION, maxn=10 * PRECISION) for x in exact)
    if not (left.is_number and right.is_number) or left.has(sympy.nan, sympy.zoo) or right.has(sympy.nan, sympy.zoo):
        return None
    scale = max(abs(left), abs(right))
    if scale.is_infinite or not scale.is_comparable:
        return None
    difference = abs(sympy.N(exact[0] - exact[1], PRECISION, maxn=10 * PRECISION))
    if not difference.is_comparable:
        return None
    bound = sympy.Float(10, PRECISION) ** -(PRECISION - 10)
    if digits >= DECIMALS:
        bound = sympy.Float(ROUNDING.numerator, PRECISION) / ROUNDING.denominator
    return bool(difference <= bound * scale)


def _relations_equal(reference: str, answer: str) -> bool:
    """Whether two equations or inequalities in the same variables have the same solutions, by math-verify."""
    if re.sub(r"\s", "", reference) == re.sub(r"\s", "", answer):
        return True
    ours, theirs = as_interval(Value("relation", reference)), as_interval(Value("relation", answer))
    if ours is not None and theirs is not None:
        return _structures_equal(ours, theirs, "any")
    one, other = _sides(reference), _sides(answer)
    if one is None or other is None:
        return False
    (sign, left), (second, right) = one, other
    flipped = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}
    if {s.name for s in left.free_symbols} != {s.name for s in right.free_symbols}:
        return False
    factor = _constant_factor(left, right)
    if factor is not None:
        return sign == second == "=" or (sign == second and factor > 0) or (flipped.get(sign) == second and factor < 0)
    if not sign == second == "=":
        return False
    from math_verify import verify

    equations = [_equation(text) for text in (reference, answer)]
    return all(e is not None for e in equations) and bool(verify(equations[0], equations[1], timeout_seconds=None))


def _equation(text: str) -> Any:
    import sympy

    sides = [parsed(side.strip()) for side in text.split("=")]
    return None if len(sides) != 2 or any(s is None for s in sides) else sympy.Eq(sides[0], sides[1], evaluate=False)


def _sides(text: str) -> tuple[str, Any] | None:
    """The sign of a relation, and the difference of its sides."""
    pieces = re.split(r"\s(\\le|\\ge|\\ne|<|>|=)\s", text)
    if len(pieces) != 3:
        return None
    left, right = parsed(pieces[0].strip()), parsed(pieces[2].strip())
    if left is None or right is None:
        return None
    try:
        return pieces[1], left - right
    except TypeError:
        return None


def _constant_factor(ours: Any, theirs: Any) -> Any:
    """The number c with theirs = c · ours, or ``None``; found at the points, and held to at all of them."""
    import sympy

    names = {s.name: s for s in ours.free_symbols}
    theirs = theirs.subs({s: names[s.name] for s in theirs.free_symbols if s.name in names})
    symbols = [names[name] for name in sorted(names)]
    factor = None
    for row in POINTS:
        drawn = (sympy.Rational(v.numerator, v.denominator) for v in itertools.cycle(row))
        values = dict(zip(symbols, drawn, strict=False))
        a, b = sympy.N(ours.subs(values), PRECISION), sympy.N(theirs.subs(values), PRECISION)
        if not (a.is_comparable and b.is_comparable):
            return None
        if a == 0 or b == 0:
            if a != b:
                return None
            continue
        if factor is None:
            factor = b / a
        elif abs(b / a - factor) > abs(factor) * sympy.Float(10, PRECISION) ** -40:
            return None
    return factor
