"""Single sign-on against a provider that behaves, and against attackers and providers that do not."""

from __future__ import annotations

import base64
import hmac
import html
import json
import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

pytest.importorskip("authlib", reason="pip install 'keel-align[oidc]'")

from browsing import NEEDS_CHROMIUM, Site
from fastapi.testclient import TestClient
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from oidc_provider import CLIENT, SECRET, Provider, provider
from sqlalchemy import select

from annotation_ui.store import accounts, identities, tokens
from annotation_ui.store.database import Database
from annotation_ui.store.service_tables import Identity
from annotation_ui.store.tables import Event, User
from annotation_ui.web import login
from annotation_ui.web.login import COOKIE
from annotation_ui.web.oidc_client import SignInError, groups_of, name_of
from annotation_ui.web.oidc_settings import OidcSettings, OidcSettingsError, read_settings
from annotation_ui.web.provider_login import FLOW, page_of
from annotation_ui.web.server import build

ADDRESS = "http://127.0.0.1"
ROLES: dict[str, accounts.Role] = {"all": "annotator", "leads": "reviewer", "cn=ops,ou=it": "admin"}


@pytest.fixture(scope="module")
def _provider() -> Iterator[Provider]:
    with provider() as made:
        yield made


@pytest.fixture
def idp(_provider: Provider) -> Provider:
    _provider.person = {"sub": "1", "preferred_username": "dora", "groups": ["all"]}
    _provider.user_info, _provider.metadata, _provider.answer = {}, {}, {}
    _provider.logged_out = []
    _provider.spoil, _provider.sign = lambda claims: None, _provider.signed
    return _provider


def settings(idp: Provider, **changed: Any) -> OidcSettings:
    chosen = {"issuer": idp.issuer, "client_id": CLIENT, "secret": SECRET, "roles": ROLES}
    return OidcSettings(**(chosen | {"redirect": f"{ADDRESS}/login/provider/callback"} | changed))


@pytest.fixture
def client(sqlite: Database, idp: Provider) -> Iterator[TestClient]:
    with sqlite.write() as session:
        accounts.add_user(session, "root", "admin", "correct horse", now=1.0)
    with TestClient(build(sqlite, oidc=settings(idp)), base_url=ADDRESS, follow_redirects=False) as made:
        yield made


def at_provider(client: TestClient, page: str = "") -> str:
    """Begin a sign-in and let the provider answer: the address that it sends the browser back to."""
    begun = client.get("/login/provider", params={"page": page} if page else {})
    assert begun.status_code == 303
    return httpx.get(begun.headers["location"]).headers["location"]


def signed_in(client: TestClient, page: str = "") -> Any:
    return client.get(at_provider(client, page))


def refused(client: TestClient, sqlite: Database, answer: Any, problem: str = "not-done") -> None:
    assert (answer.status_code, answer.headers["location"]) == (303, f"/login?problem={problem}")
    assert COOKIE not in client.cookies
    assert login.PROBLEMS[problem] in client.get(answer.headers["location"]).text
    with sqlite.read() as session:
        assert session.scalars(select(User.name)).all() == ["root"]


def role_of(database: Database, name: str) -> str | None:
    with database.read() as session:
        return session.scalar(select(User.role).where(User.name == name))


# A sign-in


def test_a_person_signs_in_and_gets_an_account_with_the_role_of_the_groups(
    client: TestClient, idp: Provider, sqlite: Database
) -> None:
    idp.person |= {"groups": ["all", "leads", "unknown"]}
    assert 'href="login/provider"' in client.get("/login").text
    answer = signed_in(client, "#/my%20project/items")
    assert (answer.status_code, answer.headers["location"]) == (303, "/#/my%20project/items")
    assert client.get("/config").status_code == 200
    cookie = next(line for line in answer.headers.get_list("set-cookie") if line.startswith(COOKIE)).lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert f"max-age={12 * 3600}" in cookie
    asked = idp.asked[-1]
    assert (asked["code_challenge_method"], asked["response_type"]) == ("S256", "code")
    assert asked["scope"] == "openid profile"
    assert role_of(sqlite, "dora") == "reviewer"
    with sqlite.read() as session:
        [account] = [found for found in accounts.list_accounts(session) if found.name == "dora"]
        assert account.state == "single sign-on"
        assert not accounts.credentials_hold(session, "dora", "")
        said = [json.dumps(event.detail) for event in session.scalars(select(Event))]
    assert not [text for text in said if "code" in text or "leads" in text]


