"""Webhooks: nothing is lost by a crash, what is sent is signed, and no address inside is reached."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from sqlalchemy import select

from annotation_ui.actions import webhooks
from annotation_ui.actions.webhooks import NotSent, WebhookSender, pause, post, signature, signature_holds
from annotation_ui.labelling import session as annotating
from annotation_ui.store.accounts import add_user
from annotation_ui.store.database import Database
from annotation_ui.store.projects import UnknownProject
from annotation_ui.store.service_tables import Delivery
from annotation_ui.store.webhooks import EVENTS, UnknownWebhook, WebhookError, add_webhook, remove_webhook

NOW = 1_700_000_000.0
Fill = Callable[..., Database]


class Receiver:
    """A server that keeps what it gets and answers with ``statuses`` in turn, then with 204."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.got.append((dict(self.headers), body))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
                self.send_header("Location", "http://127.0.0.1:1/")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return None

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?x=1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


def judge(database: Database) -> None:
    task = annotating.next_task(database, "ann", "p", now=NOW)
    assert task is not None
    annotating.vote(database, "ann", "p", task.token, {"label": "tie", "rationale": "é"}, now=NOW)


def hook(database: Database, url: str, events: tuple[str, ...] = ("judged", "undone"), **of: Any) -> tuple[int, str]:
    with database.write() as session:
        made = add_webhook(session, url, events, project=of.get("project"), by="root", now=NOW)
        return made.id, made.secret


def test_a_vote_is_told_signed_and_once(database: Database, fill: Fill, receiver: Receiver) -> None:
    fill(database)
    _, secret = hook(database, receiver.url)
    judge(database)
    sender = WebhookSender(database, allow_private=True)
    assert (sender.send_due(now=NOW + 1), sender.send_due(now=NOW + 1e6)) == (1, 0)
    [(headers, body)] = receiver.got
    assert signature_holds(secret, headers["X-Keel-Signature"], body, now=NOW + 2)
    told = json.loads(body)
    assert (told["event"], told["project"], told["actor"]) == ("judged", "p", "ann")
    assert (told["judgement"]["choice"], told["judgement"]["rationale"]) == ("tie", "é")


def test_only_what_was_asked_for_is_told(database: Database, fill: Fill, receiver: Receiver) -> None:
    fill(database)
    with database.write() as session:
        with pytest.raises(UnknownProject):
            add_webhook(session, receiver.url, ["judged"], project="none", by="root", now=NOW)
        with pytest.raises(WebhookError, match="at least one"):
            add_webhook(session, receiver.url, ["logged in"], project=None, by="root", now=NOW)
    hook(database, receiver.url, ("snapshot taken",))
    removed, _ = hook(database, receiver.url, ("judged",), project="p")
    with database.write() as session:
        remove_webhook(session, removed, by="root", now=NOW)
        with pytest.raises(UnknownWebhook):
            remove_webhook(session, removed, by="root", now=NOW)
    judge(database)
    with database.read() as session:
        assert session.scalars(select(Delivery)).all() == []


def test_a_webhook_that_is_disabled_is_told_of_nothing_until_it_is_enabled(
    database: Database, fill: Fill, receiver: Receiver
) -> None:
    fill(database)
    number, secret = hook(database, receiver.url)
    judge(database)
    with database.write() as session:
        add_user(session, "root", "admin", None, now=NOW)
    assert webhooks.switch_webhook(database, "root", number, False, now=NOW)["active"] is False
    judge(database)
    sender = WebhookSender(database, allow_private=True)
    assert sender.send_due(now=NOW + 1) == 0
    [waited] = webhooks.deliveries(database, "root", number)
    assert (waited["event"], waited["state"], waited["problem"]) == ("judged", "given up", "the webhook was disabled")
    assert [found["active"] for found in webhooks.list_webhooks(database, "root")] == [False]
    webhooks.try_webhook(database, "root", number, now=NOW)  # a test is sent all the same
    assert sender.send_due(now=NOW + 1) == 1
    [(headers, body)] = receiver.got
    assert json.loads(body)["event"] == "webhook tested"
    assert signature_holds(secret, headers["X-Keel-Signature"], body, now=NOW + 2)
    webhooks.switch_webhook(database, "root", number, True, now=NOW)
    judge(database)
    assert sender.send_due(now=NOW + 1) == 1
    webhooks.end_webhook(database, "root", number, now=NOW)
    for ask in (webhooks.try_webhook, webhooks.end_webhook):
        with pytest.raises(UnknownWebhook):
            ask(database, "root", number, now=NOW)
    with pytest.raises(UnknownWebhook):
        webhooks.switch_webhook(database, "root", number, True, now=NOW)
    for who in ("ann", None):
        with pytest.raises(PermissionError):
            webhooks.try_webhook(database, who, number, now=NOW)


