"""Removal of a person's name from the record, on both databases."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import DBAPIError

from annotation_ui.exchange.exporting import snapshot
from annotation_ui.exchange.votes import votes_of
from annotation_ui.labelling import session as annotating
from annotation_ui.store.accounts import AccountError, add_user, credentials_hold, login_of, open_login
from annotation_ui.store.database import Database
from annotation_ui.store.membership import add_member, members_of
from annotation_ui.store.privacy import forget
from annotation_ui.store.projects import add_guideline, find_project
from annotation_ui.store.tables import Event, User
from annotation_ui.store.tokens import make_token, tokens_of
from annotation_ui.store.webhooks import add_webhook

NOW = 1_700_000_000.0
NAME = "Ann Example"
Fill = Callable[..., Database]


def everything(database: Database) -> str:
    """All values of all tables, as text."""
    with database.read() as session:
        tables = inspect(session.connection()).get_table_names()
        return repr([session.execute(text(f'SELECT * FROM "{table}"')).all() for table in tables])


def test_a_name_is_replaced_everywhere_and_the_votes_stay(database: Database, fill: Fill) -> None:
    fill(database, people=(NAME, "bob"))
    with database.write() as session:
        add_user(session, "root", "admin", "correct horse", now=NOW)
        cookie = open_login(session, NAME, now=NOW)
        add_guideline(session, find_project(session, "p"), "Be fair.", (), author=NAME, now=NOW)
        add_member(session, find_project(session, "p"), NAME, by=NAME, now=NOW)
        add_webhook(session, "https://example.org/", ["judged"], project=None, by=NAME, now=NOW)
        make_token(session, NAME, "script", ["read"], by=NAME, now=NOW)
    for who in (NAME, "bob"):
        task = annotating.next_task(database, who, "p", now=NOW)
        assert task is not None
        annotating.vote(database, who, "p", task.token, {"label": "tie"}, now=NOW)
    with database.write() as session:
        snapshot(session, find_project(session, "p"), "s", author=NAME, now=NOW)
    assert NAME in everything(database)
    with database.write() as session:
        pseudonym = forget(session, NAME, by="root", now=NOW)
    assert NAME not in everything(database)
    with database.read() as session:
        rows = list(votes_of(session, find_project(session, "p")))
        assert sorted(row["annotator"] for row in rows) == sorted([pseudonym, "bob"])
        assert login_of(session, cookie, now=NOW) is None
        assert (tokens_of(session), members_of(session, find_project(session, "p"))) == ([], [])
        last = session.scalars(select(Event).order_by(Event.id.desc())).first()
        assert last is not None
        assert (last.actor, last.kind, last.detail) == ("root", "name removed", {"pseudonym": pseudonym})
    for statement in ("UPDATE events SET actor = 'x'", "UPDATE snapshots SET author = 'x'"):  # append-only as before
        with pytest.raises(DBAPIError, match="append-only"), database.write() as session:
            session.execute(text(statement))


def test_the_last_account_and_an_unknown_one_are_refused(sqlite: Database) -> None:
    with sqlite.write() as session:
        add_user(session, "root", "admin", "correct horse", now=NOW)
        add_user(session, "person-3", "annotator", None, now=NOW)
        add_user(session, "cyd", "annotator", "correct horse", now=NOW)
        with pytest.raises(AccountError, match="no user 'nobody'"):
            forget(session, "nobody", by="root", now=NOW)
        assert forget(session, "cyd", by="root", now=NOW) == "person-3-x"  # the other name is taken
        assert not credentials_hold(session, "person-3-x", "correct horse")
        with pytest.raises(AccountError, match="last account that can log in"):
            forget(session, "root", by="root", now=NOW)
        assert session.scalars(select(User.name).order_by(User.id)).all() == ["root", "person-3", "person-3-x"]


def test_an_admin_who_removes_the_own_name_leaves_none(database: Database, fill: Fill) -> None:
    fill(database)
    with database.write() as session:
        add_user(session, NAME, "admin", "correct horse", now=NOW)
        add_user(session, "chief", "admin", "correct horse", now=NOW)
        forget(session, NAME, by=NAME, now=NOW)
    assert NAME not in everything(database)
