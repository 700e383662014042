"""A connection to PostgreSQL that keeps its statements prepared. Only PostgreSQL's driver imports this module.

pg8000 sends every statement anew, in three round trips: parse, describe, execute. A vote takes some forty statements,
and each wait for the server gives the interpreter's lock away, which a busy server gets back late. A statement that is
prepared once takes one round trip, and the server does not parse it again.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from pg8000.converters import make_params
from pg8000.exceptions import DatabaseError
from pg8000.legacy import Connection

STATEMENTS = 200  # kept for each connection; the app has about eighty


class PreparingConnection(Connection):
    """pg8000's connection with its one method for statements with parameters replaced."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._prepared: OrderedDict[str, tuple[bytes, Any, Any]] = OrderedDict()
        super().__init__(*args, **options)

    def execute_unnamed(self, statement: str, vals: Any = (), oids: Any = (), stream: Any = None) -> Any:
        if stream is not None or oids:
            return super().execute_unnamed(statement, vals, oids, stream)
        if statement not in self._prepared:
            self._prepared[statement] = self.prepare_statement(statement, ())
        self._prepared.move_to_end(statement)
        name, columns, functions = self._prepared[statement]
        try:
            found = self.execute_named(name, make_params(self.py_types, vals), columns, functions, statement)
        except DatabaseError:
            self._prepared.pop(statement)  # it may refer to a table that was changed since
            raise
        if len(self._prepared) > STATEMENTS:
            self.close_prepared_statement(self._prepared.popitem(last=False)[1][0])
        return found