def test_a_failure_is_tried_again_later_and_given_up_in_the_end(
    sqlite: Database, fill: Fill, receiver: Receiver
) -> None:
    fill(sqlite)
    number, _ = hook(sqlite, receiver.url)
    judge(sqlite)
    sender = WebhookSender(sqlite, allow_private=True)
    receiver.statuses = [500, 302, 204]  # a redirection is a failure: it is not followed
    now = NOW
    for tried in (1, 1, 1, 0):
        assert sender.send_due(now=now) == tried
        assert sender.send_due(now=now) == 0  # not before its time
        now += 3600
    assert len(receiver.got) == 3
    judge(sqlite)
    receiver.statuses = [500] * 99
    for _ in range(webhooks.ATTEMPTS + 5):
        sender.send_due(now=now)
        now += webhooks.LONGEST_PAUSE * 2
    assert len(receiver.got) == 3 + webhooks.ATTEMPTS
    with sqlite.write() as session:
        add_user(session, "root", "admin", None, now=NOW)
    last, first = webhooks.deliveries(sqlite, "root", number)
    assert (first["state"], last["state"], last["attempts"]) == ("sent", "given up", webhooks.ATTEMPTS)
    assert "500" in last["problem"]


def test_what_a_killed_server_had_taken_is_sent_by_the_next(
    sqlite: Database, fill: Fill, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(sqlite)
    hook(sqlite, receiver.url)
    judge(sqlite)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(webhooks, "post", killed)
        with pytest.raises(KeyboardInterrupt):
            WebhookSender(sqlite, allow_private=True).send_due(now=NOW)
    other = WebhookSender(sqlite, allow_private=True)
    assert other.send_due(now=NOW + webhooks.TAKEN / 2) == 0
    assert other.send_due(now=NOW + webhooks.TAKEN + 1) == 1
    assert len(receiver.got) == 1


def test_an_event_that_is_rolled_back_is_told_to_nobody(database: Database, fill: Fill, receiver: Receiver) -> None:
    fill(database)
    hook(database, receiver.url, EVENTS)
    with pytest.raises(RuntimeError), database.write() as session:  # noqa: PT012
        add_webhook(session, receiver.url, ["judged"], project=None, by="root", now=NOW)
        raise RuntimeError
    with database.read() as session:
        assert session.scalars(select(Delivery)).all() == []


def test_private_addresses_are_not_reached(receiver: Receiver) -> None:
    for url in (receiver.url, receiver.url.replace("127.0.0.1", "localhost"), "http://169.254.169.254/latest"):
        with pytest.raises(NotSent, match="not public"):
            post(url, "s", b"{}", allow_private=False, now=NOW)
    assert receiver.got == []
    with pytest.raises(NotSent, match="unknown"):
        post("http://no-such-host.invalid/", "s", b"{}", allow_private=True, now=NOW)


def test_signatures() -> None:
    made = signature("secret", 1_700_000_000, b"{}")
    # printf '1700000000.{}' | openssl dgst -sha256 -hmac secret
    assert made == "t=1700000000,v1=b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163"
    assert signature_holds("secret", made, b"{}", now=NOW + 299)
    for wrong in (("other", made, b"{}", NOW), ("secret", made, b"[]", NOW), ("secret", made, b"{}", NOW + 301)):
        assert not signature_holds(*wrong[:3], now=wrong[3])
    for header in ("", "t=,v1=", "v1=x", "t=é", made.replace("t=1", "t=2"), f"{made},v1=x"):
        assert not signature_holds("secret", header, b"{}", now=NOW)
    assert 5 <= pause(1) <= 6
    assert pause(99) <= 1.2 * webhooks.LONGEST_PAUSE


@pytest.fixture
def dripping() -> Iterator[str]:
    """The address of a server that sends its answer letter by letter, without an end."""
    listening = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def serve() -> None:
        with suppress(OSError):
            connection, _ = listening.accept()
            while not done.wait(0.02):
                connection.sendall(b"H")

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    done.set()
    listening.close()
    thread.join()


def test_an_answer_without_an_end_is_given_up(dripping: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "LONGEST", 0.3)
    began = time.monotonic()
    with pytest.raises(NotSent):
        post(dripping, "s", b"{}", allow_private=True, now=NOW)
    assert time.monotonic() - began < webhooks.TIMEOUT


def test_a_webhook_that_fails_holds_up_no_other(sqlite: Database, fill: Fill, receiver: Receiver) -> None:
    fill(sqlite, items=30)
    hook(sqlite, "http://127.0.0.1:1/")  # nobody listens there
    for _ in range(webhooks.BATCH + 1):
        judge(sqlite)
    hook(sqlite, receiver.url)
    judge(sqlite)
    sender = WebhookSender(sqlite, allow_private=True)
    assert sender.send_due(now=NOW + 1) == 1  # the first of the failing one; its others wait
    assert receiver.got == []
    assert sender.send_due(now=NOW + 2) == 1
    assert len(receiver.got) == 1


def test_a_delivery_whose_webhook_was_removed_on_the_way_is_not_sent(
    sqlite: Database, fill: Fill, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(sqlite)
    number, _ = hook(sqlite, receiver.url)
    judge(sqlite)
    sender = WebhookSender(sqlite, allow_private=True)
    take = sender._take

    def taken_and_removed(*args: Any) -> bool:
        taken = take(*args)
        with sqlite.write() as session:
            remove_webhook(session, number, by="root", now=NOW)
        return taken

    monkeypatch.setattr(sender, "_take", taken_and_removed)
    assert sender.send_due(now=NOW + 1) == 1
    assert receiver.got == []
    with sqlite.read() as session:
        [left] = session.scalars(select(Delivery))
    assert (left.sent, left.due, left.problem) == (None, None, "the webhook was removed")
