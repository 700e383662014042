"""Accuracy of programs: what passes, what does not, and what cannot be told."""

from __future__ import annotations

from typing import Any

import pytest

from align.rewards.verifiers.cases import cases_of, same_output
from align.rewards.verifiers.programs import CodeAccuracy, program, with_usual_imports
from align.rewards.verifiers.sandbox import Limits, SandboxError
from reward_models.data.program_tests import Case, parse_cases

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
        "import numpy\ndef pairs(a, n):\n    return numpy.array([[x, n] for x in a])": 1.0,
        "import numpy\ndef pairs(a, n):\n    return [(x, numpy.int64(n)) for x in a]": 1.0,
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
        ("<think>n</think>\nprint(1)", "print(1)"),
        ("The program prints 1.", None),
        ("<think>print(1)", None),
        ("```python\nunclosed", "unclosed\n"),
        ("```python\na\n```\nExample:\n```\n5\n```", "a\n"),
        ("```\nprint(5)\n```\nOutput:\n```\n5\n```", "print(5)\n"),
        ("```cpp\na\n```", None),
        ("```text\na\n```", None),
        ("  ```python\n  if a:\n      b\n  ```", "if a:\n    b\n"),
        ("~~~py\na\n~~~", "a\n"),
        ("````python\na\n```\nb\n````", "a\n```\nb\n"),
        ("```{.python}\na\n```", "a\n"),
        ("```Python3.11 title=x\na\n```", "a\n"),
        ("Code:```python\na\n```", "a\n"),
        ("```python\r\na\r\n```\r\n", "a\n"),
        ("<answer>```python\na\n```</answer>", "a\n"),
        ("<answer>```cpp\na\n```</answer>", None),
        ("Use ```x``` inline.", None),
        ("> ```python\n> a\n>   b\n> ```", "a\n  b\n"),
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
        ("x", "are text, and not JSON"),
        ({}, "neither a list of test cases"),
        ([], "not a list of test cases"),
        (["assert f(1) == 2"], "assertions are not run"),
        ({"inputs": ["1"], "outputs": []}, "nor two lists"),
        ({"inputs": ["1", "2"], "outputs": ["1"]}, "2 inputs and 1 outputs"),
        ({"inputs": ["1", "2"], "outputs": ["1", "2"], "testtype": ["stdin"]}, "2 inputs and 1 types"),
        ([{"input": "1", "output": "1", "testtype": "functional"}], "neither it nor the columns"),
        ([{"input": "1", "output": "1", "type": "essay"}], "of the type 'essay'"),
        ([{"input": "\ud83d", "output": "1"}], "half of a surrogate pair"),
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


F = {"function": "f", "arguments": [1, [2]], "output": 3}
READ = Case("2 3\n", "5\n")
CALL = Case("[1, [2]]", "3", "f")
TEXT = '[{"input": "2 3\\n", "output": "5\\n"}]'
CALLED = [{"input": "1\n[2]", "output": "3", "testtype": "functional"}]


