"""Programming problems of APPS, TACO, LiveCodeBench and CodeContests: their tests become the column ``tests``.

The tests are read by :mod:`reward_models.data.program_tests`; here they are unpacked, and starter code joins the
question.
"""

from __future__ import annotations

import base64
import binascii
import json
import pickletools
import zlib
from collections.abc import Mapping
from typing import Any

from reward_models.data.program_tests import function_of, parse_cases, rows_of
from reward_models.data.records import RecordError

Row = Mapping[str, Any]

PRIVATE = "private_test_cases"
CONTEST = ("public_tests", "private_tests", "generated_tests")
UNPACKED_LIMIT = 256 * 2**20  # bytes of the test cases of one problem


def with_tests(row: Row) -> Row:
    """``row`` with the test cases in the column ``tests``, in the place of the data set's own columns.

    Raises:
        RecordError: there are no test cases, or they are in no layout of :mod:`reward_models.data.program_tests`.
    """
    key = "input_output" if "input_output" in row else "public_test_cases"
    if key == "input_output":
        given = _json(row[key], key)
    else:
        given = [case for name in (key, PRIVATE) for case in _listed(_json(row.get(name) or "[]", name), name)]
    kept = {name: value for name, value in row.items() if name not in ("input_output", "public_test_cases", PRIVATE)}
    if not given or (isinstance(given, dict) and given.get("inputs") == []):
        raise RecordError("the problem has no test cases; leave the row out")
    try:
        tests = rows_of(parse_cases(given, function_of(row)))
    except ValueError as error:
        raise RecordError(f"key {key!r}: {error}") from None
    return _with_starter(kept) | {"tests": tests, "verifier": kept.get("verifier") or "code"}


def with_contest_tests(row: Row) -> Row:
    """``row`` of CodeContests, whose tests are lists of inputs and of outputs, with the column ``tests``.

    Raises:
        RecordError: there are no test cases, they are in another layout, or the program must read or write a file.
    """
    tests: list[dict[str, Any]] = []
    for name in CONTEST:
        given = _json(row.get(name) or {}, name)
        inputs, outputs = (given.get(side) or [] for side in ("input", "output")) if isinstance(given, dict) else (0, 0)
        if not isinstance(inputs, list | tuple) or not isinstance(outputs, list | tuple) or len(inputs) != len(outputs):
            raise RecordError(f"key {name!r} is not {{'input': […], 'output': […]}} with as many inputs as outputs")
        tests += [{"input": i, "output": o} for i, o in zip(inputs, outputs, strict=True)]
    if not tests:
        raise RecordError("the problem has no test cases; leave the row out")
    if file := row.get("input_file") or row.get("output_file"):
        raise RecordError(f"the program must use the file {file!r}; programs here read and print. Leave the row out")
    kept = {name: value for name, value in row.items() if name not in ("description", *CONTEST)}
    return kept | {"prompt": row["description"], "tests": tests, "verifier": kept.get("verifier") or "code"}


def _listed(value: Any, key: str) -> list[Any]:
    if not isinstance(value, list):
        raise RecordError(f"key {key!r} is not a list of test cases")
    return value


def _with_starter(row: dict[str, Any]) -> dict[str, Any]:
    """The question with the code that solutions must begin with: without it nobody knows the function's name."""
    key = next((name for name in ("question_content", "question", "prompt") if name in row), "")
    question, starter = row.get(key), row.get("starter_code")
    if not isinstance(question, str) or not isinstance(starter, str) or not starter.strip() or starter in question:
        return row
    return row | {key: f"{question.rstrip()}\n\nStarter code:\n```python\n{starter.strip(chr(10))}\n```"}


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
