"""The tables beside the record: membership, identities at a provider, tokens of the API, webhooks, saved views."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from annotation_ui.store.tables import Base, User


class Member(Base):
    """An account that may see a project which is for members only."""

    __tablename__ = "members"
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)


class Identity(Base):
    """A person at an OpenID Connect provider, and the account that is theirs.

    ``issuer`` and ``subject`` together name the person for good; names and e-mail addresses can pass to somebody else.
    ``confirmed`` is the time of the last sign-in.
    """

    __tablename__ = "identities"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    issuer: Mapped[str]
    subject: Mapped[str]
    created: Mapped[float]
    confirmed: Mapped[float]
    user: Mapped[User] = relationship()
    __table_args__ = (UniqueConstraint("issuer", "subject"),)


class SavedView(Base):
    """A named filter of the item browser. One that is ``shared`` is seen by every reviewer of the project."""

    __tablename__ = "saved_views"
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str]
    shared: Mapped[bool]
    fields: Mapped[dict[str, Any]]
    created: Mapped[float]
    user: Mapped[User] = relationship()
    __table_args__ = (UniqueConstraint("project_id", "user_id", "name"),)


class Clearance(Base):
    """A reviewer let an annotator go on who was paused: only answers ``after`` this judgement count from then on."""

    __tablename__ = "clearances"
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    after: Mapped[int]


class ApiToken(Base):
    """A token of the API. It may do what its account may do, within its scopes; only a hash of it is kept."""

    __tablename__ = "api_tokens"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    name: Mapped[str]
    token_hash: Mapped[str] = mapped_column(unique=True)
    scopes: Mapped[list[str]]
    created: Mapped[float]
    expires: Mapped[float]
    revoked: Mapped[float | None]
    used: Mapped[float | None]
    user: Mapped[User] = relationship()


class ImportKey(Base):
    """The idempotency key of an import over the API, with a digest of what was sent and the answer that was given."""

    __tablename__ = "import_keys"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    key: Mapped[str]
    digest: Mapped[str]
    answer: Mapped[dict[str, Any]]
    created: Mapped[float]
    __table_args__ = (UniqueConstraint("user_id", "key"),)


class Webhook(Base):
    """An address that is told of events. ``secret`` signs what is sent, so it is kept as it is.

    One that is not ``active`` is told of nothing; one that was removed has no ``secret`` either.
    """

    __tablename__ = "webhooks"
    id: Mapped[int] = mapped_column(primary_key=True)
    project: Mapped[str | None]
    url: Mapped[str]
    secret: Mapped[str]
    events: Mapped[list[str]]
    active: Mapped[bool]
    author: Mapped[str]
    created: Mapped[float]


class Delivery(Base):
    """An event that a webhook is to be told of; a trigger of the database adds it together with the event.

    ``due`` is the time of the next attempt. A row whose event was sent has ``sent``; one given up has ``due`` null.
    """

    __tablename__ = "deliveries"
    id: Mapped[int] = mapped_column(primary_key=True)
    webhook_id: Mapped[int] = mapped_column(ForeignKey("webhooks.id"))
    event_id: Mapped[int] = mapped_column(ForeignKey("events.id"))
    attempts: Mapped[int]
    due: Mapped[float | None]
    sent: Mapped[float | None]
    problem: Mapped[str]
    webhook: Mapped[Webhook] = relationship()
    __table_args__ = (Index("ix_deliveries_due", "due"), Index("ix_deliveries_webhook", "webhook_id", "id"))


class Secret(Base):
    """A random value that was drawn once for this database, such as the key of the pseudonyms."""

    __tablename__ = "secrets"
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