def test_passwords_work_beside_it(client: TestClient) -> None:
    answer = client.post("/login", data={"name": "root", "password": "correct horse"})
    assert answer.headers["location"] == "/"


def test_the_role_follows_the_groups_at_the_next_sign_in(client: TestClient, idp: Provider, sqlite: Database) -> None:
    for groups, role in ((["all", "cn=ops,ou=it"], "admin"), (["all"], "annotator"), (["leads"], "reviewer")):
        idp.person["groups"] = groups
        signed_in(client)
        assert role_of(sqlite, "dora") == role
    idp.person["preferred_username"] = "root"  # a new name at the provider leads nowhere else
    signed_in(client)
    with sqlite.read() as session:
        assert accounts.login_of(session, client.cookies[COOKIE], now=time.time()) == "dora"
        assert len(session.scalars(select(Identity)).all()) == 1


def test_groups_and_name_may_come_from_the_userinfo_endpoint(
    client: TestClient, idp: Provider, sqlite: Database
) -> None:
    idp.person = {"sub": "7"}
    idp.user_info = {"preferred_username": "eva", "groups": ["leads"]}
    signed_in(client)
    assert role_of(sqlite, "eva") == "reviewer"


def test_a_provider_with_new_keys_is_asked_for_them(
    client: TestClient, idp: Provider, sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed_in(client)
    monkeypatch.setattr("annotation_ui.web.oidc_client.KEYS_AGAIN", 0.0)
    idp.key = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256", "kid": f"key {time.time()}"})
    client.cookies.clear()
    assert signed_in(client).headers["location"] == "/"


# A log-out


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


# Attacks on the way


def test_an_answer_to_another_sign_in_is_refused(client: TestClient, idp: Provider, sqlite: Database) -> None:
    back = at_provider(client)
    state = parse_qs(urlsplit(back).query)["state"][0]
    refused(client, sqlite, client.get(back.replace(state, "x" * len(state))))
    back = at_provider(client)
    client.cookies.delete(FLOW)  # another browser: a victim who is sent to the attacker's answer
    refused(client, sqlite, client.get(back))
    back = at_provider(client)
    content, _, signature = client.cookies[FLOW].partition(".")
    forged = json.loads(base64.urlsafe_b64decode(content))
    forged[3] = "#/elsewhere"
    client.cookies.clear()
    client.cookies.set(FLOW, f"{base64.urlsafe_b64encode(json.dumps(forged).encode()).decode()}.{signature}")
    refused(client, sqlite, client.get(back))


def test_a_code_counts_once(client: TestClient, idp: Provider, sqlite: Database) -> None:
    back = at_provider(client)
    flow = client.cookies[FLOW]
    assert client.get(back).headers["location"] == "/"
    client.cookies.clear()
    client.cookies.set(FLOW, flow)  # the same browser once more, with the cookie that it was told to forget
    assert client.get(back).headers["location"] == "/login?problem=not-done"
    client.cookies.clear()
    code = parse_qs(urlsplit(back).query)["code"][0]
    other = at_provider(client)  # a sign-in of its own, with the code of the other one
    fresh = parse_qs(urlsplit(other).query)["code"][0]
    assert client.get(other.replace(fresh, code)).headers["location"] == "/login?problem=not-done"
    assert COOKIE not in client.cookies


def test_a_stolen_code_is_of_no_use_without_the_verifier(client: TestClient, idp: Provider, sqlite: Database) -> None:
    stolen = parse_qs(urlsplit(at_provider(client)).query)["code"][0]
    client.cookies.clear()
    own = at_provider(client)
    refused(client, sqlite, client.get(own.replace(parse_qs(urlsplit(own).query)["code"][0], stolen)))


@pytest.mark.parametrize(
    "spoil",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"iss": "https://other.example"},
        {"aud": "another client"},
        {"aud": [CLIENT, "another"], "azp": "another"},
        {"aud": [CLIENT, "another"]},
        {"exp": 1},
        {"exp": None},
        {"iat": 4_000_000_000},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"groups": None},
        {"groups": {"all": True}},
        {"preferred_username": None},
    ],
    ids=str,
)
def test_a_token_that_does_not_hold_is_refused(
    client: TestClient, idp: Provider, sqlite: Database, spoil: dict[str, Any]
) -> None:
    def change(claims: dict[str, Any]) -> None:
        claims.update(spoil)
        for name in [name for name, value in claims.items() if value is None]:
            del claims[name]

    idp.spoil = change
    refused(client, sqlite, signed_in(client))


