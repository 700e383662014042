"""One database, SQLite or PostgreSQL: connections, transactions and migrations."""

from __future__ import annotations

import math
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from reward_models.extras import needs

with needs("annotate"):
    from alembic import command
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy import Engine, create_engine, event, inspect, text, update
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError, InvalidatePoolError, SQLAlchemyError
    from sqlalchemy.orm import Session
    from sqlalchemy.pool import QueuePool

from annotation_ui.store import service_tables  # noqa: F401  # the foreign keys of every table are known
from annotation_ui.store.tables import User

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_SECONDS = 30.0
CONNECTIONS = 20
# For PostgreSQL's planner. The default page cost is that of a hard disk: with it the planner reads all people's items
# instead of following an index to those of one person. Short statements take less time than the start of workers.
PLANNER = {"random_page_cost": "1.1", "max_parallel_workers_per_gather": "0"}
IDLE_SECONDS = 5.0  # a connection to PostgreSQL that was used since is taken to be alive
PASSWORD_VARIABLE = "KEEL_DATABASE_PASSWORD"


class DatabaseError(ValueError):
    """The database cannot be used as it is; the message says what to do."""


class Database:
    """The database of annotations.

    Args:
        url: a path of a SQLite file (made if it is missing), or ``sqlite:///FILE`` or ``postgresql://USER@HOST/NAME``,
            whose password is taken from the environment: ``KEEL_DATABASE_PASSWORD``.

    Raises:
        DatabaseError: the URL is of no supported kind.
        MissingExtraError: the driver of PostgreSQL is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = _url(url)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        # SQLite allows one writer at a time: waiting for each other here costs less than its busy loop.
        self._writing: AbstractContextManager[Any] = threading.Lock() if self.sqlite else nullcontext()
        self.engine = _engine(self.url, self.sqlite)
        self._writer = self.engine.execution_options(immediate=True)
        # Connections of their own, since to switch one over and back takes three round trips.
        self._reader = self.engine if self.sqlite else _postgres_engine(self.url, isolation_level="AUTOCOMMIT")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that changes nothing. On SQLite it sees one state of the database.

        On PostgreSQL every statement sees the state of its own time, as in its usual transactions, and no transaction
        is begun and ended around them, which would take as long as two more statements.
        """
        with Session(self._reader) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that is committed as a whole at the end of the block, or not at all."""
        with self._writing, Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        self.engine.dispose()
        self._reader.dispose()

    @property
    def pending(self) -> bool:
        """True if the schema is older than this version of Keel needs."""
        with self.engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
        newest = ScriptDirectory(str(MIGRATIONS))
        if current is not None and current not in {script.revision for script in newest.walk_revisions()}:
            raise DatabaseError(f"{self} was last used by a newer Keel (schema {current}); upgrade Keel to use it")
        return current != newest.get_current_head()

    @property
    def needed_schema(self) -> str | None:
        """The revision of the schema that this version of Keel works with."""
        return ScriptDirectory(str(MIGRATIONS)).get_current_head()

    def migrate(self) -> Path | None:
        """Bring the schema to this version's. A SQLite file with tables in it is copied first: returns the copy."""
        backup = self._backup() if self.pending else None
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with self._writer.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        return backup

    def _backup(self) -> Path | None:
        file = Path(self.url.database or "")
        if not self.sqlite or not inspect(self.engine).get_table_names():
            return None
        copy = file.with_name(f"{file.name}.{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}.backup")
        source, target = sqlite3.connect(file), sqlite3.connect(copy)
        try:
            source.backup(target)
        finally:
            source.close()
            target.close()
        return copy

    @property
    def public_name(self) -> str:
        """The path or URL to open this database by, without its password: that is left to the environment."""
        if self.sqlite:
            return str(self.url.database)
        url = self.url
        return URL.create("postgresql", url.username, None, url.host, url.port, url.database).render_as_string()

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)


