"""Tokens of the API: hashed, scoped, ended by time, by hand and with the account."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from annotation_ui.store.accounts import AccountError, add_user, disable
from annotation_ui.store.database import Database
from annotation_ui.store.privacy import forget
from annotation_ui.store.service_tables import ApiToken
from annotation_ui.store.tokens import bearer_of, make_token, note_use, revoke_token, token_state, tokens_of

NOW = 1_700_000_000.0
DAY = 86400.0


def test_a_token_holds_until_its_end_its_revocation_and_that_of_its_account(database: Database) -> None:
    with database.write() as session:
        add_user(session, "ann", "annotator", "correct horse", now=NOW)
        add_user(session, "root", "admin", "correct horse", now=NOW)
        made, secret = make_token(session, "ann", "script", ["export", "read"], days=2, by="root", now=NOW)
        _, other = make_token(session, "ann", "other", ["read"], by="root", now=NOW)
        assert secret.startswith("keel_")
        assert secret not in repr([vars(row) for row in session.scalars(select(ApiToken))])
        held = bearer_of(session, secret, now=NOW + 2 * DAY - 1)
        assert held == (made.id, "ann", ("read", "export"))
        assert bearer_of(session, secret, now=NOW + 2 * DAY) is None
        assert [token_state(token, now=NOW + 3 * DAY) for token in tokens_of(session, "ann")] == ["holds", "expired"]
        for nothing in ("", "keel_", secret[:-1], f"{secret} ", "\udc80"):
            assert bearer_of(session, nothing, now=NOW) is None
        note_use(session, made.id, now=NOW + 5)
        assert made.used == NOW + 5
        with pytest.raises(AccountError, match="no token"):
            revoke_token(session, made.id, owner="root", by="root", now=NOW)
        revoke_token(session, made.id, owner="ann", by="ann", now=NOW)
        assert bearer_of(session, secret, now=NOW) is None
        disable(session, "ann", by="root", now=NOW)
        session.flush()
        assert bearer_of(session, other, now=NOW) is None


def test_a_person_whose_name_is_removed_has_no_tokens(sqlite: Database) -> None:
    with sqlite.write() as session:
        add_user(session, "ann", "annotator", "correct horse", now=NOW)
        add_user(session, "root", "admin", "correct horse", now=NOW)
        _, secret = make_token(session, "ann", "ann's laptop", ["read"], by="ann", now=NOW)
        forget(session, "ann", by="root", now=NOW)
        assert bearer_of(session, secret, now=NOW) is None
        assert tokens_of(session) == []


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"owner": "nobody"}, "no active user"),
        ({"name": ""}, "no name of a token"),
        ({"name": "a\nb"}, "no name of a token"),
        ({"scopes": []}, "at least one"),
        ({"scopes": ["read", "all"]}, "not all"),
        ({"days": 0}, "more than 0"),
        ({"days": 1000}, "at most 366"),
        ({"days": float("nan")}, "more than 0"),
    ],
)
def test_tokens_that_cannot_be(sqlite: Database, changed: dict[str, Any], says: str) -> None:
    asked: dict[str, Any] = {"owner": "ann", "name": "x", "scopes": ["read"], "days": 1.0} | changed
    with sqlite.write() as session:
        add_user(session, "ann", "annotator", None, now=NOW)
        with pytest.raises(AccountError, match=says):
            make_token(session, asked["owner"], asked["name"], asked["scopes"], days=asked["days"], by="x", now=NOW)
