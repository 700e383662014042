"""Webhooks, and the outbox of what they are to be told. The outbox is filled by a trigger of the database."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from annotation_ui.store.projects import ProjectError, find_project
from annotation_ui.store.service_tables import Delivery, Webhook
from annotation_ui.store.tables import Event

# Kinds of the audit trail's events that concern a project.
EVENTS = (
    "judged",
    "edited",
    "undone",
    "adjudicated",
    "text accepted",
    "text returned",
    "imported",
    "snapshot taken",
    "guideline added",
    "settings changed",
    "project created",
    "project archived",
    "project restored",
    "member added",
    "member removed",
)
TEST = "webhook tested"  # the event of a message that is sent as a test
MOST = 50
LONGEST_URL = 2000


class WebhookError(ProjectError):
    """A webhook that cannot be added or found."""


class UnknownWebhook(WebhookError):
    """There is no webhook by this number."""


def add_webhook(
    session: Session, url: str, events: Sequence[str], *, project: str | None, by: str, now: float
) -> Webhook:
    """A new webhook with a secret of its own.

    Args:
        events: kinds among :data:`EVENTS`.
        project: of this project only.

    Raises:
        WebhookError: the address is no http or https address of a host, or an event is unknown.
        UnknownProject: there is no such project.
    """
    check_url(url)
    unknown = [kind for kind in events if kind not in EVENTS]
    if not events or unknown:
        raise WebhookError(f"events are among: {', '.join(EVENTS)}; at least one; not {', '.join(unknown) or 'none'}")
    if project is not None:
        find_project(session, project)
    if (session.scalar(select(func.count(Webhook.id)).where(Webhook.secret != "")) or 0) >= MOST:
        raise WebhookError(f"there are {MOST} webhooks; remove one first")
    wanted = [kind for kind in EVENTS if kind in events]
    made = Webhook(
        project=project, url=url, secret=secrets.token_urlsafe(32), events=wanted, active=True, author=by, created=now
    )
    session.add(made)
    session.flush()
    detail = {"webhook": made.id, "host": urlsplit(url).hostname}
    session.add(Event(at=now, actor=by, kind="webhook added", project=project, detail=detail))
    return made


def check_url(url: str) -> None:
    """Raise :class:`WebhookError` unless ``url`` is an http or https address of a host, without a name or password."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
        fits = fits and parts.password is None and parts.port != 0 and url.isascii() and url.isprintable()
    except ValueError:
        fits = False
    if not fits or " " in url or len(url) > LONGEST_URL:
        raise WebhookError("a webhook's address begins with http:// or https:// and a host, without name or password")


def private_note(url: str) -> str:
    """A sentence if the host of ``url`` is written as an address that is not public, otherwise nothing.

    Names are not looked up here: what they stand for is checked whenever a message is sent.
    """
    host = urlsplit(url).hostname or ""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        private = not all(public(str(entry[4][0])) for entry in found)
    except (OSError, UnicodeError):  # a name
        private = host == "localhost" or host.endswith(".localhost")
    if not private:
        return ""
    return f"{host} is no public address: only an app that was started with --private-webhooks sends to it"


def public(address: str) -> bool:
    """True for an address of the internet: not loopback, private, link-local, multicast or reserved.

    An IPv6 address that stands for an IPv4 address is judged by that one.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        within = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if found in ipaddress.ip_network("64:ff9b::/96"):
            within = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if within is not None:
            return public(str(within))
        if found.is_site_local:  # fec0::/10, the private addresses of old networks
            return False
    return found.is_global and not found.is_multicast and not found.is_reserved


def webhooks(session: Session) -> list[Webhook]:
    """Every webhook that was not removed, also those that are disabled."""
    return list(session.scalars(select(Webhook).where(Webhook.secret != "").order_by(Webhook.id)))


def find_webhook(session: Session, number: int) -> Webhook:
    """The webhook ``number``.

    Raises:
        UnknownWebhook: there is none.
    """
    found = session.get(Webhook, number)
    if found is None or not found.secret:
        raise UnknownWebhook(f"there is no webhook {number}")
    return found


def set_active(session: Session, number: int, active: bool, *, by: str, now: float) -> None:
    """Disable a webhook, which drops what waits for it, or enable it again: it is told of later events alone.

    Raises:
        UnknownWebhook: there is none.
    """
    found = find_webhook(session, number)
    if found.active == active:
        return
    found.active = active
    if not active:
        _drop(session, number, "the webhook was disabled")
    kind = "webhook enabled" if active else "webhook disabled"
    session.add(Event(at=now, actor=by, kind=kind, project=found.project, detail={"webhook": number}))


def send_test(session: Session, number: int, *, by: str, now: float) -> int:
    """Put a message into the outbox that says only that it is a test, also for a disabled webhook; its number.

    Raises:
        UnknownWebhook: there is none.
    """
    found = find_webhook(session, number)
    event = Event(at=now, actor=by, kind=TEST, project=found.project, detail={"webhook": number})
    session.add(event)
    session.flush()
    made = Delivery(webhook_id=number, event_id=event.id, attempts=0, due=now, problem="")
    session.add(made)
    session.flush()
    return made.id


def _drop(session: Session, number: int, reason: str) -> None:
    waiting = update(Delivery).where(Delivery.webhook_id == number, Delivery.sent.is_(None), Delivery.due.is_not(None))
    session.execute(waiting.values(due=None, problem=reason))


def remove_webhook(session: Session, number: int, *, by: str, now: float) -> None:
    """Tell this address of nothing more; what waits for it is dropped.

    Raises:
        UnknownWebhook: there is none.
    """
    found = find_webhook(session, number)
    found.active = False
    found.secret = ""
    _drop(session, number, "the webhook was removed")
    session.add(Event(at=now, actor=by, kind="webhook removed", project=found.project, detail={"webhook": number}))


def outbox(session: Session, number: int, *, limit: int = 50) -> list[Delivery]:
    """The last deliveries of a webhook, newest first."""
    wanted = select(Delivery).where(Delivery.webhook_id == number).order_by(Delivery.id.desc()).limit(limit)
    return list(session.scalars(wanted))


def delivery_state(delivery: Delivery) -> str:
    if delivery.sent is not None:
        return "sent"
    return "waiting" if delivery.due is not None else "given up"
