"""A database for every test, on SQLite and, where there is a server, on PostgreSQL."""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import make_url

from annotation_ui.store.accounts import Role, add_user
from annotation_ui.store.database import Database
from annotation_ui.store.forms import Kind
from annotation_ui.store.projects import Candidate, Settings, add_items, create_project
from reward_models.data.records import Message

NOW = 1_700_000_000.0
POSTGRES = os.environ.get("KEEL_TEST_POSTGRES_URL")
PLAIN = Settings(gold_rate=0.0, repeat_rate=0.0)


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database with the schema, to be copied."""
    path = tmp_path_factory.mktemp("template") / "empty.db"
    database = Database(str(path))
    database.migrate()
    with database.engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path


@pytest.fixture(scope="session")
def _postgres() -> Iterator[Connection | None]:
    """A connection to the server, for making databases."""
    if POSTGRES is None:
        yield None
        return
    engine = create_engine(make_url(POSTGRES).set(drivername="postgresql+pg8000"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture(scope="session")
def _postgres_template(_postgres: Connection | None) -> Iterator[str | None]:
    if _postgres is None:
        yield None
        return
    name = f"keel_template_{uuid.uuid4().hex[:8]}"
    _postgres.execute(text(f'CREATE DATABASE "{name}"'))
    database = Database(_postgres_url(name))
    database.migrate()
    database.close()
    yield name
    _postgres.execute(text(f'DROP DATABASE "{name}"'))


@pytest.fixture(params=["sqlite", "postgres"])
def database(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    _sqlite_template: Path,
    _postgres: Connection | None,
    _postgres_template: str | None,
) -> Iterator[Database]:
    """An empty database with the schema, on each kind of server."""
    if request.param == "sqlite":
        yield from _sqlite(tmp_path, _sqlite_template)
        return
    if _postgres is None:
        pytest.skip("no PostgreSQL server; set KEEL_TEST_POSTGRES_URL to postgresql://USER@HOST:PORT/postgres")
    name = f"keel_test_{uuid.uuid4().hex[:8]}"
    _postgres.execute(text(f'CREATE DATABASE "{name}" TEMPLATE "{_postgres_template}"'))
    database = Database(_postgres_url(name))
    yield database
    database.close()
    _postgres.execute(text(f'DROP DATABASE "{name}"'))


@pytest.fixture
def sqlite(tmp_path: Path, _sqlite_template: Path) -> Iterator[Database]:
    """For what does not depend on the kind of database."""
    yield from _sqlite(tmp_path, _sqlite_template)


def _sqlite(directory: Path, template: Path) -> Iterator[Database]:
    path = directory / "annotations.db"
    shutil.copy(template, path)
    database = Database(str(path))
    yield database
    database.close()


def _postgres_url(name: str) -> str:
    assert POSTGRES is not None
    return make_url(POSTGRES).set(database=name).render_as_string(hide_password=False)


def pair(number: int, *, gold: str | None = None) -> Candidate:
    return Candidate(
        prompt=(Message("user", f"question {number}"),),
        responses=((Message("assistant", f"first {number}"),), (Message("assistant", f"second {number}"),)),
        models=("model-x", "model-y"),
        gold=gold,
        id=str(number),
        source="made up",
    )


def single(number: int, *, gold: str | None = None) -> Candidate:
    return Candidate(
        prompt=(Message("user", f"question {number}"),),
        responses=((Message("assistant", f"answer {number}"),),),
        models=(None,),
        gold=gold,
        id=str(number),
        source="made up",
    )


@pytest.fixture
def fill() -> Callable[..., Database]:
    return _fill


def _fill(
    database: Database,
    *,
    items: int = 3,
    kind: Kind = "preference",
    settings: Settings = PLAIN,
    people: tuple[str, ...] = ("ann", "bob", "cyd"),
    role: Role = "annotator",
    gold: int = 0,
) -> Database:
    """A project ``p`` with numbered items and accounts that have no password."""
    make = pair if kind == "preference" else single
    with database.write() as session:
        for name in people:
            add_user(session, name, role, None, now=NOW)
        project = create_project(session, "p", kind, settings, author="root", now=NOW)
        answer = "a" if kind == "preference" else "safe"
        golden = [make(1000 + n, gold=answer) for n in range(gold)]
        add_items(session, project, [*(make(n) for n in range(items)), *golden], author="root", now=NOW)
    return database


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the entry point that an installed distribution has, also for processes started by a test."""
    folder = tmp_path / "installed"
    (folder / "x-1.dist-info").mkdir(parents=True)
    (folder / "x-1.dist-info" / "METADATA").write_text("Name: x\nVersion: 1\n")
    points = "[keel.sources]\nannotations = annotation_ui.exchange.exporting:rows_of\n"
    (folder / "x-1.dist-info" / "entry_points.txt").write_text(points)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from browsing import CHROMIUM, LAUNCH
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(LAUNCH))
        yield made
        made.close()


@pytest.fixture
def site(browser: Any, sqlite: Database) -> Iterator[Callable[..., Any]]:
    from browsing import Site

    running: list[Site] = []

    def start(who: str | None = "ann") -> Any:
        running.append(Site(browser, sqlite, who))
        return running[0]

    yield start
    for one in running:
        one.stop()
        assert one.problems == []


@pytest.fixture
def tiny_config(tmp_path: Path) -> Path:
    """The settings of a helpful model small enough to train in a second."""
    from omegaconf import OmegaConf
    from training_runs import SETTINGS

    words = [word for word in SETTINGS if not word.startswith(("data.", "save_every"))]
    file = tmp_path / "tiny.yaml"
    OmegaConf.save(OmegaConf.from_dotlist(["task=preference", *words]), file)
    return file
