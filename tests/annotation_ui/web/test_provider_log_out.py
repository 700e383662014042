"""The log-out of accounts of single sign-on, at the app and at the provider."""

from __future__ import annotations

import base64
import html
import re
import time
from typing import Any

import httpx
import pytest

pytest.importorskip("authlib", reason="pip install 'keel-align[oidc]'")

from browsing import NEEDS_CHROMIUM, Site
from fastapi.testclient import TestClient
from joserfc import jwt
from joserfc.jwk import RSAKey
from oidc_provider import CLIENT, Provider
from single_sign_on import ADDRESS, settings, signed_in
from sqlalchemy import select

from annotation_ui.store.database import Database
from annotation_ui.store.tables import Event
from annotation_ui.web import login
from annotation_ui.web.login import COOKIE
from annotation_ui.web.oidc_client import LOG_OUT_EVENT


def log_out(client: TestClient) -> str | None:
    """The address that the page after a log-out sends the browser on to; ``None`` if it is the log-in of the app."""
    answer = client.post("/logout")
    assert COOKIE not in client.cookies
    assert client.get("/config").status_code == 401
    if answer.status_code == 303:
        assert answer.headers["location"] == "/login"
        return None
    [address] = re.findall(r'http-equiv="refresh" content="0; url=([^"]+)"', answer.text)
    assert f'href="{address}"' in answer.text
    return html.unescape(address)


def test_a_log_out_reaches_the_provider_which_sends_the_browser_back(client: TestClient, idp: Provider) -> None:
    idp.metadata = {"end_session_endpoint": f"{idp.issuer}/logout?realm=team"}
    signed = signed_in(client)
    token = next(line for line in signed.headers.get_list("set-cookie") if line.startswith(login.SIGN_IN)).lower()
    assert "path=/logout" in token
    assert "httponly" in token
    address = log_out(client)
    assert address is not None
    answer = httpx.get(address)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{ADDRESS}/login")
    [asked] = idp.logged_out
    assert (asked["sub"], asked["client_id"], asked["realm"]) == ("1", CLIENT, "team")
    assert log_out(client) is None  # nobody is logged in any more


def test_a_token_that_fits_into_no_cookie_is_left_out(client: TestClient, idp: Provider) -> None:
    idp.metadata = {"end_session_endpoint": f"{idp.issuer}/logout"}
    idp.person["groups"] = ["all", *(f"a group with a long name {n}" for n in range(200))]
    signed_in(client)
    address = log_out(client)
    assert address is not None
    assert httpx.get(address).status_code == 303
    assert "id_token_hint" not in idp.logged_out[0]


@pytest.mark.parametrize("address", [None, "http://elsewhere.example/logout", "javascript:alert(1)", 7])
def test_a_log_out_ends_at_the_app_where_the_provider_has_no_address_for_it(
    address: object, client: TestClient, idp: Provider
) -> None:
    idp.metadata = {"end_session_endpoint": address}
    signed_in(client)
    assert log_out(client) is None


def test_a_log_in_by_password_is_not_the_providers(client: TestClient, idp: Provider) -> None:
    idp.metadata = {"end_session_endpoint": f"{idp.issuer}/logout"}
    signed_in(client)
    client.cookies.delete(COOKIE)
    client.post("/login", data={"name": "root", "password": "correct horse"})
    assert log_out(client) is None
    assert idp.logged_out == []


# The provider tells of a log-out


def log_out_token(idp: Provider, **changed: Any) -> str:
    now = int(time.time())
    claims = {"iss": idp.issuer, "aud": [CLIENT, "another"], "iat": now, "exp": now + 120, "jti": "1", "sub": "1"}
    claims |= {"sid": "at the provider", "events": {LOG_OUT_EVENT: {}}} | changed
    return idp.signed({name: value for name, value in claims.items() if value is not None})


def tell(client: TestClient, token: str) -> int:
    return client.post("/login/provider/logout", data={"logout_token": token}).status_code


def is_logged_in(client: TestClient) -> bool:
    return client.get("/config").status_code == 200


