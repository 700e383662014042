"""The known constraints by id, and how a prompt's list of them is read."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from align.rewards.instructions.text import RELATIONS, Text

COLUMN = "instructions"
Check = Callable[..., bool]
CONSTRAINTS: dict[str, Check] = {}
MOST = 100_000  # of a number, and characters of a text, in a constraint


@dataclass(frozen=True, slots=True)
class Instruction:
    """One constraint of a prompt: its id, with the values that it was given."""

    id: str
    values: Mapping[str, Any]

    def followed(self, text: Text) -> bool:
        """True if the text keeps the constraint. A text without a letter or digit keeps none."""
        return bool(text.words) and bool(CONSTRAINTS[self.id](text, **self.values))


def constraint(id: str) -> Callable[[Check], Check]:
    """Enter a function ``(text, values…) -> bool`` under an id. Its annotations say which values it takes."""

    def enter(check: Check) -> Check:
        if id in CONSTRAINTS:
            raise ValueError(f"two constraints are called {id}")
        CONSTRAINTS[id] = check
        return check

    return enter


def instructions_of(columns: Mapping[str, Any]) -> tuple[Instruction, ...]:
    """The constraints in a prompt's column ``instructions``: a list of ``{"id", "kwargs"}``.

    Raises:
        ValueError: it is no such list, an id is not known, or its values are not those that it takes.
    """
    rows = columns.get(COLUMN)
    if not isinstance(rows, list | tuple) or not rows:
        raise ValueError(f"the column {COLUMN} is not a list of constraints")
    return tuple(_instruction(row) for row in rows)


def _instruction(row: Any) -> Instruction:
    if not isinstance(row, Mapping) or not isinstance(row.get("id"), str):
        raise ValueError(f"the column {COLUMN} holds something that is not {{'id': …, 'kwargs': …}}")
    id, given = row["id"].strip(), row.get("kwargs") or {}
    if id not in CONSTRAINTS:
        close = difflib.get_close_matches(id, CONSTRAINTS, n=1)
        raise ValueError(f"no constraint is called {id!r}" + (f"; did you mean {close[0]}?" if close else ""))
    if not isinstance(given, Mapping):
        raise ValueError(f"{id}: its kwargs are not an object")
    given = {name: value for name, value in given.items() if value is not None}
    taken = inspect.signature(CONSTRAINTS[id]).parameters
    names = list(taken)[1:]
    if unknown := sorted(given.keys() - set(names)):
        raise ValueError(f"{id} takes no {', '.join(unknown)}; it takes {', '.join(names) or 'no values'}")
    types = get_type_hints(CONSTRAINTS[id])
    values = {}
    for name in names:
        if name in given:
            values[name] = _value(id, name, given[name], types[name])
        elif taken[name].default is inspect.Parameter.empty:
            raise ValueError(f"{id} needs a value for {name}")
    return Instruction(id, values)


def _value(id: str, name: str, value: Any, wanted: Any) -> Any:
    """A value as its constraint takes it: numbers may be written as ``3.0``, a single keyword without a list."""
    if hasattr(value, "tolist"):  # an array of numpy, as Parquet readers give
        value = value.tolist()
    if wanted is int:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value <= MOST or value != int(value):
            raise ValueError(f"{id}: {name}={value!r} is not a number from 0 to {MOST:,}")
        return int(value)
    if wanted is str:
        if not isinstance(value, str) or not value.strip() or len(value) > MOST:
            raise ValueError(f"{id}: {name}={value!r} is not a text")
        if name.endswith("relation") and value not in RELATIONS:
            raise ValueError(f"{id}: {name}={value!r} is none of {', '.join(RELATIONS)}")
        return value
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not all(isinstance(each, str) and each.strip() for each in found or [0]):
        raise ValueError(f"{id}: {name}={value!r} is not a list of words")
    return list(found)
