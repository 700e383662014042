"""An OpenID Connect provider for tests, in a thread of the test's process. It can be made to misbehave.

Codes hold once, and only with the verifier of their challenge (RFC 7636), which Authlib computes.
"""

from __future__ import annotations

import secrets
import socket
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlencode

import uvicorn
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "keel", "a secret"
LONGEST_CODE = 60.0


class Provider:
    """The provider; ``person`` signs in at once, without a form.

    ``spoil`` changes the claims of the next ID token, ``sign`` makes the token of claims, ``user_info`` is what the
    userinfo endpoint adds.
    """

    def __init__(self, port: int) -> None:
        self.issuer = f"http://127.0.0.1:{port}"
        self.key = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256", "kid": "first"})
        self.person: dict[str, Any] = {"sub": "1", "preferred_username": "dora", "groups": ["all"]}
        self.user_info: dict[str, Any] = {}
        self.spoil: Callable[[dict[str, Any]], Any] = lambda claims: None
        self.sign: Callable[[dict[str, Any]], str] = self.signed
        self.metadata: dict[str, Any] = {}
        self.answer: dict[str, str] = {}
        self.asked: list[dict[str, str]] = []
        self.logged_out: list[dict[str, str]] = []
        self._codes: dict[str, dict[str, str]] = {}
        self._access: dict[str, dict[str, Any]] = {}
        self.app = FastAPI()
        self.app.add_api_route("/.well-known/openid-configuration", self._describe)
        self.app.add_api_route("/jwks", lambda: {"keys": [self.key.as_dict(private=False)]})
        self.app.add_api_route("/authorize", self._authorize)
        self.app.add_api_route("/token", self._token, methods=["POST"])
        self.app.add_api_route("/userinfo", self._userinfo)
        self.app.add_api_route("/logout", self._log_out)

    def signed(self, claims: dict[str, Any]) -> str:
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, claims, self.key)

    def _describe(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "response_types_supported": ["code"],
            "id_token_signing_alg_values_supported": ["RS256"],
            **self.metadata,
        }

    def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        self.asked.append(asked)
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        answer = {"code": code, "state": asked["state"], "iss": self.issuer, **self.answer}
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(answer)}", 303)

    async def _token(self, request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        given = b64decode(request.headers.get("authorization", " ").partition(" ")[2]).decode()
        asked = self._codes.pop(form.get("code", ""), None)
        challenge = create_s256_code_challenge(form.get("code_verifier", ""))
        if unquote(given) != f"{CLIENT}:{SECRET}" or asked is None or asked.get("code_challenge") != challenge:
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": asked["nonce"]}
        claims |= self.person
        self.spoil(claims)
        access = secrets.token_urlsafe(16)
        self._access[access] = {"sub": self.person["sub"], **self.user_info}
        return JSONResponse({"access_token": access, "token_type": "Bearer", "id_token": self.sign(claims)})

    def _log_out(self, request: Request) -> Response:
        """The end session endpoint, described only where ``metadata`` says so; a hint has to be our token."""
        asked = dict(request.query_params)
        hint = jwt.decode(asked["id_token_hint"], self.key).claims if "id_token_hint" in asked else {"aud": CLIENT}
        self.logged_out.append({"sub": hint.get("sub"), **asked})
        if asked["client_id"] != CLIENT or hint["aud"] != CLIENT:
            return Response("another client", 400)
        return RedirectResponse(asked["post_logout_redirect_uri"], 303)

    def _userinfo(self, request: Request) -> Response:
        found = self._access.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        return JSONResponse(found) if found else JSONResponse({"error": "invalid_token"}, 401)


@contextmanager
def provider() -> Iterator[Provider]:
    """A provider on a free port until the block ends."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        made = Provider(listening.getsockname()[1])
        server = uvicorn.Server(uvicorn.Config(made.app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield made
        server.should_exit = True
        thread.join(30)