def test_a_log_out_at_the_provider_ends_the_log_ins_of_that_person_alone(
    client: TestClient, idp: Provider, sqlite: Database
) -> None:
    client.post("/login", data={"name": "root", "password": "correct horse"})
    root = client.cookies[COOKIE]
    client.cookies.clear()
    signed_in(client)
    other_browser = client.cookies[COOKIE]
    client.cookies.clear()
    signed_in(client)
    assert tell(client, log_out_token(idp, sub="somebody without an account")) == 200
    assert is_logged_in(client)
    assert tell(client, log_out_token(idp)) == 200
    assert not is_logged_in(client)
    for cookie, holds in ((other_browser, False), (root, True)):
        client.cookies.clear()
        client.cookies.set(COOKIE, cookie)
        assert is_logged_in(client) == holds
    with sqlite.read() as session:
        [event] = session.scalars(select(Event).where(Event.kind == "logged out"))
    assert (event.actor, event.detail) == ("dora", {"by": "single sign-on", "log_ins": 2})
    signed_in(client)
    assert is_logged_in(client)


def test_a_token_of_an_earlier_log_out_ends_no_later_log_in(client: TestClient, idp: Provider) -> None:
    signed_in(client)
    assert tell(client, log_out_token(idp, iat=int(time.time()) - 200)) == 200
    assert is_logged_in(client)


@pytest.mark.parametrize(
    "changed",
    [
        {"events": None},
        {"events": {"another": {}}},
        {"events": [LOG_OUT_EVENT]},
        {"events": {LOG_OUT_EVENT: None}},
        {"nonce": "n"},
        {"iss": "https://elsewhere.example"},
        {"aud": "another"},
        {"aud": None},
        {"exp": 1_700_000_000},
        {"exp": None},
        {"iat": 4_000_000_000},
        {"iat": None},
        {"jti": None},
        {"sub": None},  # a session alone
        {"sub": ["1"]},
    ],
    ids=str,
)
def test_what_is_no_log_out_token_of_the_provider_ends_nothing(
    changed: dict[str, Any], client: TestClient, idp: Provider
) -> None:
    signed_in(client)
    assert tell(client, log_out_token(idp, **changed)) == 400
    assert is_logged_in(client)


def test_only_the_providers_signature_ends_a_log_in(client: TestClient, idp: Provider) -> None:
    signed_in(client)
    header, claims, _ = log_out_token(idp).split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    other = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256", "kid": idp.key.kid})
    forged = jwt.encode({"alg": "RS256", "kid": idp.key.kid}, jwt.decode(log_out_token(idp), idp.key).claims, other)
    for token in ("", "x", f"{header}.{claims}.", f"{none}.{claims}.", forged):
        assert tell(client, token) == 400
    assert client.post("/login/provider/logout").status_code == 400
    assert is_logged_in(client)


class TestInABrowser:
    """The policy of the pages lets a browser on to the provider after a log-out."""

    pytestmark = NEEDS_CHROMIUM

    def test_a_browser_is_sent_to_the_provider_and_back(self, browser: Any, sqlite: Database, idp: Provider) -> None:
        idp.metadata = {"end_session_endpoint": f"{idp.issuer}/logout"}
        site = Site(browser, sqlite, None, oidc=lambda url: settings(idp, redirect=f"{url}login/provider/callback"))
        try:
            page = browser.new_context().new_page()
            page.goto(f"{site.url}login")
            page.click(".k-provider")
            page.click("text=Log out")
            page.wait_for_url(f"{site.url}login")
            assert page.inner_text(".k-provider") == "Single sign-on"
            assert [asked["sub"] for asked in idp.logged_out] == ["1"]
            assert page.goto(site.url).url == f"{site.url}login"
        finally:
            site.stop()

    def test_signing_out_everywhere_reaches_the_provider_too(
        self, browser: Any, sqlite: Database, idp: Provider
    ) -> None:
        idp.metadata = {"end_session_endpoint": f"{idp.issuer}/logout"}
        site = Site(browser, sqlite, None, oidc=lambda url: settings(idp, redirect=f"{url}login/provider/callback"))
        try:
            first, second = (browser.new_context().new_page() for _ in range(2))
            for page in (first, second):
                page.goto(f"{site.url}login")
                page.click(".k-provider")
                page.wait_for_selector(".k-app")
            first.on("dialog", lambda dialog: dialog.accept())
            first.click("[data-open=account]")
            first.click("[data-do='sign out everywhere']")
            first.wait_for_url(f"{site.url}login")
            assert [asked["sub"] for asked in idp.logged_out] == ["1"]
            assert second.goto(site.url).url == f"{site.url}login"
        finally:
            site.stop()
