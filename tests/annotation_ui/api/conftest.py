"""An annotation database with people of every role, and a client of its REST interface."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from annotation_api import NOW, Fill, application
from fastapi.testclient import TestClient

from annotation_ui.store.accounts import add_user
from annotation_ui.store.database import Database
from annotation_ui.store.projects import Settings


@pytest.fixture
def filled(database: Database, fill: Fill) -> Database:
    """Six items with two votes each wanted; `ann` and `bob` annotate, `rev` reviews, `root` administers."""
    fill(database, items=6, settings=Settings(votes_per_item=2, gold_rate=0, repeat_rate=0))
    with database.write() as session:
        add_user(session, "rev", "reviewer", None, now=NOW)
        add_user(session, "root", "admin", "correct horse", now=NOW)
        add_user(session, "chief", "admin", "correct horse", now=NOW)
    return database


@pytest.fixture
def client(filled: Database) -> Iterator[TestClient]:
    with TestClient(application(filled), raise_server_exceptions=False) as made:
        yield made
