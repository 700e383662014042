"""Single sign-on: roles, names, those who leave, and the settings."""

from __future__ import annotations

import json
import time

import pytest

pytest.importorskip("authlib", reason="pip install 'keel-align[oidc]'")

from fastapi.testclient import TestClient
from joserfc.jwk import RSAKey
from oidc_provider import Provider
from single_sign_on import ADDRESS, refused, role_of, settings, signed_in
from sqlalchemy import select

from annotation_ui.store import accounts, identities, tokens
from annotation_ui.store.database import Database
from annotation_ui.store.service_tables import Identity
from annotation_ui.store.tables import Event
from annotation_ui.web.login import COOKIE
from annotation_ui.web.oidc_client import SignInError, groups_of, name_of
from annotation_ui.web.oidc_settings import OidcSettingsError, read_settings
from annotation_ui.web.server import build

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
