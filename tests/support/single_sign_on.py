"""An app with single sign-on, and sign-ins at the provider of ``oidc_provider``."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

pytest.importorskip("authlib", reason="pip install 'keel-align[oidc]'")

from fastapi.testclient import TestClient
from oidc_provider import CLIENT, SECRET, Provider
from sqlalchemy import select

from annotation_ui.store import accounts
from annotation_ui.store.database import Database
from annotation_ui.store.tables import User
from annotation_ui.web import login
from annotation_ui.web.login import COOKIE
from annotation_ui.web.oidc_settings import OidcSettings

ADDRESS = "http://127.0.0.1"

ROLES: dict[str, accounts.Role] = {"all": "annotator", "leads": "reviewer", "cn=ops,ou=it": "admin"}


def settings(idp: Provider, **changed: Any) -> OidcSettings:
    chosen = {"issuer": idp.issuer, "client_id": CLIENT, "secret": SECRET, "roles": ROLES}
    return OidcSettings(**(chosen | {"redirect": f"{ADDRESS}/login/provider/callback"} | changed))


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
