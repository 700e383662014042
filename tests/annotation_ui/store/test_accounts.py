"""Passwords, log-ins and roles."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from annotation_ui.store.accounts import (
    SESSION_SECONDS,
    AccountError,
    Forbidden,
    add_user,
    close_login,
    credentials_hold,
    device_mark,
    disable,
    enable,
    find_user,
    known_device,
    login_of,
    open_login,
    require,
    set_password,
    set_role,
)
from annotation_ui.store.database import Database
from annotation_ui.store.tables import Event, Login

NOW = 1_700_000_000.0


def test_a_password_is_stored_salted_and_slow(sqlite: Database) -> None:
    with sqlite.write() as session:
        ann = add_user(session, "ann", "annotator", "correct horse", now=NOW)
        bob = add_user(session, "bob", "annotator", "correct horse", now=NOW)
        add_user(session, "imported", "annotator", None, now=NOW)
        assert ann.password != bob.password
        assert "horse" not in str(ann.password)
        assert credentials_hold(session, "ann", "correct horse")
        for name, password in (("ann", "correct hors"), ("ann", ""), ("imported", ""), ("nobody", "correct horse")):
            assert not credentials_hold(session, name, password)


def test_a_log_in_ends_by_time_by_logging_out_and_with_the_account(database: Database) -> None:
    with database.write() as session:
        user = add_user(session, "ann", "annotator", None, now=NOW)
        cookie, other = (open_login(session, "ann", now=NOW) for _ in range(2))
        assert cookie not in session.scalars(select(Login.cookie_hash)).all()
        assert login_of(session, cookie, now=NOW + SESSION_SECONDS - 1) == "ann"
        assert login_of(session, cookie, now=NOW + SESSION_SECONDS) is None
        close_login(session, cookie, now=NOW)
        assert login_of(session, cookie, now=NOW) is None
        assert login_of(session, other, now=NOW) == "ann"
        disable(session, "ann", now=NOW)
        session.flush()
        assert not user.active
        assert login_of(session, other, now=NOW) is None
        for nothing in (None, "", "guess", "\udc80"):
            assert login_of(session, nothing, now=NOW) is None


def test_a_new_password_closes_every_log_in(sqlite: Database) -> None:
    with sqlite.write() as session:
        add_user(session, "ann", "annotator", None, now=NOW)
        cookie = open_login(session, "ann", now=NOW)
        set_password(session, "ann", "a new password", now=NOW)
        assert login_of(session, cookie, now=NOW) is None
        assert credentials_hold(session, "ann", "a new password")


def test_a_browsers_mark_holds_for_its_account_until_the_password_changes(sqlite: Database) -> None:
    with sqlite.write() as session:
        add_user(session, "ann", "annotator", "correct horse", now=NOW)
        add_user(session, "bob", "annotator", "correct horse", now=NOW)
        mark = device_mark(session, "ann")
        assert known_device(session, "ann", mark)
        for name, wrong in (("bob", mark), ("ann", f"{mark}x"), ("ann", mark.partition(".")[0]), ("ann", None)):
            assert not known_device(session, name, wrong)
        set_password(session, "ann", "a new password", now=NOW)
        assert not known_device(session, "ann", mark)


def test_roles(sqlite: Database) -> None:
    with sqlite.write() as session:
        add_user(session, "ann", "annotator", None, now=NOW)
        assert require(session, "ann", "annotator", "admin").name == "ann"
        with pytest.raises(Forbidden, match="reviewer or admin"):
            require(session, "ann", "reviewer", "admin")
        user = find_user(session, "ann")
        assert user is not None
        user.active = False
        with pytest.raises(Forbidden):
            require(session, "ann", "annotator")


@pytest.mark.parametrize(
    ("name", "role", "password", "says"),
    [
        ("ann", "annotator", None, "already"),
        ("", "annotator", None, "no user name"),
        (" x", "annotator", None, "no user name"),
        ("a\nb", "annotator", None, "no user name"),
        ("x", "owner", None, "none of annotator, reviewer, admin"),
        ("x", "annotator", "short", "at least 10"),
    ],
)
def test_accounts_that_cannot_be(sqlite: Database, name: str, role: str, password: str | None, says: str) -> None:
    with sqlite.write() as session:
        add_user(session, "ann", "annotator", None, now=NOW)
        with pytest.raises(AccountError, match=says):
            add_user(session, name, role, password, now=NOW)  # type: ignore[arg-type]


def test_changes_of_an_account_name_who_made_them(sqlite: Database) -> None:
    with sqlite.write() as session:
        user = add_user(session, "ann", "annotator", "correct horse", by="root", now=NOW)
        add_user(session, "imported", "annotator", None, by="root", now=NOW)
        set_role(session, "ann", "reviewer", by="root", now=NOW)
        disable(session, "ann", by="root", now=NOW)
        assert not credentials_hold(session, "ann", "correct horse")
        enable(session, "ann", by="root", now=NOW)
        assert credentials_hold(session, "ann", "correct horse")
        assert user.role == "reviewer"
        with pytest.raises(AccountError, match="no password"):
            enable(session, "imported", now=NOW)
        with pytest.raises(AccountError, match="none of"):
            set_role(session, "ann", "king", now=NOW)  # type: ignore[arg-type]
        with pytest.raises(AccountError, match="no user"):
            set_role(session, "nobody", "admin", now=NOW)
        said = session.execute(
            select(Event.actor, Event.kind).where(Event.kind != "logged in").order_by(Event.id)
        ).all()
    assert {actor for actor, _ in said} == {"root"}
    assert [kind for _, kind in said] == ["user added", "user added", "role changed", "user disabled", "user enabled"]
