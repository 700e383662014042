"""Test cases of programs, in the layouts that data sets have.

Read are: a list of ``{"input", "output"}`` for programs that read and print; a list of ``{"function", "arguments",
"output"}``; APPS's and TACO's ``{"inputs", "outputs", "fn_name"}``; LiveCodeBench's ``{"input", "output", "testtype"}``
with the function's name beside it; the same as JSON text, as columns of lists, and with members that are null.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COLUMNS = ("tests", "test_cases", "input_output", "public_test_cases")
FUNCTION_NAMES = ("function", "fn_name", "func_name", "entry_point")
CALLS = ("functional", "function_call", "function")
READS = ("stdin", "stdin_stdout", "standard_input")


@dataclass(frozen=True, slots=True)
class Case:
    """One test: the input of the program, and the output it must give.

    Args:
        stdin: text that the program reads; with ``function`` the arguments, as a JSON list.
        output: text that it must print; with ``function`` the value that it must return, as JSON text.
        function: if set, this function of the program is called.
        unwrapped: the returned value may also be the only item of the list ``output``, as APPS has it.
    """

    stdin: str
    output: str
    function: str | None = None
    unwrapped: bool = False


def has_cases(columns: Mapping[str, Any]) -> bool:
    """True if a prompt's columns hold test cases."""
    return any(columns.get(name) is not None for name in COLUMNS)


def cases_of(columns: Mapping[str, Any]) -> tuple[Case, ...]:
    """The test cases in a prompt's columns.

    Raises:
        ValueError: names the test and what it lacks.
    """
    name = next(name for name in COLUMNS if columns.get(name) is not None)
    return parse_cases(columns[name], function_of(columns))


def parse_cases(rows: Any, function: str | None = None) -> tuple[Case, ...]:
    """Test cases in any of the layouts above.

    Args:
        function: the function to call, where the tests say that they call one and not which.

    Raises:
        ValueError: names the test and what it lacks.
    """
    rows = _plain(rows)
    if isinstance(rows, dict):
        rows, function = _rows_of(rows, function)
    if not isinstance(rows, list) or not rows:
        raise ValueError("the tests are not a list of test cases")
    return tuple(_parse_case(i, row, function) for i, row in enumerate(rows))


