"""Prompts with constraints that a program can check, as public data sets have them, get the column ``instructions``.

The column is a list of ``{"id", "kwargs"}``; the ids and their values are those of :mod:`align.rewards.instructions`.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any

from reward_models.data.records import RecordError

Row = Mapping[str, Any]
COLUMN = "instructions"
LONGEST = 1_000_000  # characters of a ground truth


def with_constraints(row: Row) -> Row:
    """A row of IFEval, IFBench or Nemotron: ids in ``instruction_id_list``, and a list ``kwargs`` as long.

    Without ``kwargs`` no constraint has values.

    Raises:
        RecordError: they are not two lists of the same length.
    """
    kept = {name: value for name, value in row.items() if name not in ("instruction_id_list", "kwargs")}
    return _with(kept, row["instruction_id_list"], row.get("kwargs"), "instruction_id_list")


def is_constraints(value: object) -> bool:
    """True if a ground truth is a list of constraints, as in allenai/IF_multi_constraints_upto5."""
    if isinstance(value, str):
        return "instruction_id" in value and value.lstrip().startswith(("[", "{"))
    value = value.tolist() if hasattr(value, "tolist") else value
    each = value[0] if isinstance(value, list | tuple) and value else value
    return isinstance(each, Mapping) and "instruction_id" in each


def with_ground_truth(row: Row) -> Row:
    """A row whose ``ground_truth`` is ``[{"instruction_id": […], "kwargs": […]}]``, as text or as a value.

    Raises:
        RecordError: it is not.
    """
    found = row["ground_truth"]
    found = found.tolist() if hasattr(found, "tolist") else found
    found = _parsed(found) if isinstance(found, str) else found
    if isinstance(found, list | tuple) and len(found) == 1:
        found = _parsed(found[0]) if isinstance(found[0], str) else found[0]
    if not isinstance(found, Mapping) or "instruction_id" not in found:
        raise RecordError("key 'ground_truth' does not hold one object with 'instruction_id' and 'kwargs'")
    kept = {name: value for name, value in row.items() if name != "ground_truth"}
    return _with(kept, found["instruction_id"], found.get("kwargs"), "ground_truth")


def constraints_read(row: Row) -> Row:
    """The row with its constraints in the column ``instructions``, if it has them in one of these layouts.

    Raises:
        RecordError: they cannot be read.
    """
    if row.get("instruction_id_list") is not None:
        return with_constraints(row)
    return with_ground_truth(row) if is_constraints(row.get("ground_truth")) else row


def _parsed(text: str) -> Any:
    if len(text) > LONGEST:
        raise RecordError(f"key 'ground_truth' has over {LONGEST:,} characters")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        raise RecordError(
            "key 'ground_truth' looks like constraints, and is neither JSON nor a list of Python"
        ) from None


def _with(row: dict[str, Any], ids: Any, values: Any, key: str) -> dict[str, Any]:
    ids, values = _listed(ids), _listed(values)
    if ids is None or not ids or not all(isinstance(each, str) for each in ids):
        raise RecordError(f"key {key!r} does not hold a list of constraint ids")
    values = [None] * len(ids) if values is None else values
    if len(values) != len(ids):
        raise RecordError(f"key {key!r} has {len(ids)} constraints, and 'kwargs' {len(values)} sets of values")
    found = [{"id": id, "kwargs": _object(id, given)} for id, given in zip(ids, values, strict=True)]
    return row | {COLUMN: found, "verifier": row.get("verifier") or "instructions"}


def _listed(value: Any) -> list[Any] | None:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    value = value.tolist() if hasattr(value, "tolist") else value
    return list(value) if isinstance(value, list | tuple) else None


def _object(id: str, value: Any) -> dict[str, Any]:
    """The values that are there: data sets fill up the others with null."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None if value.strip() else {}
            if value is None:
                raise RecordError(f"the values of the constraint {id} are text, and not JSON") from None
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise RecordError(f"the values of the constraint {id} are a {type(value).__name__}, not an object")
    return {str(name): each for name, each in value.items() if each is not None}
