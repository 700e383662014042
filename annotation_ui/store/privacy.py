"""Removal of a person: a pseudonym in the place of the name, everywhere that Keel wrote the name; and the key of the
pseudonyms in exports.
"""

from __future__ import annotations

import secrets

from sqlalchemy import delete, select, text, update
from sqlalchemy.orm import Session

from annotation_ui.store.accounts import AccountError, UnknownAccount, find_user, has_way_in
from annotation_ui.store.service_tables import ApiToken, Identity, Member, SavedView, Secret, Webhook
from annotation_ui.store.tables import Event, Guideline, Job, Login, Snapshot, User

# Where names stand beside the accounts; the record's tables refuse changes, but for this one.
_AUTHORS = (Guideline.author, Job.author, Webhook.author)
_RECORDED = (Event.actor, Snapshot.author)


def forget(session: Session, name: str, *, by: str, now: float) -> str:
    """Replace ``name`` by a pseudonym for good and close the account; what the person judged stays. The pseudonym.

    What the person wrote (reasons, guidelines) stays as well, and so do names in copies and exports made before.

    Args:
        by: the actor for the audit trail, which says that it was done and keeps the pseudonym alone.

    Raises:
        AccountError: there is no such account, or it is the last one that can log in.
    """
    user = find_user(session, name, lock=True)
    if user is None:
        raise UnknownAccount(f"there is no user {name!r}")
    can_log_in = select(User.id).where(has_way_in(), User.active).limit(2)
    if list(session.scalars(can_log_in)) == [user.id]:
        raise AccountError(f"{name!r} is the last account that can log in; add another admin first")
    pseudonym = f"person-{user.id}"
    while find_user(session, pseudonym) is not None:
        pseudonym += "-x"
    if session.get_bind().dialect.name == "sqlite":
        session.execute(text("PRAGMA secure_delete = ON"))  # overwrites what is replaced
    user.name, user.password, user.active = pseudonym, None, False
    for table in (Login, ApiToken, Member, Identity):
        session.execute(delete(table).where(table.user_id == user.id))
    session.execute(delete(SavedView).where(SavedView.user_id == user.id, SavedView.shared.is_(False)))
    for column in _AUTHORS:
        session.execute(update(column.class_).where(column == name).values({column: pseudonym}))
    for column in _RECORDED:
        recorded = column.class_.__tablename__
        _suspend_trigger(session, recorded)
        session.execute(update(column.class_).where(column == name).values({column: pseudonym}))
        _restore_trigger(session, recorded)
    actor = pseudonym if by == name else by
    session.add(Event(at=now, actor=actor, kind="name removed", project=None, detail={"pseudonym": pseudonym}))
    return pseudonym


def pseudonym_key(session: Session) -> bytes:
    """The key of the pseudonyms in exports."""
    return drawn_key(session, "pseudonyms")


def drawn_key(session: Session, name: str) -> bytes:
    """A key that is drawn once for this database, and kept in it."""
    kept = session.get(Secret, name, with_for_update=True)
    if kept is None:
        kept = Secret(name=name, value=secrets.token_hex(32))
        session.add(kept)
        session.flush()
    return bytes.fromhex(kept.value)


def _suspend_trigger(session: Session, table: str) -> None:
    """Let this transaction alone change ``table``, whose rows are append-only (see the first migration)."""
    if session.get_bind().dialect.name == "sqlite":
        session.execute(text(f"DROP TRIGGER {table}_no_update"))
    else:
        session.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER {table}_append_only"))


def _restore_trigger(session: Session, table: str) -> None:
    if session.get_bind().dialect.name == "sqlite":
        session.execute(
            text(
                f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        )
    else:
        session.execute(text(f"ALTER TABLE {table} ENABLE TRIGGER {table}_append_only"))
