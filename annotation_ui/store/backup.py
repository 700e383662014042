"""Copies of a SQLite database while it is used, and a database made from a copy. PostgreSQL has tools of its own."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from annotation_ui.store.database import Database, DatabaseError


def back_up(database: Database, out: Path) -> int:
    """Copy the database to a new file ``out``, as it is at one moment; returns the number of judgements in it.

    Raises:
        DatabaseError: it is no SQLite database, or ``out`` is there already.
    """
    if not database.sqlite:
        raise DatabaseError(f"{database} is copied by PostgreSQL's own tools: pg_dump, and pg_restore to read it back")
    return _copy(Path(str(database.url.database)), out)


def restore(file: Path, out: Path) -> int:
    """Make the database ``out`` from a copy; returns the number of judgements in it.

    Raises:
        DatabaseError: ``out`` is there already, or ``file`` is damaged or no database of annotations.
    """
    return _copy(file, out)


def _copy(file: Path, out: Path) -> int:
    if not file.is_file():
        raise DatabaseError(f"there is no file {file}")
    if out.exists():
        raise DatabaseError(f"{out} is there already; name a new file, or move that one away first")
    part = out.with_name(f".{out.name}.part")
    part.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(part)) as target:
            source.backup(target)
            judgements = _checked(target, file)
        part.replace(out)
    except sqlite3.DatabaseError as error:
        raise DatabaseError(f"{file} cannot be copied: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    return judgements


def _checked(copy: sqlite3.Connection, file: Path) -> int:
    copy.execute("PRAGMA journal_mode = DELETE")  # the copy is one file
    problem = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
    if problem != "ok":
        raise DatabaseError(f"{file} is damaged: {problem}")
    tables = {name for (name,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"alembic_version", "judgements", "projects"} <= tables:
        raise DatabaseError(f"{file} is no database of annotations")
    return int(copy.execute("SELECT count(*) FROM judgements").fetchone()[0])
