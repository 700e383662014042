"""Every error of the API as JSON with a plain message, ``{"error": {"status": 404, "message": "…"}}``, and no trace."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from annotation_ui.actions.browsing import UnknownItem
from annotation_ui.store.accounts import AccountError, Forbidden, UnknownAccount
from annotation_ui.store.forms import DefinitionError
from annotation_ui.store.projects import ProjectError, UnknownProject
from annotation_ui.store.saved_views import UnknownView
from annotation_ui.store.search import SearchError
from annotation_ui.store.webhooks import UnknownWebhook

LONGEST_MESSAGE = 2000
_log = logging.getLogger(__name__)

# The most special class first.
STATUS: tuple[tuple[type[Exception], int], ...] = (
    (UnknownProject, 404),
    (UnknownItem, 404),
    (UnknownView, 404),
    (UnknownWebhook, 404),
    (UnknownAccount, 404),
    (Forbidden, 403),
    (ProjectError, 422),
    (DefinitionError, 422),
    (AccountError, 422),
    (SearchError, 422),
)


class Refused(Exception):
    """A request that is answered with ``status`` and a message."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers


def error(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    said = message[:LONGEST_MESSAGE].encode("utf-8", "replace").decode()  # half of a character cannot be sent
    content = {"error": {"status": status, "message": said}}
    return JSONResponse(content, status, headers)


def add_errors(api: FastAPI, outage: Callable[[Any], str | None]) -> None:
    """Answer every exception.

    Args:
        outage: the reason why the database cannot be used at the moment, for an error of it; ``None`` for a fault.
    """
    for kind, status in STATUS:
        api.add_exception_handler(kind, _with(status))

    @api.exception_handler(Refused)
    def refused(request: Request, exception: Refused) -> JSONResponse:
        return error(exception.status, str(exception), exception.headers)

    @api.exception_handler(HTTPException)
    def http(request: Request, exception: HTTPException) -> JSONResponse:
        return error(exception.status_code, str(exception.detail), dict(exception.headers or {}))

    @api.exception_handler(RequestValidationError)
    def invalid(request: Request, exception: RequestValidationError) -> JSONResponse:
        found = [f"{'.'.join(map(str, fault['loc']))}: {_reason(fault)}" for fault in exception.errors()[:5]]
        return error(422, "; ".join(found))

    @api.exception_handler(SQLAlchemyError)
    def database(request: Request, exception: SQLAlchemyError) -> JSONResponse:
        reason = outage(exception)
        if reason is not None:
            return error(503, reason, {"Retry-After": "10"})
        return failed(request, exception)

    @api.exception_handler(Exception)
    def failed(request: Request, exception: Exception) -> JSONResponse:
        _log.error("%s %s failed", request.method, request.url.path, exc_info=exception)
        return error(500, "the server failed; its log says why")


def _reason(fault: dict[str, Any]) -> str:
    return "unknown key" if fault["type"] == "extra_forbidden" else str(fault["msg"])


def _with(status: int) -> Callable[[Request, Exception], JSONResponse]:
    return lambda request, exception: error(status, str(exception))
