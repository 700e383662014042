"""Accounts, passwords and log-ins."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement, delete, exists, func, or_, select
from sqlalchemy.orm import Session

from annotation_ui.store.service_tables import Identity
from annotation_ui.store.tables import Event, Judgement, Login, User

Role = Literal["annotator", "reviewer", "admin"]
ROLES: tuple[Role, ...] = ("annotator", "reviewer", "admin")
MIN_PASSWORD = 10
SESSION_SECONDS = 14 * 24 * 3600.0
IMPORTED = "import-"  # the keys of imported verdicts begin so
SCRYPT = {"n": 2**15, "r": 8, "p": 1, "maxmem": 2**26}  # OWASP's second choice: 32 MiB, about 80 ms


class AccountError(ValueError):
    """An account that cannot be made or changed as asked."""


class UnknownAccount(AccountError):
    """There is no account by this name."""


class Forbidden(PermissionError):
    """The account may not do this."""


def hash_password(password: str) -> str:
    """``scrypt$salt$hash``, with a salt of its own.

    Raises:
        AccountError: the password is shorter than :data:`MIN_PASSWORD` characters.
    """
    if len(password) < MIN_PASSWORD:
        raise AccountError(f"the password has {len(password)} characters; at least {MIN_PASSWORD} are needed")
    salt = secrets.token_bytes(16)
    return f"scrypt${_b64(salt)}${_b64(_scrypt(password, salt))}"


def password_matches(password: str, stored: str) -> bool:
    _, salt, expected = stored.split("$")
    return hmac.compare_digest(_b64(_scrypt(password, base64.b64decode(salt))), expected)


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode("utf-8", "surrogatepass"), salt=salt, **SCRYPT)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


_NOBODY = f"scrypt${_b64(b'0' * 16)}${_b64(b'0' * 64)}"  # checked for unknown names, so that they take as long


def add_user(
    session: Session, name: str, role: Role, password: str | None, *, by: str | None = None, now: float
) -> User:
    """A new account; one without a password cannot log in.

    Args:
        by: who makes it, for the audit trail.

    Raises:
        AccountError: the name is taken or unusable, the role is none, or the password is too short.
    """
    if not name or len(name) > 100 or name != name.strip() or not name.isprintable():
        raise AccountError(f"{name[:40]!r} is no user name: 1 to 100 printable characters, no space at either end")
    _check_role(role)
    if find_user(session, name) is not None:
        raise AccountError(f"there is a user {name!r} already")
    hashed = None if password is None else hash_password(password)
    user = User(name=name, role=role, password=hashed, active=True, created=now)
    session.add(user)
    session.flush()
    detail = {"user": user.id, "role": role}
    session.add(Event(at=now, actor=by or name, kind="user added", project=None, detail=detail))
    return user


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise AccountError(f"role {role!r} is none of {', '.join(ROLES)}")


def find_user(session: Session, name: str, *, lock: bool = False) -> User | None:
    found = select(User).where(User.name == name)
    return session.scalar(found.with_for_update() if lock else found)


def has_identity() -> ColumnElement[bool]:
    """That a person at a provider signs in as the account."""
    return exists().where(Identity.user_id == User.id)


def has_way_in() -> ColumnElement[bool]:
    """That somebody may log in as the account, unless it is disabled: with a password, or as a person at a provider."""
    return or_(User.password.is_not(None), has_identity())


def anyone_can_log_in(session: Session) -> bool:
    return session.scalar(select(User.id).where(has_way_in()).limit(1)) is not None


def can_log_in(session: Session, user: User) -> bool:
    """False for the authors of imported votes, and for people who may sign in no more."""
    return session.scalar(select(User.id).where(User.id == user.id, has_way_in())) is not None


def is_author_of_imports(session: Session, user: User) -> bool:
    """True if all verdicts of the account, at least one, were imported, and nobody can log in as it.

    An account that was unlinked from a provider has no way in either, but it is a person's: it voted here, or never.
    """
    imported = Judgement.key.startswith(IMPORTED)
    own, theirs = (exists().where(Judgement.user_id == user.id, condition) for condition in (~imported, imported))
    return not can_log_in(session, user) and bool(session.scalar(select(theirs & ~own)))


def require(session: Session, name: str | None, *roles: Role, lock: bool = False) -> User:
    """The active account ``name`` if its role is one of ``roles``; ``lock`` keeps its row until the transaction ends.

    Raises:
        Forbidden: it is not.
    """
    return permitted(find_user(session, name, lock=lock) if name else None, *roles)


def permitted(user: User | None, *roles: Role) -> User:
    """``user``, if it is an active account with one of ``roles``.

    Raises:
        Forbidden: it is not.
    """
    if user is None or not user.active:
        raise Forbidden("log in first")
    if user.role not in roles:
        raise Forbidden(f"this is for the role {' or '.join(roles)}; yours is {user.role}")
    return user


def credentials_hold(session: Session, name: str, password: str) -> bool:
    """True if ``name`` may log in with ``password``. An unknown name takes as long."""
    user = find_user(session, name)
    stored = user.password if user is not None and user.active else None
    return password_matches(password, stored or _NOBODY) and stored is not None


def device_mark(session: Session, name: str) -> str:
    """A cookie value that only a browser gets from which ``name`` has logged in; a new password makes it invalid."""
    user = find_user(session, name)
    if user is None or user.password is None:
        raise Forbidden("log in first")
    nonce = secrets.token_urlsafe(16)
    return f"{nonce}.{_device_hash(user.password, nonce)}"


def known_device(session: Session, name: str, mark: str | None) -> bool:
    """True if ``mark`` was made by :func:`device_mark` for ``name``."""
    nonce, dot, given = (mark or "")[:200].partition(".")
    user = find_user(session, name) if dot else None
    if user is None or user.password is None:
        return False
    return hmac.compare_digest(_device_hash(user.password, nonce).encode(), given.encode("utf-8", "replace"))


def _device_hash(stored: str, nonce: str) -> str:
    return hmac.new(stored.encode(), f"device {nonce}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def note_guessing(session: Session, name: str, *, now: float) -> None:
    """Write to the audit trail that log-ins to the account ``name`` are being guessed; no other name is kept."""
    if find_user(session, name) is not None:
        session.add(Event(at=now, actor=name, kind="too many failed log-ins", project=None, detail={}))


def open_login(session: Session, name: str, *, seconds: float = SESSION_SECONDS, now: float) -> str:
    """A new log-in of ``name`` for so long: the value for its cookie, of which only a hash is stored."""
    user = find_user(session, name)
    if user is None:
        raise Forbidden("log in first")
    cookie = secrets.token_urlsafe(32)
    session.execute(delete(Login).where(Login.expires < now))
    session.add(Login(cookie_hash=_cookie_hash(cookie), user_id=user.id, created=now, expires=now + seconds))
    session.add(Event(at=now, actor=name, kind="logged in", project=None, detail={}))
    return cookie


def login_of(session: Session, cookie: str | None, *, now: float) -> str | None:
    """The name that ``cookie`` is a live log-in of."""
    if not cookie:
        return None
    return session.scalar(
        select(User.name)
        .join(Login, Login.user_id == User.id)
        .where(Login.cookie_hash == _cookie_hash(cookie), Login.expires > now, User.active)
    )


def close_login(session: Session, cookie: str, *, now: float) -> None:
    name = login_of(session, cookie, now=now)
    if name is not None:
        session.execute(delete(Login).where(Login.cookie_hash == _cookie_hash(cookie)))
        session.add(Event(at=now, actor=name, kind="logged out", project=None, detail={}))


def set_password(session: Session, name: str, password: str, *, by: str | None = None, now: float) -> None:
    """Give ``name`` a new password and close its log-ins everywhere."""
    user = _known(session, name)
    user.password = hash_password(password)
    _changed(session, user, "password changed", by, now)


def change_own_password(session: Session, name: str, old: str, new: str, *, now: float) -> None:
    """Give the own account a new password, which ends its log-ins everywhere.

    Raises:
        AccountError: ``old`` is not its password, or ``new`` is too short.
    """
    if len(old) > 1000 or not credentials_hold(session, name, old):
        raise AccountError("the old password is wrong")
    if len(new) > 1000:
        raise AccountError("a password has at most 1000 characters")
    set_password(session, name, new, now=now)


def close_all_logins(session: Session, name: str, *, now: float) -> int:
    """End every log-in of ``name``, on all devices; returns how many there were."""
    user = _known(session, name)
    open_ones = session.scalars(select(Login.cookie_hash).where(Login.user_id == user.id)).all()
    _changed(session, user, "signed out everywhere", name, now)
    return len(open_ones)


def set_role(session: Session, name: str, role: Role, *, by: str | None = None, now: float) -> None:
    """Give ``name`` another role, from its next request on."""
    user = _known(session, name)
    _check_role(role)
    detail = {"role": role, "before": user.role}
    user.role = role
    _changed(session, user, "role changed", by, now, log_out=False, **detail)


def disable(session: Session, name: str, *, by: str | None = None, now: float) -> None:
    """Refuse every further request of ``name``, its API tokens included. Its verdicts stay."""
    user = _known(session, name)
    user.active = False
    _changed(session, user, "user disabled", by, now)


def enable(session: Session, name: str, *, by: str | None = None, now: float) -> None:
    """Let ``name`` log in again.

    Raises:
        AccountError: nobody can log in as it: the authors of imported votes and people whose names were removed.
    """
    user = _known(session, name)
    if not can_log_in(session, user):
        raise AccountError(f"{name!r} has no password, so it cannot log in; `keel annotate user password` sets one")
    user.active = True
    _changed(session, user, "user enabled", by, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account as lists show it. ``state``: may log in, disabled, single sign-on, or no password."""

    name: str
    role: str
    state: str
    judgements: int
    created: float


