"""The actions of everybody on the own account: password and log-ins."""

from __future__ import annotations

from annotation_ui.store import accounts
from annotation_ui.store.accounts import ROLES, require
from annotation_ui.store.database import Database


def change_own_password(database: Database, who: str | None, old: str, new: str, *, now: float) -> None:
    """Needs the old password; ends every log-in of the account, this one included."""
    with database.write() as session:
        accounts.change_own_password(session, require(session, who, *ROLES).name, old, new, now=now)


def has_password(database: Database, who: str | None) -> bool:
    """True if the own account has a password; one of single sign-on has none."""
    with database.read() as session:
        return require(session, who, *ROLES).password is not None


def sign_out_everywhere(database: Database, who: str | None, *, now: float) -> int:
    """End every log-in of the own account; returns how many there were."""
    with database.write() as session:
        return accounts.close_all_logins(session, require(session, who, *ROLES).name, now=now)
