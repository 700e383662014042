"""Test cases of programs, and the comparison of outputs. Layouts: :mod:`reward_models.data.program_tests`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, DecimalException
from typing import Any

from align.rewards.verifiers.answers import parse_json
from reward_models.data import program_tests
from reward_models.data.program_tests import Case

NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,4})?")
RELATIVE = Decimal("1e-6")  # of a decimal number that a program prints or returns
ABSOLUTE = Decimal("1e-9")
LONGEST = 400  # characters of a number that is compared as one


def cases_of(columns: Mapping[str, Any]) -> tuple[Case, ...]:
    """The test cases in a prompt's columns.

    Raises:
        ValueError: names the test and what it lacks.
    """
    cases = program_tests.cases_of(columns)
    for case in cases:
        if case.function is not None:
            parse_json(case.output)  # a value that a returned one can be compared with
    return cases


def same_output(expected: str, printed: str) -> bool:
    """True if the texts are equal line by line, white space at the ends aside, with numbers to their precision."""
    ours, theirs = _lines(expected), _lines(printed)
    return len(ours) == len(theirs) and all(map(_same_line, ours, theirs))


def same_value(case: Case, returned: str) -> bool:
    """True if a function returned the value of the case; both are JSON text."""
    expected, given = parse_json(case.output), parse_json(returned)
    if _same(expected, given):
        return True
    return case.unwrapped and isinstance(expected, list) and len(expected) == 1 and _same(expected[0], given)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


def _same_line(ours: str, theirs: str) -> bool:
    if ours == theirs:
        return True
    left, right = ours.split(), theirs.split()
    return len(left) == len(right) and all(map(_same_token, left, right))


def _same_token(ours: str, theirs: str) -> bool:
    if ours == theirs:
        return True
    if len(ours) > LONGEST or len(theirs) > LONGEST or not (NUMBER.fullmatch(ours) and NUMBER.fullmatch(theirs)):
        return False
    return numbers_close(Decimal(ours), Decimal(theirs), whole=not re.search("[.eE]", ours))


def _same(expected: Any, given: Any) -> bool:
    if isinstance(expected, tuple) and isinstance(given, tuple):  # numbers
        number: Decimal = expected[1]
        return numbers_close(number, given[1], whole=number == number.to_integral_value() and "." not in str(number))
    if isinstance(expected, list) and isinstance(given, list):
        return len(expected) == len(given) and all(map(_same, expected, given))
    if isinstance(expected, dict) and isinstance(given, dict):
        return expected.keys() == given.keys() and all(_same(expected[key], given[key]) for key in expected)
    return type(expected) is type(given) and bool(expected == given)


def numbers_close(expected: Decimal, given: Decimal, *, whole: bool) -> bool:
    """Equal, or as close as benchmarks ask of decimals.

    Args:
        whole: an integer is expected: only the error of floating-point arithmetic is allowed.
    """
    try:
        if expected == given:
            return True
        if whole and given == given.to_integral_value():
            return False
        bound = ABSOLUTE if whole else max(ABSOLUTE, RELATIVE * abs(expected))
        return abs(expected - given) <= bound
    except DecimalException:
        return False
