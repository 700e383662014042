"""References and tests that no verifier can use."""

from __future__ import annotations

from typing import Any

import pytest

from align.rewards.verifiers.references import reference_problem

TESTS = [{"input": "1", "output": "1"}]


@pytest.mark.parametrize(
    ("verifier", "answer", "columns", "problem"),
    [
        ("math", "5", {}, None),
        ("math", "Monday", {}, None),
        ("math", r"$\frac{1}{2}$", {}, None),
        ("math", None, {}, "no answer"),
        ("math", " ", {}, "no answer"),
        ("math", "the pair is unknown", {}, "is a sentence"),
        ("math", "1\u202e2", {}, "change the order"),
        ("choice", "(b)", {}, None),
        ("choice", "14", {}, "is not a letter"),
        ("exact", "anything", {}, None),
        ("regex", r"\d+", {}, None),
        ("regex", "(", {}, "is not a pattern"),
        ("regex", "(" * 5000 + ")" * 5000, {}, "is not a pattern"),
        ("json", "{}", {}, None),
        ("json", "{", {}, "Expecting"),
        ("code", None, {"tests": TESTS}, None),
        ("code", None, {}, "no test cases"),
        ("code", None, {"tests": [{"input": "1"}]}, "test 0 has no output"),
        ("my.package:Verifier", None, {}, None),
    ],
)
def test_problems_are_named(verifier: str, answer: str | None, columns: dict[str, Any], problem: str | None) -> None:
    found = reference_problem(verifier, answer, columns)
    assert found == problem if problem is None else problem in str(found)
