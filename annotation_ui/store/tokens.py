"""Tokens of the API: made once, shown once, stored as a hash, with scopes and an end."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from typing import Literal, NamedTuple

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from annotation_ui.store.accounts import AccountError, find_user
from annotation_ui.store.service_tables import ApiToken, Identity
from annotation_ui.store.tables import Event, User

Scope = Literal["read", "import", "export", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "import", "export", "admin")
DEFAULT_DAYS, LONGEST_DAYS = 90.0, 366.0
PREFIX = "keel_"
PER_ACCOUNT = 50  # tokens that hold at a time
UNCONFIRMED_DAYS = 30.0  # an account that signs in by a provider has to do so at least as often for its tokens to hold
USED_EVERY = 60.0  # seconds between two notes of when a token was used


class Bearer(NamedTuple):
    """The account behind a token, and what the token may be used for."""

    token: int
    user: str
    scopes: tuple[str, ...]


def make_token(
    session: Session, owner: str, name: str, scopes: Sequence[str], *, days: float = DEFAULT_DAYS, by: str, now: float
) -> tuple[ApiToken, str]:
    """A new token of the account ``owner``: its row, and the secret that is never shown again.

    Raises:
        AccountError: there is no such account that is active, or the name, a scope or the time makes no sense.
    """
    user = find_user(session, owner)
    if user is None or not user.active:
        raise AccountError(f"there is no active user {owner!r}")
    if not name or len(name) > 100 or name != name.strip() or not name.isprintable():
        raise AccountError(
            f"{name[:40]!r} is no name of a token: 1 to 100 printable characters, no space at either end"
        )
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if not scopes or unknown:
        raise AccountError(f"scopes are among {', '.join(SCOPES)}, at least one; not {', '.join(unknown) or 'none'}")
    if not 0 < days <= LONGEST_DAYS:
        raise AccountError(f"a token holds for more than 0 and at most {LONGEST_DAYS:g} days, not {days:g}")
    held = session.scalars(select(ApiToken.id).where(ApiToken.user_id == user.id, *_holds(now))).all()
    if len(held) >= PER_ACCOUNT:
        raise AccountError(f"{owner!r} has {PER_ACCOUNT} tokens; revoke one first")
    secret = PREFIX + secrets.token_urlsafe(32)
    wanted = [scope for scope in SCOPES if scope in scopes]
    token = ApiToken(
        user_id=user.id, name=name, token_hash=_hash(secret), scopes=wanted, created=now, expires=now + days * 86400
    )
    session.add(token)
    session.flush()
    detail = {"token": token.id, "user": user.id, "scopes": wanted}
    session.add(Event(at=now, actor=by, kind="token made", project=None, detail=detail))
    return token, secret


def bearer_of(session: Session, secret: str, *, now: float) -> Bearer | None:
    """The account and scopes of a token that holds; ``None`` for any other text."""
    found = session.execute(
        select(ApiToken.id, User.name, ApiToken.scopes)
        .join(User, User.id == ApiToken.user_id)
        .where(ApiToken.token_hash == _hash(secret), *_holds(now), User.active)
        .where(~exists().where(Identity.user_id == User.id, Identity.confirmed < now - UNCONFIRMED_DAYS * 86400))
    ).one_or_none()
    return None if found is None else Bearer(found[0], found[1], tuple(found[2]))


def note_use(session: Session, token: int, *, now: float) -> None:
    """Remember when a token was last used."""
    row = session.get(ApiToken, token)
    if row is not None:
        row.used = now


def tokens_of(session: Session, owner: str | None = None) -> list[ApiToken]:
    """The tokens of an account, or of all of them, newest first."""
    wanted = select(ApiToken).join(User, User.id == ApiToken.user_id).order_by(ApiToken.id.desc())
    return list(session.scalars(wanted if owner is None else wanted.where(User.name == owner)))


def revoke_token(session: Session, token: int, *, owner: str | None = None, by: str, now: float) -> None:
    """End a token at once.

    Args:
        owner: the account it must belong to.

    Raises:
        AccountError: there is no such token.
    """
    row = session.get(ApiToken, token)
    if row is None or (owner is not None and row.user.name != owner):
        raise AccountError(f"there is no token {token}")
    if row.revoked is None:
        row.revoked = now
        detail = {"token": row.id, "user": row.user_id}
        session.add(Event(at=now, actor=by, kind="token revoked", project=None, detail=detail))


def token_state(token: ApiToken, *, now: float) -> str:
    return "revoked" if token.revoked is not None else "expired" if token.expires <= now else "holds"


def _holds(now: float) -> tuple:  # type: ignore[type-arg]
    return ApiToken.revoked.is_(None), ApiToken.expires > now


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
