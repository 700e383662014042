"""Sign-in by an OpenID Connect provider: which account a person has, and the role that the person's groups give.

A person is known by the provider's ``issuer`` and ``subject`` alone. A name or an e-mail address never leads to an
account that exists already: people who can choose their name at the provider could take it over.
``keel annotate user link`` says that an account belongs to a person.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from annotation_ui.store.accounts import AccountError, Role, UnknownAccount, add_user, find_user, set_role
from annotation_ui.store.service_tables import ApiToken, Identity
from annotation_ui.store.tables import Event, Login

Refusal = Literal["", "no-group", "taken", "locked-out", "no-name"]

# Names that the audit trail and the pages use for others than people at a provider, who choose their own names.
RESERVED = frozenset({"command line", "single sign-on", "demo", "you", "writer"})


class SignIn(NamedTuple):
    """The account that a sign-in leads to, or the reason why it leads to none."""

    name: str | None
    refusal: Refusal = ""


def sign_in(session: Session, issuer: str, subject: str, *, name: str, role: Role | None, now: float) -> SignIn:
    """The account of a person whom the provider has just confirmed; a new one at the first time.

    Args:
        name: of a new account; one that exists keeps its own.
        role: the one that the person's groups give; with ``None`` the account's log-ins and tokens end.
    """
    wanted = select(Identity).where(Identity.issuer == issuer, Identity.subject == subject)
    identity = session.scalar(wanted.with_for_update())
    if identity is None:
        return _first(session, issuer, subject, name, role, now)
    user = identity.user
    if role is None:
        _end(session, user.id, now)
        session.add(Event(at=now, actor=user.name, kind="sign-in refused", project=None, detail={"reason": "groups"}))
        return SignIn(None, "no-group")
    if not user.active:
        return SignIn(None, "locked-out")
    if user.role != role:
        set_role(session, user.name, role, by="single sign-on", now=now)
    identity.confirmed = now
    return SignIn(user.name)


def _first(session: Session, issuer: str, subject: str, name: str, role: Role | None, now: float) -> SignIn:
    if role is None:
        return SignIn(None, "no-group")
    if name.casefold() in RESERVED:
        return SignIn(None, "no-name")
    if find_user(session, name) is not None:
        return SignIn(None, "taken")
    try:
        user = add_user(session, name, role, None, by="single sign-on", now=now)
    except AccountError:
        return SignIn(None, "no-name")
    session.add(Identity(user_id=user.id, issuer=issuer, subject=subject, created=now, confirmed=now))
    return SignIn(user.name)


def signed_out(session: Session, issuer: str, subject: str, *, until: float, now: float) -> int:
    """End the log-ins, begun up to ``until``, of a person who has logged out at the provider; returns how many.

    Tokens for programs are no log-ins and stay.
    """
    identity = session.scalar(select(Identity).where(Identity.issuer == issuer, Identity.subject == subject))
    if identity is None:
        return 0
    ended = session.execute(delete(Login).where(Login.user_id == identity.user_id, Login.created <= until))
    count = int(ended.rowcount)  # type: ignore[attr-defined]
    if count:
        actor, detail = identity.user.name, {"by": "single sign-on", "log_ins": count}
        session.add(Event(at=now, actor=actor, kind="logged out", project=None, detail=detail))
    return count


def _end(session: Session, user_id: int, now: float) -> None:
    session.execute(delete(Login).where(Login.user_id == user_id))
    held = update(ApiToken).where(ApiToken.user_id == user_id, ApiToken.revoked.is_(None))
    session.execute(held.values(revoked=now))


def link(session: Session, name: str, issuer: str, subject: str, *, by: str, now: float) -> None:
    """Let a person at the provider sign in as the account ``name``.

    Raises:
        AccountError: there is no such account, the subject is empty, or the person has an account already.
    """
    user = find_user(session, name)
    if user is None:
        raise UnknownAccount(f"there is no user {name!r}")
    if not subject or len(subject) > 255:
        raise AccountError("a subject has 1 to 255 characters; it is the claim `sub` of the person's ID token")
    held = session.scalar(select(Identity).where(Identity.issuer == issuer, Identity.subject == subject))
    if held is not None:
        raise AccountError(f"this person signs in as {held.user.name!r} already; unlink that account first")
    session.add(Identity(user_id=user.id, issuer=issuer, subject=subject, created=now, confirmed=now))
    session.add(Event(at=now, actor=by, kind="identity linked", project=None, detail={"user": user.id}))


def unlink(session: Session, name: str, *, by: str, now: float) -> None:
    """End every sign-in by a provider as the account ``name``, and its log-ins; a password keeps working.

    Raises:
        AccountError: there is no such account, or nobody signs in as it by a provider.
    """
    user = find_user(session, name)
    if user is None:
        raise UnknownAccount(f"there is no user {name!r}")
    removed = session.execute(delete(Identity).where(Identity.user_id == user.id))
    if not removed.rowcount:  # type: ignore[attr-defined]
        raise AccountError(f"nobody signs in as {name!r} by a provider")
    session.execute(delete(Login).where(Login.user_id == user.id))
    session.add(Event(at=now, actor=by, kind="identity unlinked", project=None, detail={"user": user.id}))
