"""Fixtures of several files on the pages: a project with people of every role, and a provider of single sign-on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from administered import NOW, Fill
from fastapi.testclient import TestClient

from annotation_ui.store.accounts import add_user
from annotation_ui.store.database import Database
from annotation_ui.store.projects import Settings

if TYPE_CHECKING:
    from oidc_provider import Provider


@pytest.fixture
def filled(sqlite: Database, fill: Fill) -> Database:
    """A project of four items with two votes each; `ann` and `bob` annotate, `rev` reviews, `root` administers."""
    fill(sqlite, items=4, settings=Settings(votes_per_item=2, gold_rate=0, repeat_rate=0))
    with sqlite.write() as session:
        add_user(session, "rev", "reviewer", None, now=NOW)
        add_user(session, "root", "admin", "correct horse", now=NOW)
        add_user(session, "chief", "admin", "correct horse", now=NOW)
    return sqlite


@pytest.fixture(scope="module")
def _provider() -> Iterator[Provider]:
    from oidc_provider import provider  # Authlib is an extra

    with provider() as made:
        yield made


@pytest.fixture
def idp(_provider: Provider) -> Provider:
    """A provider at which dora, of the group of everybody, signs in."""
    _provider.person = {"sub": "1", "preferred_username": "dora", "groups": ["all"]}
    _provider.user_info, _provider.metadata, _provider.answer = {}, {}, {}
    _provider.logged_out = []
    _provider.spoil, _provider.sign = lambda claims: None, _provider.signed
    return _provider


@pytest.fixture
def client(sqlite: Database, idp: Provider) -> Iterator[TestClient]:
    """A browser without a page, at an app with single sign-on."""
    from single_sign_on import ADDRESS, settings

    from annotation_ui.web.server import build

    with sqlite.write() as session:
        add_user(session, "root", "admin", "correct horse", now=1.0)
    with TestClient(build(sqlite, oidc=settings(idp)), base_url=ADDRESS, follow_redirects=False) as made:
        yield made
