"""The pages of administration: an action with its form, and a verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from annotation_ui.labelling import session as annotating
from annotation_ui.store.database import Database
from annotation_ui.web import pages

NOW = 1_700_000_000.0


Fill = Callable[..., Database]


def act(database: Database, who: str | None, action: str, fields: dict[str, Any] | None = None, **asked: Any) -> Any:
    sent = {"action": action, "project": "p", **asked} | ({} if fields is None else {"fields": fields})
    return pages.act(database, who, sent, now=NOW)


def judge(database: Database, who: str, **said: Any) -> None:
    task = annotating.next_task(database, who, "p", now=NOW)
    assert task is not None
    annotating.vote(database, who, "p", task.token, said, dwell_ms=1000, now=NOW)
