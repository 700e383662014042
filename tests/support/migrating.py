"""Databases with the schema of an older version."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import JSON, Boolean, Connection, MetaData, func, select, text

from annotation_ui.store.database import MIGRATIONS


def without_schema(connection: Connection) -> None:
    """Remove everything, the schema too."""
    if connection.dialect.name != "sqlite":
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
        return
    connection.execute(text("DROP TABLE item_words"))
    connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
    names = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars().all()
    for name in names:
        if not name.startswith("sqlite_"):
            connection.execute(text(f'DROP TABLE "{name}"'))


def upgrade(connection: Connection, revision: str) -> None:
    """Bring an empty database, or one of an older schema, to ``revision``."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def copy_dump(connection: Connection, dump: Path) -> None:
    """Put the rows of a SQLite dump into a PostgreSQL database whose schema is that of the dump."""
    tables = MetaData()
    tables.reflect(connection)
    with sqlite3.connect(":memory:") as source:
        source.row_factory = sqlite3.Row
        source.executescript(dump.read_text(encoding="utf-8"))
        for table in tables.sorted_tables:
            if table.name == "alembic_version":
                continue
            rows = [dict(row) for row in source.execute(f'SELECT * FROM "{table.name}"')]
            for column in table.columns:
                for row in rows:
                    value = row[column.name]
                    if value is not None and isinstance(column.type, Boolean):
                        row[column.name] = bool(value)
                    if value is not None and isinstance(column.type, JSON):
                        row[column.name] = json.loads(value)
            if rows:
                connection.execute(table.insert(), rows)
            if rows and "id" in table.c:
                last = select(func.max(table.c.id)).scalar_subquery()
                connection.execute(select(func.setval(f"{table.name}_id_seq", last)))
    source.close()
