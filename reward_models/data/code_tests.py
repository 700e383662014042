"""Test cases of programming problems, as APPS, TACO and LiveCodeBench have them, become the column ``tests``.

A test is ``{"input", "output"}`` for a program that reads and prints, and ``{"function", "arguments", "output"}`` for
one whose function is called.
"""

from __future__ import annotations

import base64
import binascii
import json
import pickletools
import zlib
from collections.abc import Mapping
from typing import Any

from reward_models.data.records import RecordError

Row = Mapping[str, Any]

UNPACKED_LIMIT = 256 * 2**20  # bytes of the test cases of one problem


def with_tests(row: Row) -> Row:
    """``row`` with the test cases in the column ``tests``, in the place of the data set's own columns.

    Raises:
        RecordError: there are no test cases, or they are not in the data set's layout.
    """
    if "input_output" in row:
        tests = _of_input_output(row["input_output"])
        kept = {name: value for name, value in row.items() if name != "input_output"}
    else:
        tests = _of_livecodebench(row)
        kept = {n: v for n, v in row.items() if n not in ("public_test_cases", "private_test_cases")}
    if not tests:
        raise RecordError("the problem has no test cases; leave the row out")
    return _with_starter(kept) | {"tests": tests, "verifier": kept.get("verifier") or "code"}


def _with_starter(row: dict[str, Any]) -> dict[str, Any]:
    """The question with the code that solutions must begin with: without it nobody knows the function's name."""
    key = next((name for name in ("question_content", "question", "prompt") if name in row), "")
    question, starter = row.get(key), row.get("starter_code")
    if not isinstance(question, str) or not isinstance(starter, str) or not starter.strip() or starter in question:
        return row
    return row | {key: f"{question.rstrip()}\n\nStarter code:\n```python\n{starter.strip(chr(10))}\n```"}


def _of_input_output(value: object) -> list[dict[str, Any]]:
    """APPS and TACO: ``{"inputs": […], "outputs": […]}``, with ``fn_name`` for a function's arguments and value."""
    cases = _json(value, "input_output")
    if not isinstance(cases, dict):
        raise RecordError("key 'input_output' is not a JSON object with 'inputs' and 'outputs'")
    inputs, outputs = cases.get("inputs"), cases.get("outputs")
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
        raise RecordError("key 'input_output' does not hold two lists 'inputs' and 'outputs' of the same length")
    name = cases.get("fn_name")
    if name is not None:
        # Most problems put what the function returns into a list of one element; then every output is such a list.
        if all(isinstance(wanted, list) and len(wanted) == 1 for wanted in outputs):
            outputs = [wanted[0] for wanted in outputs]
        return [
            {"function": str(name), "arguments": _arguments(given), "output": wanted}
            for given, wanted in zip(inputs, outputs, strict=True)
        ]
    return [{"input": _lines(given), "output": _lines(wanted)} for given, wanted in zip(inputs, outputs, strict=True)]


def _arguments(given: object) -> list[Any]:
    if not isinstance(given, list):
        raise RecordError("key 'input_output': the inputs of a function are not lists of arguments")
    return given


def _lines(value: object) -> str:
    """Text to read or print; TACO has some as a list of lines."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    if not isinstance(value, str):
        raise RecordError(f"key 'input_output' has a {type(value).__name__} as input or output, not text")
    return value


def _of_livecodebench(row: Row) -> list[dict[str, Any]]:
    cases = []
    for key in ("public_test_cases", "private_test_cases"):
        found = _json(row.get(key) or "[]", key)
        if not isinstance(found, list) or not all(isinstance(case, dict) for case in found):
            raise RecordError(f"key {key!r} is not a list of test cases")
        cases += found
    metadata = _json(row.get("metadata") or "{}", "metadata")
    name = metadata.get("func_name") if isinstance(metadata, dict) else None
    return [_livecodebench_case(case, name) for case in cases]


def _livecodebench_case(case: dict[str, Any], name: object) -> dict[str, Any]:
    given, wanted = case.get("input"), case.get("output")
    if not isinstance(given, str) or not isinstance(wanted, str):
        raise RecordError("a test case of LiveCodeBench has no text as 'input' and 'output'")
    if case.get("testtype", "stdin") == "stdin":
        return {"input": given, "output": wanted}
    if case["testtype"] != "functional" or not isinstance(name, str) or not name:
        raise RecordError("a test case is neither for stdin nor functional with a 'func_name' in 'metadata'")
    try:  # an argument a line
        arguments = [json.loads(line) for line in given.split("\n") if line.strip()]
        return {"function": name, "arguments": arguments, "output": json.loads(wanted)}
    except ValueError:
        raise RecordError("a functional test case of LiveCodeBench does not hold JSON values") from None


def _json(value: object, key: str) -> Any:
    """JSON, or LiveCodeBench's base64 of compressed pickled JSON; what is no text stays as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        pass
    try:
        return json.loads(_pickled_text(_inflated(base64.b64decode(value, validate=True))))
    except (ValueError, binascii.Error, zlib.error, RecursionError):
        raise RecordError(f"key {key!r} is neither JSON nor compressed JSON as LiveCodeBench has it") from None


def _inflated(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    content = stream.decompress(data, UNPACKED_LIMIT)
    if stream.unconsumed_tail:
        raise ValueError("too large")
    return content


def _pickled_text(data: bytes) -> str:
    """The one text in a pickle. The pickle is never loaded: its opcodes are listed, and only a text is accepted."""
    texts = [
        argument
        for opcode, argument, _ in pickletools.genops(data)
        if opcode.name in ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
    ]
    if len(texts) != 1 or not isinstance(texts[0], str):
        raise ValueError("not one text")
    return texts[0]
