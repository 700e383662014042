"""Accuracy of programs: they run against test cases, in a sandbox.

What a program should print is never inside the sandbox with it, and its verdict is not its own: it is compared here.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from align.rewards.parsing import last_tagged, split_response, uses_verifier
from align.rewards.terms import Sample
from align.rewards.verifiers.answers import parse_json
from align.rewards.verifiers.sandbox import Limits, Sandbox, SandboxError

FENCE = re.compile(r"^```[ \t]*(\w*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)

# Runs in the sandbox: calls one function of the program. What the program prints goes to stderr.
CALLER = """\
import json, os, runpy, sys
result = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)
call = json.load(sys.stdin)
function = runpy.run_path("solution.py", run_name="solution")[call["function"]]
json.dump(function(*call["arguments"]), result, allow_nan=False)
result.flush()
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One test: what the program reads, and what it must give.

    Args:
        stdin: what it reads.
        output: what it must print, compared line by line without white space at the ends; with ``function`` the JSON
            text of the value that it must return.
        function: if set, this function of the program is called, with the arguments in ``stdin``, a JSON list.
    """

    stdin: str
    output: str
    function: str | None = None


def parse_cases(rows: Any) -> tuple[Case, ...]:
    """Test cases from the column ``tests``: ``{"input": …, "output": …}`` for a program that reads and prints,
    ``{"function": …, "arguments": […], "output": …}`` for one whose function is called.

    Raises:
        ValueError: names the test and what it lacks.
    """
    if not isinstance(rows, list | tuple) or not rows:
        raise ValueError("the column tests is not a list of test cases")
    return tuple(_parse_case(i, row) for i, row in enumerate(rows))


class CodeAccuracy:
    """1.0 if the program passes every test case of the column ``tests``, else 0.0, also if there is no program.

    The program is the last fenced block of the ``<answer>``, or of the summary if there is none. It is Python, run by
    this interpreter. ``None`` where tests are malformed or the sandbox fails; ``errors`` counts these.

    Args:
        workers: programs that run at the same time.
        limits: of one run; the time is per test case.
        allow_unsandboxed: see :class:`align.rewards.verifiers.sandbox.Sandbox`.

    Raises:
        SandboxError: programs cannot be isolated here.
    """

    name = "accuracy_code"

    def __init__(self, *, workers: int = 2, limits: Limits | None = None, allow_unsandboxed: bool = False):
        self.errors: Counter[str] = Counter()
        self.sandbox = Sandbox(limits, allow_unsandboxed=allow_unsandboxed)
        self._workers = workers

    def applies(self, sample: Sample) -> bool:
        return uses_verifier(sample, "code") and "tests" in sample.columns

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        with ThreadPoolExecutor(self._workers) as threads:
            verdicts = list(threads.map(self._judge, samples))
        self.errors.update(verdict for verdict in verdicts if isinstance(verdict, str))
        return [None if isinstance(verdict, str) else float(verdict) for verdict in verdicts]

    def _judge(self, sample: Sample) -> bool | str:
        """The verdict, or what prevented one."""
        try:
            tests = parse_cases(sample.columns["tests"])
            source = program(sample)
            return source is not None and all(self._passes(source, test) for test in tests)
        except ValueError:
            return "tests"
        except SandboxError:
            return "sandbox"

    def _passes(self, source: str, test: Case) -> bool:
        if test.function is None:
            run = self.sandbox.run_python(source, test.stdin)
            return run.outcome == "ended" and run.status == 0 and _lines(run.stdout) == _lines(test.output)
        call = json.dumps({"function": test.function, "arguments": json.loads(test.stdin)})
        run = self.sandbox.run_python(CALLER, call, {"solution.py": source})
        expected = parse_json(test.output)
        try:
            return run.outcome == "ended" and run.status == 0 and parse_json(run.stdout) == expected
        except ValueError:
            return False


def program(sample: Sample) -> str | None:
    """The program a response gives, or ``None``."""
    summary = split_response(sample).summary or ""
    tagged = last_tagged(summary)
    text = summary if tagged is None else tagged
    blocks = [body for language, body in FENCE.findall(text) if language.lower() in ("", "py", "python", "python3")]
    if blocks:
        return blocks[-1]
    return tagged.strip() or None if tagged is not None else None


def _parse_case(place: int, row: Any) -> Case:
    if not isinstance(row, dict) or "output" not in row:
        raise ValueError(f"test {place} has no output")
    if "function" in row:
        if not isinstance(row.get("arguments"), list):
            raise ValueError(f"test {place} calls {row['function']!r} without a list of arguments")
        return Case(json.dumps(row["arguments"]), json.dumps(row["output"]), str(row["function"]))
    if not isinstance(row.get("input"), str) or not isinstance(row["output"], str):
        raise ValueError(f"test {place} has neither a text as input and output nor a function to call")
    return Case(row["input"], row["output"])


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]