def list_accounts(session: Session) -> list[Account]:
    """Every account by name, with the number of judgements it gave."""
    given = func.count(Judgement.id)
    wanted = select(User, given, has_identity()).outerjoin(Judgement, Judgement.user_id == User.id)
    rows = session.execute(wanted.group_by(User.id).order_by(User.name))
    return [
        Account(
            name=user.name,
            role=user.role,
            state=_state(user, identity),
            judgements=count,
            created=user.created,
        )
        for user, count, identity in rows.all()
    ]


def _state(user: User, identity: bool) -> str:
    if not user.active:
        return "disabled"
    return "may log in" if user.password else "single sign-on" if identity else "no password"


def require_another_admin(session: Session, name: str) -> None:
    """Raise :class:`AccountError` if ``name`` is the last admin that can log in: nobody could administer afterwards."""
    user = _known(session, name)
    admins = select(User.id).where(User.role == "admin", User.active, has_way_in()).order_by(User.id)
    # Locked, since two admins may lock each other out at once.
    if list(session.scalars(admins.with_for_update())) == [user.id]:
        raise AccountError(f"{user.name!r} is the last admin that can log in; make another one first")


def _known(session: Session, name: str) -> User:
    user = find_user(session, name)
    if user is None:
        raise UnknownAccount(f"there is no user {name!r}")
    return user


def _changed(
    session: Session, user: User, kind: str, by: str | None, now: float, *, log_out: bool = True, **detail: str
) -> None:
    if log_out:
        session.execute(delete(Login).where(Login.user_id == user.id))
    said = {"user": user.id, **detail}
    session.add(Event(at=now, actor=by or user.name, kind=kind, project=None, detail=said))


def _cookie_hash(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).hexdigest()
