"""Equality of two numbers or LaTeX expressions: exact, or to many relative digits, by sympy.

math-verify supplies the grammar, and compares equations whose difference is no constant factor. Its comparison of
numbers is by absolute differences, which are all alike for small ones; here 1/20! is not 1/21!.
"""

from __future__ import annotations

import functools
import itertools
import re
from fractions import Fraction
from typing import Any

from align.rewards.verifiers.math_latex import letters_of

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
LOGARITHMS = (
    (re.compile(r"\\log\s*_\s*(?:e(?![a-z])|\{\s*e\s*\})"), r"\\ln "),
    (re.compile(r"\\lg(?![A-Za-z])"), r"\\log_{10} "),
)
DECIMAL = re.compile(r"(?<![\w.])(\d*)\.(\d{1,300})(?!\d)")  # becomes a fraction: sympy would keep 15 digits


class ReferenceError(ValueError):
    """sympy cannot read an expression of the reference."""


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
    for other, usual in LOGARITHMS:
        exact = other.sub(usual, exact)
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
    if isinstance(found, sympy.Basic):  # sympy leaves a logarithm with a base as it is
        found = found.replace(
            lambda part: isinstance(part, sympy.log) and len(part.args) == 2,
            lambda part: sympy.log(part.args[0]) / sympy.log(part.args[1]),
        )
    return found


def latex_equal(reference: str, answer: str, digits: int = 0) -> bool:
    """True if two expressions are equal for all values of their variables.

    Args:
        digits: significant digits, if one of them is a decimal.
    """
    if re.sub(r"\s", "", reference) == re.sub(r"\s", "", answer):
        return True
    capitals = [letters_of(latex) for latex in (reference, answer)]  # the grammar does not tell A from a
    if capitals[0] != capitals[1] and {c.lower() for c in capitals[0]} == {c.lower() for c in capitals[1]}:
        return False
    ours = parsed(reference)
    if ours is None:
        raise ReferenceError(f"sympy cannot read {reference[:80]!r}")
    theirs = parsed(answer)
    return theirs is not None and objects_equal(ours, theirs, digits)


def near(latex: str, number: Fraction, bound: Fraction) -> bool:
    """True if an expression without variables lies within ``bound`` of the number."""
    import sympy

    value = parsed(latex)
    if not isinstance(value, sympy.Expr) or value.free_symbols:
        return False
    difference = sympy.N(value - sympy.Rational(number.numerator, number.denominator), PRECISION)
    return bool(difference.is_comparable and abs(difference) <= sympy.Rational(bound.numerator, bound.denominator))


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
    if ours.has(sympy.I) or theirs.has(sympy.I):  # 3 + 4i has a variable to the grammar, 3 + 4·i has not
        ours, theirs = (x.subs({s: sympy.I for s in x.free_symbols if s.name == "i"}) for x in (ours, theirs))
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
    """True if two numbers are equal to :data:`PRECISION` digits; ``None`` if they have no numerical value."""
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
    if not difference.is_comparable:  # a zero that sympy cannot prove, of log 2 and half of log 4
        difference = abs(left - right)
    if not difference.is_comparable:
        return None
    bound = sympy.Float(10, PRECISION) ** -(PRECISION - 10)
    if digits >= DECIMALS:
        bound = sympy.Float(ROUNDING.numerator, PRECISION) / ROUNDING.denominator
    return bool(difference <= bound * scale)


def relations_equal(reference: str, answer: str) -> bool:
    """True if two equations or inequalities in the same variables have the same solutions."""
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
