"""Attacks on a sign-in: what a provider, or somebody in its place, sends back."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

pytest.importorskip("authlib", reason="pip install 'keel-align[oidc]'")

from fastapi.testclient import TestClient
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from oidc_provider import CLIENT, SECRET, Provider
from single_sign_on import at_provider, refused, signed_in
from sqlalchemy import select

from annotation_ui.store.database import Database
from annotation_ui.store.service_tables import Identity
from annotation_ui.web.login import COOKIE
from annotation_ui.web.provider_login import FLOW, page_of


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