def rows_of(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """The test cases in our own layout, which :func:`parse_cases` reads.

    APPS puts what a function returns into a list of one item; where all outputs are such lists, the item is meant.
    """
    wrapped = all(case.unwrapped for case in cases)

    def row(case: Case) -> dict[str, Any]:
        if case.function is None:
            return {"input": case.stdin, "output": case.output}
        output = json.loads(case.output)
        return {
            "function": case.function,
            "arguments": json.loads(case.stdin),
            "output": output[0] if wrapped else output,
        }

    return [row(case) for case in cases]


def _plain(value: Any) -> Any:
    """Lists and dictionaries in place of JSON text, tuples and arrays."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise ValueError("the tests are text, and not JSON; write a list of test cases") from error
    if hasattr(value, "tolist"):  # an array of numpy, as Parquet readers give
        value = value.tolist()
    return list(value) if isinstance(value, tuple) else value


def _rows_of(table: dict[str, Any], function: str | None) -> tuple[list[dict[str, Any]], str | None]:
    """One dictionary for each test, from a dictionary of lists."""
    lists = {name: _plain_list(table.get(name)) for name in ("inputs", "input", "outputs", "output", "arguments")}
    inputs = lists["inputs"] or lists["input"] or lists["arguments"]
    outputs = lists["outputs"] or lists["output"]
    if inputs is None or outputs is None:
        raise ValueError("the tests are neither a list of test cases nor two lists of inputs and outputs")
    if len(inputs) != len(outputs):
        raise ValueError(f"the tests have {len(inputs)} inputs and {len(outputs)} outputs")
    named = function_of(table)
    rows = [{"input": i, "output": o} for i, o in zip(inputs, outputs, strict=True)]
    if kinds := _plain_list(table.get("testtype")):
        if len(kinds) != len(rows):
            raise ValueError(f"the tests have {len(rows)} inputs and {len(kinds)} types")
        rows = [{**row, "testtype": kind} for row, kind in zip(rows, kinds, strict=True)]
    elif named or lists["arguments"]:
        rows = [{**row, "fn_name": named or function} for row in rows]
    return rows, named or function


def _plain_list(value: Any) -> list[Any] | None:
    if hasattr(value, "tolist"):
        value = value.tolist()
    return list(value) if isinstance(value, list | tuple) and value else None


def function_of(columns: Mapping[str, Any]) -> str | None:
    """The name of the function that a problem asks for, in a column or in the column ``metadata``."""
    for name in FUNCTION_NAMES:
        if isinstance(columns.get(name), str) and columns[name]:
            return str(columns[name])
    metadata = columns.get("metadata")
    if isinstance(metadata, str):
        try:
            metadata = json.loads(metadata)
        except (ValueError, RecursionError):
            return None
    return function_of(metadata) if isinstance(metadata, dict) else None


def _parse_case(place: int, row: Any, function: str | None) -> Case:
    if isinstance(row, str):
        raise ValueError(
            f"test {place} is text; assertions are not run, write input and output, or function and arguments"
        )
    if not isinstance(row, Mapping) or "output" not in row:
        raise ValueError(f"test {place} has no output")
    named = next((str(row[name]) for name in FUNCTION_NAMES if row.get(name) is not None), None)
    kind = row.get("testtype") or row.get("type")
    if kind is not None and kind not in (*CALLS, *READS):
        raise ValueError(f"test {place} is of the type {str(kind)[:40]!r}; there are {', '.join((*READS, *CALLS))}")
    calls = named is not None or kind in CALLS
    if not calls:
        return _reading_case(place, row)
    if (named or function) is None:
        raise ValueError(f"test {place} calls a function, and neither it nor the columns fn_name and metadata name one")
    case = _calling_case(place, row, str(named or function), text=kind in CALLS and isinstance(row.get("input"), str))
    return _encodable(place, case)


def _reading_case(place: int, row: Mapping[str, Any]) -> Case:
    stdin, output = (_text(row.get(name)) for name in ("input", "output"))
    if stdin is None or output is None:
        raise ValueError(f"test {place} has neither a text as input and output nor a function to call")
    return _encodable(place, Case(stdin, output))


def _text(value: Any) -> str | None:
    """Text, or the lines of a list."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list | tuple) and value and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    return value if isinstance(value, str) else None


def _calling_case(place: int, row: Mapping[str, Any], function: str, *, text: bool) -> Case:
    """A case that calls a function.

    Args:
        text: LiveCodeBench's: each line of the input is an argument in JSON, and the output is a value in JSON.
    """
    arguments = row.get("arguments") if row.get("arguments") is not None else row.get("input")
    output = row["output"]
    try:
        if text:
            lines = [line for line in str(arguments).split("\n") if line.strip()]
            parsed = [json.loads(line) for line in lines]
            json.loads(str(output))
            return Case(json.dumps(parsed), str(output), function)
        if arguments is not None and hasattr(arguments, "tolist"):
            arguments = arguments.tolist()
        if isinstance(arguments, str):
            arguments = json.loads(arguments)
        if not isinstance(arguments, list | tuple):
            raise ValueError("no list")
        unwrapped = "fn_name" in row and isinstance(output, list | tuple) and len(output) == 1
        return Case(json.dumps(list(arguments)), json.dumps(output), function, unwrapped)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"test {place} calls {function!r} without a list of arguments and an output in JSON"
        ) from error


def _encodable(place: int, case: Case) -> Case:
    try:
        f"{case.stdin}{case.output}".encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"test {place} holds half of a surrogate pair, which is no text") from error
    return case
