"""Delivery of events to webhooks: signed, repeated with growing pauses, at least once.

:class:`WebhookSender` reads the outbox, which a trigger of the database fills, so an event whose server was killed is
sent by the next one. A receiver may get an event twice and tells it by ``id``. Several servers share the work: each
delivery is taken for a minute before it is sent.

A request goes to the address that was checked: the host is resolved once, every one of its addresses must be public
unless private ones are allowed, and redirections are not followed.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import logging
import random
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import select, update
from sqlalchemy.orm import Session, selectinload

from annotation_ui.exchange.votes import row_of
from annotation_ui.store.accounts import require
from annotation_ui.store.database import Database
from annotation_ui.store.service_tables import Delivery, Webhook
from annotation_ui.store.tables import Assignment, Event, Judgement
from annotation_ui.store.webhooks import (
    add_webhook,
    delivery_state,
    find_webhook,
    outbox,
    private_note,
    public,
    remove_webhook,
    send_test,
    set_active,
    webhooks,
)

POLL = 1.0  # seconds
TAKEN = 60.0  # seconds for which a delivery belongs to the server that took it
TIMEOUT = 10.0  # to connect, and between two parts of an answer
LONGEST = 20.0  # for a whole request: a receiver that answers letter by letter holds up no other
ATTEMPTS = 15  # over about two days
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 6 * 3600.0
BATCH = 20
PROBLEM_LIMIT = 200

_log = logging.getLogger(__name__)


class NotSent(Exception):
    """A delivery that failed; the message says why."""


def signature(secret: str, at: int, body: bytes) -> str:
    """The header ``X-Keel-Signature``: ``t=TIME,v1=HEX``, HMAC-SHA256 of ``TIME.BODY`` with the webhook's secret."""
    signed = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={signed}"


def signature_holds(secret: str, header: str, body: bytes, *, now: float, tolerance: float = 300.0) -> bool:
    """For receivers: whether ``header`` was made with ``secret`` for ``body``, at most ``tolerance`` seconds ago."""
    at, _, _ = header.removeprefix("t=").partition(",")
    if not at.isdigit() or len(at) > 15 or abs(now - int(at)) > tolerance:
        return False
    return hmac.compare_digest(signature(secret, int(at), body).encode(), header.encode("utf-8", "replace"))


def pause(attempts: int) -> float:
    """Seconds until the next attempt after so many failed ones: doubled each time, with up to a fifth by chance."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (attempts - 1)) * (1 + random.random() / 5)


class WebhookSender:
    """Sends what the outbox holds, in a thread of its own, until it is stopped.

    Args:
        allow_private: also send to loopback, link-local and private addresses.
    """

    def __init__(self, database: Database, *, allow_private: bool = False) -> None:
        self._database, self._allow_private = database, allow_private
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            sent = 0
            try:
                sent = self.send_due(now=time.time())
            except Exception:  # the database may be gone for a while; the outbox keeps everything
                _log.exception("webhooks: the outbox cannot be read")
            if not sent:
                self._stopping.wait(POLL)

    def send_due(self, *, now: float) -> int:
        """Send what is due; returns how many deliveries were tried.

        After a failure the webhook's others wait for a moment, so that one that does not answer holds up no other.
        """
        wanted = select(Delivery.id, Delivery.webhook_id, Delivery.due).where(Delivery.due <= now)
        with self._database.read() as session:
            due = session.execute(wanted.order_by(Delivery.due, Delivery.id).limit(BATCH)).all()
        began, tried, failing = time.monotonic(), 0, set[int]()
        for number, webhook, at in due:
            current = now + time.monotonic() - began  # a batch may take minutes
            if self._stopping.is_set() or at is None or webhook in failing or not self._take(number, at, current):
                continue
            tried += 1
            problem = ""
            try:
                url, secret, body = self._message(number)
                post(url, secret, body, allow_private=self._allow_private, now=current)
            except NotSent as error:
                problem = str(error)[:PROBLEM_LIMIT]
                failing.add(webhook)
            self._finish(number, problem, now + time.monotonic() - began)
        for webhook in failing:
            self._hold(webhook, now + time.monotonic() - began)
        return tried

    def _hold(self, webhook: int, now: float) -> None:
        with self._database.write() as session:
            waiting = update(Delivery).where(Delivery.webhook_id == webhook, Delivery.due <= now)
            session.execute(waiting.values(due=now + FIRST_PAUSE))

    def _take(self, number: int, due: float, now: float) -> bool:
        """Keep other servers from sending this delivery for a while; false if one of them took it first."""
        with self._database.write() as session:
            taken = session.execute(
                update(Delivery).where(Delivery.id == number, Delivery.due == due).values(due=now + TAKEN)
            )
            return bool(taken.rowcount)  # type: ignore[attr-defined]

    def _message(self, number: int) -> tuple[str, str, bytes]:
        with self._database.read() as session:
            delivery = session.get_one(Delivery, number)
            hook = delivery.webhook
            if not hook.secret:  # it would be signed by nothing
                raise NotSent("the webhook was removed")
            content = message(session, delivery)
            return hook.url, hook.secret, json.dumps(content, ensure_ascii=False).encode()

    def _finish(self, number: int, problem: str, now: float) -> None:
        with self._database.write() as session:
            delivery = session.get_one(Delivery, number)
            delivery.attempts += 1
            delivery.problem = problem
            if not problem:
                delivery.sent, delivery.due = now, None
            elif delivery.due is not None:  # not removed meanwhile
                delivery.due = now + pause(delivery.attempts) if delivery.attempts < ATTEMPTS else None


def message(session: Session, delivery: Delivery) -> dict[str, Any]:
    """The body of a delivery: the event, and the judgement if it is about one, as in the export of votes."""
    event = session.get_one(Event, delivery.event_id)
    content: dict[str, Any] = {
        "id": f"{delivery.webhook_id}-{delivery.event_id}",
        "event": event.kind,
        "at": event.at,
        "project": event.project,
        "actor": event.actor,
        "detail": event.detail,
    }
    number = (event.detail or {}).get("judgement")
    found = session.get(Judgement, number, options=[selectinload(Judgement.guideline)]) if number else None
    if found is not None:
        under = session.get(Assignment, found.assignment_id) if found.assignment_id else None
        later = session.scalar(select(Judgement.id).where(Judgement.supersedes == found.id))
        in_force = later is None and found.label != "withdrawn"
        content["judgement"] = row_of(found, under, found.user.name, in_force)
    return content


def post(url: str, secret: str, body: bytes, *, allow_private: bool, now: float) -> None:
    """Send ``body`` to ``url``, signed.

    Raises:
        NotSent: the host is unknown or has an address that is not public, has not answered after :data:`LONGEST`
            seconds, or answers with anything but a status of 200 to 299.
    """
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    address = resolve(host, port, allow_private=allow_private)
    connection = _Connection(host, port, address, secure)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "keel-annotate",
        "X-Keel-Signature": signature(secret, int(now), body),
    }
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    end = threading.Timer(LONGEST, connection.abort)
    end.daemon = True
    end.start()
    try:
        connection.request("POST", path, body, headers)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException, ssl.SSLError) as error:
        raise NotSent(f"{host}: {type(error).__name__}") from error
    finally:
        end.cancel()
        connection.close()
    if not 200 <= status < 300:
        raise NotSent(f"{host} answered with status {status}")


def resolve(host: str, port: int, *, allow_private: bool) -> str:
    """The address of ``host`` to connect to.

    Raises:
        NotSent: it has none, or one of its addresses is private and those are not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotSent(f"the host {host} is unknown") from error
    addresses = [str(entry[4][0]) for entry in found]
    if not allow_private:
        refused = [address for address in addresses if not public(address)]
        if refused:
            raise NotSent(f"{host} has the address {refused[0]}, which is not public (--private-webhooks allows it)")
    return addresses[0]


