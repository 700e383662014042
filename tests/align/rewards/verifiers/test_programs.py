"""Accuracy of programs: what passes, what does not, and what cannot be told."""

from __future__ import annotations

from typing import Any

import pytest

from align.rewards.verifiers.programs import Case, CodeAccuracy, parse_cases, program
from align.rewards.verifiers.sandbox import Limits, SandboxError

SQUARE = [{"input": "3\n", "output": "9\n"}, {"input": "-4", "output": "16"}]
CALLS = [{"function": "pairs", "arguments": [[1, 2], 2], "output": [[1, 2], [2, 2]]}]


@pytest.fixture(scope="module")
def accuracy() -> CodeAccuracy:
    try:
        return CodeAccuracy(limits=Limits(cpu_seconds=2, memory=256 << 20))
    except SandboxError as error:
        pytest.skip(str(error))


@pytest.fixture
def term(accuracy: CodeAccuracy) -> CodeAccuracy:
    accuracy.errors.clear()
    return accuracy


def fenced(source: str) -> str:
    return f"<think>…</think>Here it is:\n```python\n{source}\n```\nDone."


def test_programs_that_read_and_print(term: CodeAccuracy, sample: Any) -> None:
    sources = {
        "print(int(input()) ** 2)": 1.0,
        "print(int(input()) ** 2, '  \\n')": 1.0,  # white space at the ends
        "print(9)": 0.0,  # the first test alone
        "print(int(input()) ** 2); raise SystemExit(1)": 0.0,
        "syntax error": 0.0,
        "import os; os._exit(0)": 0.0,
    }
    batch = [sample(fenced(source), columns={"verifier": "code", "tests": SQUARE}) for source in sources]
    assert term.score(batch) == list(sources.values())
    assert not term.errors


def test_functions_that_are_called(term: CodeAccuracy, sample: Any) -> None:
    sources = {
        "def pairs(a, n):\n    return [(x, n) for x in a]": 1.0,
        "print('noise')\ndef pairs(a, n):\n    print('more')\n    return [[x, n] for x in a]": 1.0,
        "def pairs(a, n):\n    return [[True, n], [x, n]]": 0.0,
        "def other(a, n): return []": 0.0,
        "def pairs(a, n): return float('nan')": 0.0,
        "def pairs(a, n): return object()": 0.0,
        # leaving early, or claiming success, passes no test
        "import os; os._exit(0)": 0.0,
        "class Yes:\n    __eq__ = lambda *_: True\ndef pairs(a, n): return Yes()": 0.0,
    }
    batch = [sample(fenced(source), columns={"verifier": "code", "tests": CALLS}) for source in sources]
    assert term.score(batch) == list(sources.values())
    assert not term.errors


@pytest.mark.parametrize(
    ("response", "source"),
    [
        ("```python\na\n```\nthen\n```py\nb\n```", "b\n"),
        ("```\na\n```", "a\n"),
        ("```python\na\n```\n```bash\nls\n```", "a\n"),
        ("<think>```python\na\n```</think>none", None),
        ("<answer>print(1)</answer>", "print(1)"),
        ("<answer>\n```python\na\n```\n</answer>", "a\n"),
        ("print(1)", None),
        ("```python\nunclosed", None),
    ],
)
def test_where_the_program_is(response: str, source: str | None, sample: Any) -> None:
    assert program(sample(response)) == source


def test_no_program_is_wrong_and_bad_tests_are_not_the_policys_fault(term: CodeAccuracy, sample: Any) -> None:
    batch = [
        sample("I cannot.", columns={"verifier": "code", "tests": SQUARE}),
        sample(fenced("print(1)"), columns={"verifier": "code", "tests": []}),
    ]
    assert term.score(batch) == [0.0, None]
    assert term.errors == {"tests": 1}


def test_a_failing_sandbox_gives_no_reward(term: CodeAccuracy, sample: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise SandboxError("no space")

    monkeypatch.setattr(term.sandbox, "run_python", fail)
    assert term.score([sample(fenced("print(1)"), columns={"verifier": "code", "tests": SQUARE})]) == [None]
    assert term.errors == {"sandbox": 1}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("x", "not a list of test cases"),
        ([{"input": "1"}], "test 0 has no output"),
        ([*SQUARE, {"input": 1, "output": "1"}], "test 2 has neither a text"),
        ([{"function": "f", "output": 1}], "test 0 calls 'f' without a list of arguments"),
    ],
)
def test_malformed_tests_are_named(rows: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_cases(rows)


def test_cases_by_hand() -> None:
    assert parse_cases(SQUARE)[0] == Case("3\n", "9\n")
    assert parse_cases(CALLS)[0] == Case("[[1, 2], 2]", "[[1, 2], [2, 2]]", "pairs")


def test_only_code_prompts_with_tests(term: CodeAccuracy, sample: Any) -> None:
    assert term.applies(sample("x", columns={"verifier": "code", "tests": SQUARE}))
    assert not term.applies(sample("x", columns={"verifier": "code"}))
    assert not term.applies(sample("x", answer="1", columns={"tests": SQUARE}))