def _part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _unsigned(claims: dict[str, Any]) -> str:
    return ".".join(_part(json.dumps(part).encode()) for part in ({"alg": "none"}, claims)) + "."


def _keyed(claims: dict[str, Any], key: bytes) -> str:
    """A token whose HMAC has the provider's public key for its key, which everybody knows."""
    signed = ".".join(_part(json.dumps(part).encode()) for part in ({"alg": "HS256", "kid": "first"}, claims))
    return f"{signed}.{_part(hmac.digest(key, signed.encode(), 'sha256'))}"


def test_only_the_providers_signature_counts(client: TestClient, idp: Provider, sqlite: Database) -> None:
    other = RSAKey.generate_key(2048, {"kid": "first"})
    by_secret = OctKey.import_key(SECRET.ljust(20))
    forgeries = [
        _unsigned,
        lambda claims: jwt.encode({"alg": "RS256", "kid": "first"}, claims, other),
        lambda claims: jwt.encode({"alg": "HS256", "kid": idp.key.kid}, claims, by_secret),
        lambda claims: _keyed(claims, idp.key.as_pem(private=False)),
        lambda claims: jwt.encode({"alg": "RS256", "kid": "first", "jwk": other.as_dict(private=False)}, claims, other),
        lambda claims: idp.signed(claims)[:-6] + "AAAAAA",
        lambda claims: "no token",
    ]
    for forge in forgeries:
        idp.sign = forge
        refused(client, sqlite, signed_in(client))


def test_an_answer_of_another_issuer_is_refused(client: TestClient, idp: Provider, sqlite: Database) -> None:
    idp.answer = {"iss": "https://other.example"}
    refused(client, sqlite, signed_in(client))
    idp.answer = {"error": "access_denied"}
    refused(client, sqlite, signed_in(client))


def test_a_userinfo_endpoint_that_answers_about_somebody_else_is_not_believed(
    client: TestClient, idp: Provider, sqlite: Database
) -> None:
    idp.person = {"sub": "1", "preferred_username": "dora"}
    idp.user_info = {"sub": "2", "groups": ["cn=ops,ou=it"]}
    refused(client, sqlite, signed_in(client))


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/userinfo", "http://provider.example/userinfo"])
def test_a_userinfo_endpoint_that_cannot_be_asked_is_an_error_of_the_provider(
    address: str, client: TestClient, idp: Provider, sqlite: Database
) -> None:
    idp.person, idp.metadata = {"sub": "1"}, {"userinfo_endpoint": address}
    assert signed_in(client).headers["location"] == "/login?problem=not-there"
    with sqlite.read() as session:
        assert not session.scalars(select(Identity)).all()


