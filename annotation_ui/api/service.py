"""The REST interface as an application of its own, mounted under ``/api``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request

from annotation_ui.api.access import Doorkeeper
from annotation_ui.api.account_routes import account_routes, token_routes, webhook_routes
from annotation_ui.api.errors import add_errors
from annotation_ui.api.project_routes import (
    export_routes,
    import_routes,
    item_routes,
    project_routes,
    view_routes,
    work_routes,
)
from annotation_ui.store.database import Database

PREFIX, VERSION = "/api", "/v1"
ROUTES = (
    project_routes,
    work_routes,
    item_routes,
    view_routes,
    import_routes,
    export_routes,
    account_routes,
    token_routes,
    webhook_routes,
)
IMPORT_BYTES = 64_000_000
_IMPORT = re.compile(r"/api/v1/projects/[^/]+/import")
DESCRIPTION = """\
Every request carries a token: `Authorization: Bearer keel_…`. A token may do what its account may do (`x-roles`),
within its scopes (`x-scope`). Errors are JSON: `{"error": {"status": 404, "message": "…"}}`. Lists are read page by
page: `next` of one page is the `cursor` of the following one. A search for `word*` finds what begins so.
"""


def build(
    database: Database, *, session_of: Callable[[Request], str | None], outage: Callable[[Any], str | None]
) -> FastAPI:
    """The application.

    Args:
        session_of: the account of a browser's session.
        outage: the reason why the database cannot be used, for an error of it.
    """
    api = FastAPI(
        title="Keel annotate",
        version="1",
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    api.state.doorkeeper = Doorkeeper(database, session_of)
    for routes in ROUTES:
        api.include_router(routes(database), prefix=VERSION)
    add_errors(api, outage)
    _name_full_paths(api)
    return api


def _name_full_paths(api: FastAPI) -> None:
    """Name the paths in the specification as clients use them, from the root of the server."""
    made = api.openapi

    def openapi() -> dict[str, Any]:
        found = made()
        if not any(path.startswith(PREFIX) for path in found["paths"]):
            found["paths"] = {PREFIX + path: content for path, content in found["paths"].items()}
        found.pop("servers", None)
        return found

    api.openapi = openapi  # type: ignore[method-assign]


def body_limit(path: str, usual: int) -> int:
    """The bytes that the body of a request to ``path`` may have."""
    return IMPORT_BYTES if _IMPORT.fullmatch(path) else usual
