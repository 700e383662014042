"""A connection to PostgreSQL that keeps its statements prepared. Only PostgreSQL's driver imports this module.

pg8000 reads every statement character by character to number its parameters, which took a third of the processor time
of a vote, and sends every statement anew, in three round trips: parse, describe, execute. Here a statement is numbered
once, and prepared once for each connection: then it takes one round trip, and the server does not parse it again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from pg8000.converters import make_params
from pg8000.dbapi import convert_paramstyle
from pg8000.exceptions import DatabaseError, InterfaceError
from pg8000.legacy import Connection, Cursor

STATEMENTS = 200  # kept for each connection; the app has about eighty


@lru_cache(maxsize=1000)
def _numbered(style: str, statement: str) -> str:
    """``statement`` with its parameters as ``$1``, ``$2``, …"""
    return str(convert_paramstyle(style, statement, ())[0])


class _Bound(NamedTuple):
    """A numbered statement and the values of its parameters."""

    statement: str
    values: Sequence[Any]


class PreparingCursor(Cursor):
    """pg8000's cursor, which has statements with parameters prepared."""

    def execute(self, operation: str, args: Sequence[Any] = (), stream: Any = None) -> Any:
        if not args or stream is not None or self._input_oids:
            return super().execute(operation, args, stream)
        # The inherited method hands it to the connection as it is, and translates errors.
        return super().execute(_Bound(_numbered(self.paramstyle, operation), args))  # type: ignore[arg-type]


class PreparingConnection(Connection):
    """pg8000's connection with its one method for statements without parameters extended to those of the cursor."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._prepared: OrderedDict[str, tuple[bytes, Any, Any]] = OrderedDict()
        super().__init__(*args, **options)

    def cursor(self) -> PreparingCursor:
        return PreparingCursor(self)

    def execute_simple(self, statement: str | _Bound) -> Any:
        try:
            return self._execute(statement)
        except OSError as error:
            # The server may close the socket before its last message is read. SQLAlchemy looks for these words.
            raise InterfaceError(f"network error: {error}") from error

    def _execute(self, statement: str | _Bound) -> Any:
        if not isinstance(statement, _Bound):
            return super().execute_simple(statement)
        statement, values = statement
        if statement not in self._prepared:
            self._prepared[statement] = self.prepare_statement(statement, ())
        self._prepared.move_to_end(statement)
        name, columns, functions = self._prepared[statement]
        try:
            found = self.execute_named(name, make_params(self.py_types, values), columns, functions, statement)
        except DatabaseError:
            self._prepared.pop(statement)  # it may refer to a table that was changed since
            raise
        if len(self._prepared) > STATEMENTS:
            self.close_prepared_statement(self._prepared.popitem(last=False)[1][0])
        return found
