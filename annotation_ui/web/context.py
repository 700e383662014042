"""A request of the browser, as the actions get it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from annotation_ui.store.database import Database
from annotation_ui.web.languages import Language

Reply = dict[str, Any]
Said = Mapping[str, Any]


class BadRequest(ValueError):
    """A request that no page of ours sends."""


@dataclass(frozen=True, slots=True)
class Context:
    """The account, the project, the time and the language of a request."""

    database: Database
    who: str | None
    project: str | None
    now: float
    can_log_out: bool
    language: Language = "en"


Show = Callable[..., Reply]  # a page by its name, with the values that its template needs
Action = Callable[[Context, Said], Reply]