def test_nobody_is_sent_elsewhere_after_it(client: TestClient, idp: Provider) -> None:
    elsewhere = ("https://evil.example", "//evil.example", "#/\\evil", "/#/x", "javascript:alert(1)", "#/a\r\nb", "#/é")
    for page in elsewhere:
        assert page_of(page) == ""
        assert signed_in(client, page).headers["location"] == "/"
        client.cookies.clear()
    assert page_of("#//evil.example") == "#//evil.example"  # behind the slash of this host it is a name of no project


# Attacks on accounts


def test_a_name_or_an_address_never_leads_to_an_account_that_exists(
    client: TestClient, idp: Provider, sqlite: Database
) -> None:
    for name in ("root", "root@example.org"):
        with sqlite.write() as session:
            if accounts.find_user(session, name) is None:
                accounts.add_user(session, name, "admin", "correct horse", now=1.0)
        idp.person = {"sub": "evil", "preferred_username": name, "groups": ["all"]}
        idp.person |= {"email": name, "email_verified": True}
        answer = signed_in(client)
        assert answer.headers["location"] == "/login?problem=taken"
        assert COOKIE not in client.cookies
        assert role_of(sqlite, name) == "admin"
    with sqlite.write() as session:
        identities.link(session, "root", idp.issuer, "evil", by="cli", now=time.time())
    idp.person["groups"] = ["cn=ops,ou=it"]
    assert signed_in(client).headers["location"] == "/"


def test_a_name_that_stands_for_somebody_else_is_refused(client: TestClient, idp: Provider, sqlite: Database) -> None:
    for name in ("Command line", "single sign-on", "x" * 101, "a\nb"):
        idp.person = {"sub": "evil", "preferred_username": name, "groups": ["all"]}
        refused(client, sqlite, signed_in(client), "no-name")


def test_names_that_are_addresses_have_to_be_verified() -> None:
    claims = {"email": "a@example.org", "email_verified": True, "realm_access": {"roles": ["x"]}, "one": "leads"}
    assert name_of(claims, "email") == "a@example.org"
    for verified in (False, "true", 1, None):
        with pytest.raises(SignInError, match="not verified"):
            name_of(claims | {"email_verified": verified}, "email")
    assert groups_of(claims, "realm_access.roles") == ["x"]
    assert groups_of(claims, "one") == ["leads"]
    with pytest.raises(SignInError, match="no list of groups"):
        groups_of(claims, "realm_access.missing")


def test_who_leaves_the_groups_loses_log_ins_and_tokens(client: TestClient, idp: Provider, sqlite: Database) -> None:
    idp.person["groups"] = ["leads"]
    signed_in(client)
    before = client.cookies[COOKIE]
    with sqlite.write() as session:
        _, secret = tokens.make_token(session, "dora", "t", ["read"], by="dora", now=time.time())
    idp.person["groups"] = ["others"]
    assert signed_in(client).headers["location"] == "/login?problem=no-group"
    with sqlite.read() as session:
        assert accounts.login_of(session, before, now=time.time()) is None
        assert tokens.bearer_of(session, secret, now=time.time()) is None


def test_who_never_signs_in_again_loses_them_too(client: TestClient, idp: Provider, sqlite: Database) -> None:
    signed_in(client)
    now = time.time()
    with sqlite.write() as session:
        _, secret = tokens.make_token(session, "dora", "t", ["read"], days=300, by="dora", now=now)
    with sqlite.read() as session:
        cookie = client.cookies[COOKIE]
        assert accounts.login_of(session, cookie, now=now + 11.9 * 3600) == "dora"
        assert accounts.login_of(session, cookie, now=now + 12.1 * 3600) is None
        assert tokens.bearer_of(session, secret, now=now + 29 * 86400) is not None
        assert tokens.bearer_of(session, secret, now=now + 31 * 86400) is None


