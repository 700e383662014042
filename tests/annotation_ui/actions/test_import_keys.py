"""Idempotency keys of imports are kept for a week."""

from __future__ import annotations

from annotating import NOW
from kinds import fill_kind
from sqlalchemy import select

from annotation_ui.actions.transfer import KEY_SECONDS, import_lines
from annotation_ui.store.database import Database
from annotation_ui.store.service_tables import ImportKey


def sent(database: Database, key: str, now: float) -> int:
    body = f'{{"prompt": "of {key}", "response_a": "one", "response_b": "two"}}\n'.encode()
    added: int = import_lines(database, "root", "p", body, key=key, now=now)["items"]
    return added


def keys(database: Database) -> list[str]:
    with database.read() as session:
        return sorted(session.scalars(select(ImportKey.key)))


def test_old_keys_are_deleted_by_the_next_import(database: Database) -> None:
    fill_kind(database, "preference", rows=[])
    assert (sent(database, "first", NOW), sent(database, "second", NOW + KEY_SECONDS / 2)) == (1, 1)
    assert sent(database, "first", NOW + KEY_SECONDS) == 1  # the answer of the first time
    assert keys(database) == ["first", "second"]
    assert sent(database, "third", NOW + KEY_SECONDS + 1) == 1
    assert keys(database) == ["second", "third"]
    assert sent(database, "first", NOW + KEY_SECONDS + 2) == 0  # an import of its own: the item is there already
