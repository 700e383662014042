"""The REST interface of an annotation database, tokens for it, and verdicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from annotation_ui.api import service
from annotation_ui.labelling import session as annotating
from annotation_ui.store.database import Database
from annotation_ui.store.tokens import SCOPES, make_token

NOW = 1_700_000_000.0
FAR = 4_000_000_000.0  # the routes use the clock; tokens of these tests hold at any time
Fill = Callable[..., Database]
Headers = dict[str, str]


def application(database: Database, session_of: Callable[[Any], str | None] = lambda request: None) -> FastAPI:
    server = FastAPI()
    server.mount(service.PREFIX, service.build(database, session_of=session_of, outage=lambda error: None))
    return server


def headers(database: Database, who: str, *scopes: str) -> Headers:
    with database.write() as session:
        made, secret = make_token(session, who, "test", scopes or SCOPES, by=who, now=NOW)
        made.expires = FAR
    return {"Authorization": f"Bearer {secret}"}


def judge(database: Database, who: str, **said: Any) -> None:
    task = annotating.next_task(database, who, "p", now=NOW)
    assert task is not None
    annotating.vote(database, who, "p", task.token, said, dwell_ms=1000, now=NOW)
