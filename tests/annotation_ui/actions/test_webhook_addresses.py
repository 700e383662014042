"""The addresses that webhooks may have, and those that messages are sent to."""

from __future__ import annotations

import pytest

from annotation_ui.actions import webhooks
from annotation_ui.actions.webhooks import public
from annotation_ui.store.accounts import add_user
from annotation_ui.store.database import Database
from annotation_ui.store.webhooks import WebhookError, add_webhook

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("2001:0:4136:e378:8000:63bf:80ff:fffe", False),  # Teredo of 127.0.0.1
        ("fec0::1", False),
        ("::7f00:1", False),
    ],
)
def test_addresses_of_the_internet(address: str, expected: bool) -> None:
    assert public(address) == expected


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("127.0.0.1:9", True),
        ("127.1", True),
        ("2130706433", True),  # 127.0.0.1 as one number
        ("0x7f.1", True),
        ("[::1]:9", True),
        ("[::ffff:10.0.0.1]", True),
        ("169.254.169.254", True),
        ("localhost:9", True),
        ("LOCALHOST", True),
        ("a.localhost", True),
        ("93.184.216.34", False),
        ("example.org", False),
        ("no-such-host.invalid", False),  # names are not looked up
    ],
)
def test_a_private_address_is_accepted_and_it_is_said_what_it_needs(sqlite: Database, host: str, private: bool) -> None:
    with sqlite.write() as session:
        add_user(session, "root", "admin", None, now=NOW)
    url = f"http://{host}/hook"
    made, _ = webhooks.make_webhook(sqlite, "root", url, ["judged"], project=None, now=NOW)
    assert ("--private-webhooks" in made["note"]) == private
    assert bool(made["note"]) == private


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://example.org/",
        "file:///etc/passwd",
        "gopher://x/",
        "http://",
        "http:///path",
        "http://user:word@example.org/",
        "http://example.org:99999/",
        "http://[::1/",
        "http://exa mple.org/",
        "http://example.org/\r\nX: y",
        "http://éxample.org/",
        "http://example.org/" + "a" * 3000,
        "javascript:alert(1)",
    ],
)
def test_addresses_that_are_no_webhook(sqlite: Database, url: str) -> None:
    with sqlite.write() as session, pytest.raises(WebhookError, match="http"):
        add_webhook(session, url, ["judged"], project=None, by="root", now=NOW)