def test_an_account_that_is_locked_out_stays_so(client: TestClient, idp: Provider, sqlite: Database) -> None:
    signed_in(client)
    client.cookies.clear()
    with sqlite.write() as session:
        accounts.disable(session, "dora", by="root", now=time.time())
    assert signed_in(client).headers["location"] == "/login?problem=locked-out"
    with sqlite.write() as session:
        accounts.enable(session, "dora", by="root", now=time.time())
    assert signed_in(client).headers["location"] == "/"


def test_a_provider_that_is_away_or_another_one(sqlite: Database, idp: Provider) -> None:
    away = settings(idp, issuer="http://127.0.0.1:9")
    other = settings(idp, issuer=f"{idp.issuer}/")
    for chosen in (away, other):
        with TestClient(build(sqlite, oidc=chosen), base_url=ADDRESS, follow_redirects=False) as client:
            assert client.get("/login/provider").headers["location"] == "/login?problem=not-there"
    idp.metadata = {"token_endpoint": "http://elsewhere.example/token"}
    with TestClient(build(sqlite, oidc=settings(idp)), base_url=ADDRESS, follow_redirects=False) as client:
        assert client.get("/login/provider").headers["location"] == "/login?problem=not-there"


# The settings


def test_settings_are_read_from_the_environment() -> None:
    assert read_settings({}) is None
    assert read_settings({"KEEL_OIDC_CLIENT_ID": "", "KEEL_PUBLIC_URL": "https://annotate.example.org"}) is None
    for name in ("KEEL_OIDC_CLIENT_ID", "KEEL_OIDC_ROLES", "KEEL_OIDC_CLIENT_SECRET"):
        with pytest.raises(OidcSettingsError, match=rf"ISSUER is missing.* {name} is set"):
            read_settings({name: "x", "KEEL_OIDC_ISSUER": " "})
    given = {"KEEL_OIDC_ISSUER": "https://id.example.org/realms/x", "KEEL_OIDC_CLIENT_ID": "keel"}
    given |= {"KEEL_PUBLIC_URL": "https://annotate.example.org/", "KEEL_OIDC_HOURS": "8"}
    given |= {"KEEL_OIDC_ROLES": "cn=ops,ou=it=admin; all = annotator;"}
    found = read_settings(given)
    assert found is not None
    assert found.redirect == "https://annotate.example.org/login/provider/callback"
    assert found.roles == {"cn=ops,ou=it": "admin", "all": "annotator"}
    assert (found.role_of(["all", "cn=ops,ou=it"]), found.role_of(["x"]), found.hours) == ("admin", None, 8.0)
    assert "secret" not in repr(settings.__name__) + repr(found)
    for change, named in (
        ({"KEEL_OIDC_ISSUER": "http://id.example.org"}, "KEEL_OIDC_ISSUER"),
        ({"KEEL_OIDC_ISSUER": "https://id.example.org?x=1"}, "KEEL_OIDC_ISSUER"),
        ({"KEEL_OIDC_CLIENT_ID": ""}, "KEEL_OIDC_CLIENT_ID"),
        ({"KEEL_PUBLIC_URL": ""}, "KEEL_PUBLIC_URL"),
        ({"KEEL_PUBLIC_URL": "https://example.org/annotate"}, "KEEL_PUBLIC_URL"),
        ({"KEEL_OIDC_ROLES": ""}, "KEEL_OIDC_ROLES"),
        ({"KEEL_OIDC_ROLES": "all=boss"}, "KEEL_OIDC_ROLES"),
        ({"KEEL_OIDC_ROLES": "all=admin; all=annotator"}, "two roles"),
        ({"KEEL_OIDC_HOURS": "1000"}, "KEEL_OIDC_HOURS"),
        ({"KEEL_OIDC_SCOPES": "profile"}, "KEEL_OIDC_SCOPES"),
    ):
        with pytest.raises(OidcSettingsError, match=named):
            read_settings(given | change)