class _Connection(http.client.HTTPConnection):
    """A connection to ``address``, which was checked, whatever the name resolves to now."""

    def __init__(self, host: str, port: int, address: str, secure: bool) -> None:
        super().__init__(host, port, timeout=TIMEOUT)
        self._address, self._secure = address, secure
        self.default_port = 443 if secure else 80

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), TIMEOUT)
        if self._secure:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)

    def abort(self) -> None:
        """End what is under way, from another thread."""
        with suppress(OSError):
            if self.sock is not None:
                self.sock.shutdown(socket.SHUT_RDWR)


# What admins do with webhooks, over the API and on the command line.


def make_webhook(
    database: Database, who: str | None, url: str, events: Sequence[str], *, project: str | None, now: float
) -> tuple[dict[str, Any], str]:
    """A new webhook, and the secret that signs what is sent to it, which is shown this once."""
    with database.write() as session:
        by = require(session, who, "admin").name
        made = add_webhook(session, url, events, project=project, by=by, now=now)
        return webhook_info(made), made.secret


def list_webhooks(database: Database, who: str | None) -> list[dict[str, Any]]:
    with database.read() as session:
        require(session, who, "admin")
        return [webhook_info(hook) for hook in webhooks(session)]


def end_webhook(database: Database, who: str | None, number: int, *, now: float) -> None:
    with database.write() as session:
        remove_webhook(session, number, by=require(session, who, "admin").name, now=now)


def switch_webhook(database: Database, who: str | None, number: int, active: bool, *, now: float) -> dict[str, Any]:
    """Disable a webhook, or enable it again."""
    with database.write() as session:
        by = require(session, who, "admin").name
        set_active(session, number, active, by=by, now=now)
        return webhook_info(find_webhook(session, number))


def try_webhook(database: Database, who: str | None, number: int, *, now: float) -> None:
    """Send a message that says only that it is a test; :func:`deliveries` says what came of it."""
    with database.write() as session:
        send_test(session, number, by=require(session, who, "admin").name, now=now)


def deliveries(database: Database, who: str | None, number: int) -> list[dict[str, Any]]:
    """The last deliveries of a webhook, newest first, with the event and the reason of the last failure."""
    with database.read() as session:
        require(session, who, "admin")
        find_webhook(session, number)
        sent = outbox(session, number)
        wanted = select(Event).where(Event.id.in_([found.event_id for found in sent]))
        events = {event.id: event for event in session.scalars(wanted)}
        return [
            {
                "id": f"{found.webhook_id}-{found.event_id}",
                "event": events[found.event_id].kind,
                "at": events[found.event_id].at,
                "state": delivery_state(found),
                "attempts": found.attempts,
                "due": found.due,
                "sent": found.sent,
                "problem": found.problem,
            }
            for found in sent
        ]


def webhook_info(hook: Webhook) -> dict[str, Any]:
    return {
        "webhook": hook.id,
        "url": hook.url,
        "events": list(hook.events),
        "project": hook.project,
        "active": hook.active,
        "author": hook.author,
        "created": hook.created,
        "note": private_note(hook.url),
    }
