"""This app as a client of an OpenID Connect provider: the authorization code flow with PKCE (RFC 7636).

Requests and the checks of tokens are Authlib's. What is checked of an ID token: signature by a key of the provider with
an asymmetric algorithm, issuer, audience, authorized party, times, nonce, and the hash of the access token (OpenID
Connect Core, 3.1.3.7).
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

import httpx2

from annotation_ui.web.oidc_settings import OidcSettings, OidcSettingsError, check_address
from reward_models.extras import needs

with needs("oidc"):
    from authlib.integrations.base_client import OAuthError
    from authlib.integrations.httpx_client import OAuth2Client
    from authlib.oidc.core import CodeIDToken
    from joserfc import jwt
    from joserfc.errors import InvalidKeyIdError, JoseError
    from joserfc.jwk import KeySet
    from joserfc.jwt import JWTClaimsRegistry

TIMEOUT = 10.0  # seconds
LEEWAY = 60  # seconds by which clocks may differ
KEPT = 3600.0  # seconds for which the provider's description is kept
KEYS_AGAIN = 30.0  # seconds between two requests for keys that were not known
LOG_OUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
# Never `none`, and never an HMAC: its key would be the client's secret, or a public key that is taken for one.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA")


class ProviderError(Exception):
    """The provider does not answer, or not as one does. The message is for the log."""


class SignInError(Exception):
    """A sign-in that is refused. The message is for the log."""


class Attempt(NamedTuple):
    """A sign-in that was begun: what must come back, and what proves that the code is ours."""

    state: str
    nonce: str
    verifier: str


class Person(NamedTuple):
    """A person whom the provider confirmed, and the ID token that it said so with."""

    subject: str
    name: str
    groups: list[str]
    id_token: str


class OidcClient:
    """Begins and ends sign-ins at one provider. Safe to use from several threads."""

    def __init__(self, settings: OidcSettings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._metadata: tuple[float, dict[str, Any]] | None = None
        self._keys: tuple[float, KeySet] | None = None

    def begin(self) -> tuple[str, Attempt]:
        """The address to send a browser to, and what its sign-in will be checked by.

        Raises:
            ProviderError: the provider does not say where that is.
        """
        attempt = Attempt(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48))
        with self._client() as client:
            address, _ = client.create_authorization_url(
                self.metadata()["authorization_endpoint"],
                state=attempt.state,
                nonce=attempt.nonce,
                code_verifier=attempt.verifier,
            )
        return address, attempt

    def finish(self, attempt: Attempt, answer: Mapping[str, str]) -> Person:
        """The person behind what the provider sent back in the parameters ``answer``.

        Raises:
            SignInError: it belongs to another sign-in, the provider refused, or a token does not hold.
            ProviderError: the provider does not answer.
        """
        metadata, settings = self.metadata(), self.settings
        if not secrets.compare_digest(answer.get("state", "").encode(), attempt.state.encode()):
            raise SignInError("the state is not that of the sign-in that was begun")
        issuer = answer.get("iss")  # RFC 9207: against a provider that passes on another one's answer
        if issuer is None and metadata.get("authorization_response_iss_parameter_supported") is True:
            raise SignInError("the answer does not name its issuer, which the provider says it does")
        if issuer is not None and issuer != settings.issuer:
            raise SignInError("the answer is of another issuer")
        if "error" in answer or not answer.get("code"):
            raise SignInError(f"the provider refused: {answer.get('error', 'no code')[:100]!r}")
        with self._client() as client:
            try:
                token = client.fetch_token(
                    metadata["token_endpoint"], code=answer["code"], code_verifier=attempt.verifier
                )
            except (OAuthError, JoseError, ValueError, KeyError) as error:
                raise SignInError(f"the code was refused: {type(error).__name__} {str(error)[:100]}") from error
            except httpx2.HTTPError as error:
                raise ProviderError(f"the token endpoint: {type(error).__name__}") from error
            access = token.get("access_token") if isinstance(token.get("access_token"), str) else None
            id_token = token.get("id_token")
            claims = self._verified(id_token, attempt.nonce, access)
            return self._person(claims, client, id_token)

    def log_out_address(self, id_token: str) -> str | None:
        """The address at which a browser's log-in at the provider ends; ``None`` if the provider has no such address.

        OpenID Connect RP-Initiated Logout 1.0, section 2.

        Args:
            id_token: of the sign-in, by which the provider knows the log-in; without one it asks the person.

        Raises:
            ProviderError: the provider does not answer, or names an address that is not https.
        """
        address = self.metadata().get("end_session_endpoint")
        if not address:
            return None
        there, _, query = str(address).partition("?")
        try:
            check_address(there, "end_session_endpoint")
        except OidcSettingsError as error:
            raise ProviderError(str(error)) from None
        sent = {"client_id": self.settings.client_id, "post_logout_redirect_uri": self.settings.after_log_out}
        if id_token:
            sent["id_token_hint"] = id_token
        return f"{there}?{f'{query}&' if query else ''}{urlencode(sent)}"

    def signed_out(self, token: str) -> tuple[str, float]:
        """The subject of a logout token, and the time of its issue in seconds since 1970.

        OpenID Connect Back-Channel Logout 1.0, section 2.6. An ID token is none: it has a nonce, and no such event.

        Raises:
            SignInError: the token does not hold, or names a session (``sid``) without its person.
            ProviderError: the provider does not answer.
        """
        settings = self.settings
        wanted: dict[str, Any] = {name: {"essential": True} for name in ("iat", "exp", "jti", "events")}
        wanted |= {"iss": {"essential": True, "value": settings.issuer}}
        wanted |= {"aud": {"essential": True, "value": settings.client_id}}
        try:
            claims = self._decoded(token).claims
            JWTClaimsRegistry(leeway=LEEWAY, **wanted).validate(claims)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise SignInError(f"the logout token does not hold: {type(error).__name__} {str(error)[:100]}") from error
        events = claims["events"]
        if not isinstance(events, Mapping) or not isinstance(events.get(LOG_OUT_EVENT), Mapping) or "nonce" in claims:
            raise SignInError("this is no logout token")
        if not isinstance(claims.get("sub"), str) or not claims["sub"]:
            raise SignInError("the logout token names no subject; the provider has to send `sub` to this client")
        return claims["sub"], float(claims["iat"])

    def metadata(self) -> dict[str, Any]:
        """The provider's description of itself (OpenID Connect Discovery).

        Raises:
            ProviderError: it cannot be read, is of another issuer, or names an address that is not https.
        """
        with self._lock:
            if self._metadata and time.monotonic() - self._metadata[0] < KEPT:
                return self._metadata[1]
            address = f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration"
            found = self._read(address)
            if found.get("issuer") != self.settings.issuer:
                raise ProviderError(f"{address} is of the issuer {str(found.get('issuer'))[:200]!r}")
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                try:
                    check_address(str(found.get(name, "")), name)
                except OidcSettingsError as error:
                    raise ProviderError(str(error)) from None
            self._metadata = time.monotonic(), found
            return found

    def _client(self) -> OAuth2Client:
        settings, metadata = self.settings, self.metadata()
        known = metadata.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        method = "client_secret_basic" if "client_secret_basic" in known else "client_secret_post"
        return OAuth2Client(
            settings.client_id,
            settings.secret or None,
            scope=settings.scopes,
            redirect_uri=settings.redirect,
            token_endpoint_auth_method=method if settings.secret else "none",
            code_challenge_method="S256",
            timeout=TIMEOUT,
            follow_redirects=False,
        )

    def _verified(self, id_token: Any, nonce: str, access_token: str | None) -> CodeIDToken:
        if not isinstance(id_token, str):
            raise SignInError("the provider sent no ID token")
        issuer, client = self.settings.issuer, self.settings.client_id
        try:
            decoded = self._decoded(id_token)
            claims = CodeIDToken(
                decoded.claims,
                decoded.header,
                {"iss": {"essential": True, "value": issuer}, "aud": {"essential": True, "value": client}},
                {"nonce": nonce, "client_id": client, "access_token": access_token},
            )
            claims.validate(int(time.time()), LEEWAY)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise SignInError(f"the ID token does not hold: {type(error).__name__} {str(error)[:100]}") from error
        if not isinstance(claims["sub"], str) or not 0 < len(claims["sub"]) <= 255:
            raise SignInError("the ID token names no subject")
        return claims

    def _decoded(self, id_token: str) -> Any:
        known = self.metadata().get("id_token_signing_alg_values_supported") or ALGORITHMS
        algorithms = [name for name in ALGORITHMS if name in known]
        try:
            return jwt.decode(id_token, self._key_set(), algorithms=algorithms)
        except InvalidKeyIdError:  # the provider has new keys
            return jwt.decode(id_token, self._key_set(again=True), algorithms=algorithms)

    def _key_set(self, *, again: bool = False) -> KeySet:
        address = self.metadata()["jwks_uri"]
        with self._lock:
            age = time.monotonic() - self._keys[0] if self._keys else KEPT
            if self._keys and age < (KEYS_AGAIN if again else KEPT):
                return self._keys[1]
            try:
                found = KeySet.import_key_set(self._read(address))  # type: ignore[arg-type]
            except (JoseError, ValueError, KeyError, TypeError) as error:
                raise ProviderError(f"{address} holds no keys: {str(error)[:100]}") from error
            self._keys = time.monotonic(), found
            return found

    def _person(self, claims: Mapping[str, Any], client: OAuth2Client, id_token: str) -> Person:
        settings, found = self.settings, dict(claims)
        wanted = (settings.groups_claim, settings.name_claim)
        address = self.metadata().get("userinfo_endpoint")
        if address and any(claim(found, name) is None for name in wanted):
            try:
                check_address(str(address), "userinfo_endpoint")
                more = _json(client.get(address), str(address))
            except (OidcSettingsError, httpx2.HTTPError) as error:
                raise ProviderError(f"{str(address)[:200]}: {type(error).__name__}") from error
            if more.get("sub") != claims["sub"]:
                raise SignInError("the userinfo endpoint answers about somebody else")
            found = more | found
        name, groups = name_of(found, settings.name_claim), groups_of(found, settings.groups_claim)
        return Person(claims["sub"], name, groups, id_token)

    def _read(self, address: str) -> dict[str, Any]:
        try:
            return _json(httpx2.get(address, timeout=TIMEOUT, follow_redirects=False), address)
        except httpx2.HTTPError as error:
            raise ProviderError(f"{address}: {type(error).__name__}") from error


def claim(claims: Mapping[str, Any], name: str) -> Any:
    """The claim ``name``; the value at the path ``a.b`` where no claim is named so."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def groups_of(claims: Mapping[str, Any], name: str) -> list[str]:
    """The groups in a claim that is a list of texts, or one text.

    Raises:
        SignInError: there is no such claim, or it is something else.
    """
    found = claim(claims, name)
    if isinstance(found, str):
        return [found]
    if not isinstance(found, list) or not all(isinstance(group, str) for group in found):
        raise SignInError(f"no list of groups in the claim {name!r}; the provider has to send one to this client")
    return found


def name_of(claims: Mapping[str, Any], name: str) -> str:
    """The name for a new account.

    Raises:
        SignInError: there is none, or it is an e-mail address that the provider has not verified.
    """
    found = claim(claims, name)
    if not isinstance(found, str) or not found.strip():
        raise SignInError(f"no name in the claim {name!r}")
    if name == "email" and claims.get("email_verified") is not True:
        raise SignInError("the provider has not verified the e-mail address")
    return found.strip()


def _json(response: httpx2.Response, address: str) -> dict[str, Any]:
    try:
        found = response.json() if response.status_code == 200 else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ProviderError(f"{address} answers {response.status_code} without a JSON object")
    return found