@pytest.mark.parametrize(
    ("columns", "cases"),
    [
        ({"tests": [{"input": "2 3\n", "output": "5\n"}]}, [READ]),
        ({"tests": TEXT}, [READ]),
        ({"tests": ({"input": "2 3\n", "output": "5\n", "function": None, "arguments": None},)}, [READ]),
        ({"tests": {"input": ["2 3\n"], "output": ["5\n"]}}, [READ]),
        ({"tests": [{"input": ["2", "3"], "output": ["5"]}]}, [Case("2\n3", "5")]),
        ({"input_output": '{"inputs": ["2 3\\n"], "outputs": ["5\\n"]}'}, [READ]),
        ({"tests": {"inputs": [["2", "3"]], "outputs": [["5"]]}}, [Case("2\n3", "5")]),
        ({"public_test_cases": TEXT.replace("}]", ', "testtype": "stdin"}]')}, [READ]),
        ({"tests": [F]}, [CALL]),
        ({"tests": [{"fn_name": "f", "input": [1, [2]], "output": 3}]}, [CALL]),
        ({"tests": {"inputs": [[1, [2]]], "outputs": [3], "fn_name": "f"}}, [CALL]),
        ({"tests": {"inputs": [[1, [2]]], "outputs": [[3]], "fn_name": "f"}}, [Case("[1, [2]]", "[3]", "f", True)]),
        ({"tests": CALLED, "fn_name": "f"}, [CALL]),
        ({"tests": CALLED, "metadata": '{"func_name": "f"}'}, [CALL]),
        ({"tests": [{"type": "function_call", "fn_name": "f", "input": [1, [2]], "output": 3}]}, [CALL]),
        ({"tests": [{"type": "stdin_stdout", "fn_name": None, "input": "2 3\n", "output": "5\n"}]}, [READ]),
    ],
)
def test_layouts_of_tests(columns: dict[str, Any], cases: list[Case]) -> None:
    assert list(cases_of(columns)) == cases


def test_arrays_as_parquet_readers_give_them() -> None:
    numpy = pytest.importorskip("numpy")
    rows = numpy.array([{"input": "2 3\n", "output": "5\n"}], dtype=object)
    assert parse_cases(rows) == (READ,)


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("2", "2.0", True),
        ("0.3", "0.30000000000000004", True),
        ("2", "1.9999999999999998", True),
        ("3.14159", "3.1415926", True),
        ("3.14159", "3.15", False),
        ("2", "3", False),
        ("123456789", "123456788", False),
        ("1000000007", "1000000006.9", False),
        ("1000000000000000001", "1e18", False),
        ("1 2\n3", "1 2 \n3\n", True),
        ("1\r\n2", "1\n2", True),
        ("1\n2", "1 2", False),
        ("1\n\n2", "1\n2", False),
        ("YES", "yes", False),
        ("1e999999999", "1", False),
        ("nan", "nan", True),
        ("", "x", False),
    ],
)
def test_outputs_are_compared_as_benchmarks_do(expected: str, printed: str, same: bool) -> None:
    assert same_output(expected, printed) is same


def test_methods_usual_imports_and_decimals(term: CodeAccuracy, sample: Any) -> None:
    add = [{"function": "add", "arguments": [[0.1, 0.2]], "output": 0.3}]
    sources = {
        "class Solution:\n    def add(self, a: List[float]) -> float:\n        return sum(a)": 1.0,
        "from __future__ import annotations\ndef add(a): return reduce(lambda x, y: x + y, a)": 1.0,
        "def add(a): return 0.30001": 0.0,
        "def add(a): return '0.3'": 0.0,
    }
    batch = [sample(fenced(source), columns={"verifier": "code", "tests": add}) for source in sources]
    explained = term.explain(batch)
    assert [score for score, _ in explained] == list(sources.values())
    assert "expected '0.3', got '0.30001'" in explained[2][1]
    usage = fenced("def add(a):\n    return sum(a)") + "\n```python\nprint(add([1]))\n```"
    assert term.score([sample(usage, columns={"verifier": "code", "tests": add})]) == [1.0]


def test_imports_go_behind_those_of_the_future() -> None:
    assert with_usual_imports("x = 1\n") == "x = 1\n"
    assert with_usual_imports("# a\nfrom __future__ import annotations\nx: List[int]\n") == (
        "# a\nfrom __future__ import annotations\nfrom typing import List\nx: List[int]\n"
    )


def test_a_program_that_ends_its_box_by_a_signal_is_wrong(term: CodeAccuracy, sample: Any) -> None:
    source = "import os\nfor number in (2, 14, 15, 9):\n    try: os.kill(1, number)\n    except OSError: pass\nprint(9)"
    tests = [{"input": "", "output": "16"}]
    assert term.score([sample(fenced(source), columns={"verifier": "code", "tests": tests})]) == [0.0]
