"""Import from and export to a client as lines of JSON, with the role checked in every function."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from annotation_ui.actions.snapshots import Rows, rule_of
from annotation_ui.exchange import exporting
from annotation_ui.exchange.importing import Imported, import_items
from annotation_ui.exchange.votes import newest_judgement, votes_after
from annotation_ui.store.accounts import Role, require
from annotation_ui.store.database import Database
from annotation_ui.store.membership import find_visible, require_open
from annotation_ui.store.privacy import pseudonym_key
from annotation_ui.store.projects import ProjectError, find_project
from annotation_ui.store.service_tables import ImportKey
from reward_models.data.sources import BadRowsError
from reward_models.data.streams import SourceError

REVIEWERS: tuple[Role, ...] = ("reviewer", "admin")
BAD_ROWS_NAMED = 20
KEY_SECONDS = 7 * 86400.0  # for which the answer to an idempotency key is kept
take_snapshot = exporting.take_snapshot


def require_import(database: Database, who: str | None, project_name: str) -> None:
    """Check that ``who`` may import into a project, before anything large is read.

    Raises:
        Forbidden: ``who`` is no admin.
        ProjectError: there is no such project, or it is archived.
    """
    with database.read() as session:
        require(session, who, "admin")
        require_open(find_project(session, project_name))


def import_lines(
    database: Database,
    who: str | None,
    project_name: str,
    body: bytes,
    *,
    name: str = "upload",
    gold: bool = False,
    max_bad: int = 0,
    key: str | None = None,
    now: float,
) -> dict[str, Any]:
    """Add the items in lines of JSON to a project; the counts. All of them or none.

    Args:
        name: the source that the items are given.
        key: with a key that was used before, nothing is done and the answer of the first time is returned. Keys are
            kept for a week.

    Raises:
        Forbidden: ``who`` is no admin.
        ProjectError: there is no such project, a row cannot be read, or the key was used for something else.
    """
    digest = hashlib.sha256(json.dumps([project_name, name, gold, max_bad]).encode() + body).hexdigest()
    with database.read() as session:
        user = require(session, who, "admin")
        user_id, author = user.id, user.name
        require_open(find_project(session, project_name))
        if key is not None and (known := _answered(session, user_id, key, digest)) is not None:
            return known

    def remember(session: Session, done: Imported) -> None:
        if key is not None:
            _remember(session, ImportKey(user_id=user_id, key=key, digest=digest, answer=_answer(done), created=now))

    with tempfile.TemporaryDirectory(prefix="keel-import-") as folder:
        file = Path(folder) / f"{_file_name(name)}.jsonl"
        file.write_bytes(body)
        try:
            done = import_items(
                database,
                project_name,
                [str(file)],
                gold=gold,
                max_bad=max_bad,
                author=author,
                now=now,
                remember=remember,
            )
        except IntegrityError:
            with database.read() as session:  # the same request came twice at once
                if key is not None and (known := _answered(session, user_id, key, digest)) is not None:
                    return known
            raise ProjectError(
                "another import added some of these items at the same time; nothing was stored, send it again"
            ) from None
        except (SourceError, BadRowsError) as error:
            raise ProjectError(_unread(error, folder, max_bad)) from None
    return _answer(done)


def _unread(error: Exception, folder: str, allowed: int) -> str:
    """Name the bad lines of what a client sent; it has no file that a command could check."""
    if not isinstance(error, BadRowsError):
        return str(error).replace(f"{folder}/", "")
    named = [f"line {row.line}: {row.reason}" for row in error.bad[:BAD_ROWS_NAMED]]
    more = [f"and {len(error.bad) - BAD_ROWS_NAMED} more"] if len(error.bad) > BAD_ROWS_NAMED else []
    return "\n".join([*named, *more, f"bad rows: {len(error.bad)}, allowed: {allowed} (max_bad); nothing was added"])


def _remember(session: Session, made: ImportKey) -> None:
    """Keep a key, and delete those that are too old."""
    session.execute(delete(ImportKey).where(ImportKey.created < made.created - KEY_SECONDS))
    session.add(made)


def _file_name(name: str) -> str:
    """A file name from what a client sent; never that of an RL run's samples, which are read in another way."""
    kept = "".join(char if char.isalnum() or char in "-_." else "-" for char in name).strip(".")
    kept = kept.removesuffix(".jsonl").encode("utf-8", "replace")[:200].decode("utf-8", "ignore")  # of 255 bytes
    return kept if kept not in ("", "samples") else "upload"


def _answer(done: Imported) -> dict[str, Any]:
    counts = asdict(done.added) | {"annotators": len(done.added.annotators), "bad": len(done.bad)}
    return counts | {"left_out": [f"line {row.line}: {row.reason}" for row in done.bad[:BAD_ROWS_NAMED]]}


def _answered(session: Session, user_id: int, key: str, digest: str) -> dict[str, Any] | None:
    found = session.scalar(select(ImportKey).where(ImportKey.user_id == user_id, ImportKey.key == key))
    if found is None:
        return None
    if found.digest != digest:
        raise ProjectError("this idempotency key was used for another import; take a new key for a new request")
    return found.answer


def vote_lines(
    database: Database, who: str | None, project_name: str, *, snapshot: str | None = None, pseudonyms: bool = False
) -> Iterator[str]:
    """Every judgement as a line of JSON, read while they are sent. Errors are raised at once, not by the iterator.

    A client that reads slowly holds no connection to the database: each part is read in a session of its own.
    Reviewers accept texts without being told who wrote them: in a project of rewrites they get pseudonyms.
    """
    key = None
    with database.read() as session:
        user = require(session, who, *REVIEWERS)
        project = find_visible(session, user, project_name)
        snapshot_id = exporting.find_snapshot(session, project, snapshot).id if snapshot else None
        pseudonyms = pseudonyms or (project.kind == "rewrite" and user.role != "admin")
        number, newest = project.id, newest_judgement(session)
    if pseudonyms:
        with database.write() as session:
            key = pseudonym_key(session)

    def lines() -> Iterator[str]:
        last = 0
        while True:
            with database.read() as session:
                rows = votes_after(session, number, last, newest, snapshot_id=snapshot_id, pseudonyms=key)
            if not rows:
                return
            yield from (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            last = rows[-1]["judgement"]

    return lines()


def labelled_lines(
    database: Database, who: str | None, project_name: str, snapshot: str, split: str, rows: Rows = "labels"
) -> Iterator[str]:
    """The rows of a snapshot as lines of JSON."""
    with database.read() as session:
        project = find_visible(session, require(session, who, *REVIEWERS), project_name)
        found = exporting.export(session, project, snapshot, rule_of(rows)).rows[split]
    return (json.dumps(row, ensure_ascii=False) + "\n" for row in found)