def _url(text: str) -> URL:
    if "://" not in text:
        path = Path(text).expanduser().absolute()
        if not path.parent.is_dir():
            raise DatabaseError(f"no directory {path.parent} to put the database {path.name} in; make it first")
        return URL.create("sqlite", database=str(path))
    try:
        url = make_url(text)
    except ArgumentError:
        raise DatabaseError("the database URL cannot be read; write sqlite:///FILE or postgresql://HOST/NAME") from None
    if url.get_backend_name() == "postgresql":
        return url.set(drivername="postgresql+pg8000", password=url.password or os.environ.get(PASSWORD_VARIABLE))
    if url.get_backend_name() != "sqlite" or not url.database:
        raise DatabaseError(
            f"{url.get_backend_name()} is not supported; write sqlite:///FILE or postgresql://HOST/NAME"
        )
    return url.set(drivername="sqlite")


def _engine(url: URL, sqlite: bool) -> Engine:
    if not sqlite:
        return _postgres_engine(url)
    # A pool, since closing SQLite's last connection rewrites the file; none of them is used by two threads at once.
    arguments = {"timeout": BUSY_SECONDS, "check_same_thread": False}
    engine = create_engine(
        url, poolclass=QueuePool, pool_size=CONNECTIONS, connect_args=arguments, hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy begins transactions, below, not the driver
        for pragma in ("journal_mode = WAL", "foreign_keys = ON", "synchronous = FULL"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        # A deferred transaction that writes later fails at once with "database is locked" when another one wrote.
        immediate = connection.get_execution_options().get("immediate", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _postgres_engine(url: URL, **options: Any) -> Engine:
    with needs("postgres"):
        from annotation_ui.store.prepared import PreparingConnection

        # The connection used last is used next: its statements are prepared.
        engine = create_engine(url, pool_size=CONNECTIONS, pool_use_lifo=True, hide_parameters=True, **options)

    @event.listens_for(engine, "do_connect")
    def _connect(dialect: Any, record: Any, arguments: Any, options: Any) -> Any:
        connection = PreparingConnection(*arguments, **options)
        for name, value in PLANNER.items():
            connection.execute_simple(f"SET {name} = {value}")
        return connection

    @event.listens_for(engine, "checkin")
    def _checkin(connection: Any, record: Any) -> None:
        record.info["used"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _checkout(connection: Any, record: Any, proxy: Any) -> None:
        # One that was idle may have been closed by the server. To ask every time would take a round trip each.
        if time.monotonic() - record.info.get("used", math.inf) < IDLE_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except Exception as error:
            raise InvalidatePoolError() from error  # all of them are opened anew

    return engine


def schema_of(session: Session) -> str | None:
    """The revision of the schema in the database."""
    found: str | None = session.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def open_database(url: str) -> Database:
    """The database at ``url`` with an up-to-date schema.

    Raises:
        DatabaseError: it cannot be reached or written, or is a PostgreSQL database whose schema waits to be migrated by
            ``keel annotate migrate`` (SQLite files are migrated at once, after a backup).
    """
    database = Database(url)
    try:
        if database.pending:
            if not database.sqlite:
                raise DatabaseError(
                    f"the schema of {database} is not this version's; run `keel annotate migrate` first"
                )
            database.migrate()
        _try_to_write(database)
    except DatabaseError:
        database.close()
        raise
    except SQLAlchemyError as error:
        database.close()
        reason = str(error.__cause__ or error).splitlines()[0][:200]
        advice = ""
        if database.sqlite:
            advice = ". SQLite needs write access to the file and to its directory; check owner and permissions"
        raise DatabaseError(f"{database} cannot be used: {reason}{advice}") from error
    return database


def _try_to_write(database: Database) -> None:
    """Fail now rather than at the first log-in: a transaction with a write that changes nothing and is rolled back."""
    with Session(database._writer) as session:
        session.execute(update(User).values(active=User.active).where(User.id < 0))
        session.rollback()
