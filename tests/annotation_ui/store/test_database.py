"""Connections, migrations and backups."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from annotation_ui.store import database as store
from annotation_ui.store import prepared
from annotation_ui.store.accounts import add_user
from annotation_ui.store.database import Database, DatabaseError, open_database
from annotation_ui.store.tables import Base, User


def test_migrations_give_the_tables_of_the_models(database: Database) -> None:
    with database.engine.connect() as connection:
        own = lambda thing, name, kind, *_: kind != "table" or not name.startswith("item_words")  # noqa: E731
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_object": own})
        assert compare_metadata(context, Base.metadata) == []
    assert not database.pending


def test_a_transaction_is_kept_whole_or_not_at_all(database: Database) -> None:
    with pytest.raises(RuntimeError, match="midway"), database.write() as session:  # noqa: PT012
        add_user(session, "ann", "annotator", None, now=0.0)
        raise RuntimeError("midway")
    with database.write() as session:
        add_user(session, "bob", "annotator", None, now=0.0)
    with database.read() as session:
        assert session.scalars(select(User.name)).all() == ["bob"]


def test_sqlite_is_opened_for_safe_concurrent_use(sqlite: Database) -> None:
    with sqlite.engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        }
        assert pragmas == {"journal_mode": "wal", "synchronous": 2}
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_an_old_file_is_copied_before_it_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as old:
        old.execute("CREATE TABLE precious (word TEXT)")
        old.execute("INSERT INTO precious VALUES ('kept')")
    old.close()
    open_database(str(path)).close()
    [backup] = tmp_path.glob("*.backup")
    with sqlite3.connect(backup) as copy:
        assert copy.execute("SELECT word FROM precious").fetchall() == [("kept",)]
        assert copy.execute("SELECT name FROM sqlite_master WHERE name = 'judgements'").fetchall() == []
    copy.close()
    open_database(str(path)).close()
    assert len(list(tmp_path.glob("*.backup"))) == 1


def test_a_new_file_needs_no_copy(tmp_path: Path) -> None:
    open_database(str(tmp_path / "new.db")).close()
    assert list(tmp_path.glob("*.backup")) == []


def test_a_file_of_a_newer_version_is_left_alone(sqlite: Database) -> None:
    with sqlite.write() as session:
        session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseError, match="newer Keel"):
        open_database(str(sqlite.url.database))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://localhost/x", "mysql is not supported"),
        ("sqlite://", "not supported"),
        ("://", "cannot be read"),
        ("/no/such/directory/x.db", "no directory /no/such/directory"),
        ("postgresql://nobody:secret@127.0.0.1:1/x", "cannot be used"),
    ],
)
def test_a_database_that_cannot_be_used_is_an_error_that_keeps_the_password(url: str, says: str) -> None:
    with pytest.raises(DatabaseError, match=says) as error:
        open_database(url)
    assert "secret" not in str(error.value)


def test_a_sqlite_file_that_cannot_be_written_is_refused_at_the_start(sqlite: Database) -> None:
    sqlite.close()
    url = f"sqlite:///file:{sqlite.url.database}?mode=ro&uri=true"
    with pytest.raises(DatabaseError, match=r"write access to the file and to its directory"):
        open_database(url)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("readable", ["file", "directory"])
def test_permissions_that_are_missing_are_named(sqlite: Database, readable: str) -> None:
    sqlite.close()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        directory = Path(folder)
        path = directory / "annotations.db"
        shutil.copy(str(sqlite.url.database), path)
        directory.chmod(0o777 if readable == "file" else 0o755)
        path.chmod(0o644 if readable == "file" else 0o666)
        os.seteuid(65534)
        try:
            with pytest.raises(DatabaseError, match="check owner and permissions"):
                open_database(str(path))
        finally:
            os.seteuid(0)


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_a_postgresql_database_that_cannot_be_written_is_refused_at_the_start(database: Database) -> None:
    url = database.url.render_as_string(hide_password=False).replace("+pg8000", "")
    name = database.url.database
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    with pytest.raises(DatabaseError, match="read-only transaction"):
        open_database(url)


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_statements_stay_prepared_and_a_changed_table_is_no_trap(database: Database) -> None:
    with database.write() as session:
        add_user(session, "ann", "annotator", None, now=0.0)

    def names(count: int) -> list[str]:
        with database.read() as session:
            return list(session.scalars(select(User.name).where(User.id.in_(range(count)))))

    for count in range(2, prepared.STATEMENTS + 20):  # each a statement of its own: the oldest ones are closed
        assert names(count) == ["ann"]
    with database.read() as session:
        kept = session.scalar(text("SELECT count(*) FROM pg_prepared_statements WHERE :one = 1"), {"one": 1})
    assert 1 < (kept or 0) <= prepared.STATEMENTS + 1

    def rows() -> int:
        with database.read() as session:
            return len(session.execute(text("SELECT * FROM users WHERE id > :low"), {"low": 0}).one())

    columns = rows()
    with database.write() as session:
        session.execute(text("ALTER TABLE users ADD COLUMN extra INTEGER"))
    with pytest.raises(DBAPIError, match="cached plan"):
        rows()
    assert rows() == columns + 1


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
@pytest.mark.parametrize("idle", [True, False])
def test_connections_that_the_server_closed_are_replaced(
    database: Database, idle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an idle time nobody notices; right after a use one request fails, and the next one works."""
    monkeypatch.setattr(store, "IDLE_SECONDS", 0.0 if idle else 3600.0)
    with database.write() as session:
        add_user(session, "ann", "annotator", None, now=0.0)
    with database.read() as session:
        assert session.scalar(select(User.name)) == "ann"
    other = Database(database.url.render_as_string(hide_password=False).replace("+pg8000", ""))
    with other.read() as session:
        others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        closed = session.scalar(text(f"{others} AND datname = current_database()"))
    other.close()
    assert closed == 2
    if not idle:
        with pytest.raises(DBAPIError) as error, database.read() as session:
            session.scalar(select(User.name))
        assert error.value.connection_invalidated
    with database.read() as session:
        assert session.scalar(select(User.name)) == "ann"
