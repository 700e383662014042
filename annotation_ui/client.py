"""A client of the annotation app's REST interface, for scripts.

>>> from annotation_ui.client import Client
>>> with Client("https://annotate.example.org", token) as keel:
...     keel.import_items("helpful", rows, key="batch-7")
...     for item in keel.items("helpful", agreement="disagree"):
...         print(item["id"], item["labels"])
...     votes = list(keel.votes("helpful", pseudonyms=True))

The token is read from ``KEEL_ANNOTATE_API_TOKEN`` if none is given. Requests that read are repeated when the server is
busy or does not answer; those that change something only where a repetition does no harm.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self
from urllib.parse import quote

import httpx2

TOKEN_VARIABLE = "KEEL_ANNOTATE_API_TOKEN"
ATTEMPTS = 5
LONGEST_PAUSE = 30.0
TIMEOUT = 60.0


class ApiError(RuntimeError):
    """The server refused a request; ``status`` is that of its answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{message} (status {status})")
        self.status = status


class Client:
    """A connection to the annotation app at ``address``.

    Args:
        token: made by ``keel annotate token create`` or in the app.
        transport: for tests.
    """

    def __init__(
        self, address: str, token: str | None = None, *, transport: httpx2.BaseTransport | None = None
    ) -> None:
        secret = token or os.environ.get(TOKEN_VARIABLE)
        if not secret:
            raise ValueError(f"a client needs a token: the argument, or {TOKEN_VARIABLE}")
        self._http = httpx2.Client(
            base_url=f"{address.rstrip('/')}/api/v1",
            headers={"Authorization": f"Bearer {secret}"},
            timeout=TIMEOUT,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        again: bool | None = None,
    ) -> Any:
        """One request to a path below ``/api/v1``; the JSON of the answer, ``None`` for an empty one.

        Args:
            again: whether it may be repeated; by default a request that reads may.

        Raises:
            ApiError: the server refused it. httpx2.TransportError: the server does not answer.
        """
        sent = {name: value for name, value in (params or {}).items() if value is not None}
        attempts = ATTEMPTS if (method == "GET" if again is None else again) else 1
        for attempt in range(1, attempts + 1):
            try:
                reply = self._http.request(method, path, params=sent, json=body, content=content, headers=headers)
            except httpx2.TransportError:
                if attempt == attempts:
                    raise
                time.sleep(_pause(attempt, None))
                continue
            if reply.status_code not in (429, 503) or attempt == attempts:
                break
            time.sleep(_pause(attempt, reply.headers.get("retry-after")))
        _check(reply.status_code, reply.content)
        return reply.json() if reply.content else None

    def projects(self) -> list[dict[str, Any]]:
        return list(self.request("GET", "/projects")["projects"])

    def progress(self, project: str) -> dict[str, Any]:
        return dict(self.request("GET", f"/projects/{quote(project, safe='')}/progress"))

    def items(self, project: str, **conditions: Any) -> Iterator[dict[str, Any]]:
        """Every item that fits, read page by page. The conditions are the parameters of ``GET …/items``."""
        cursor = None
        while True:
            asked = conditions | {"cursor": cursor}
            page = self.request("GET", f"/projects/{quote(project, safe='')}/items", params=asked)
            yield from page["items"]
            cursor = page["next"]
            if cursor is None:
                return

    def item(self, project: str, item: int) -> dict[str, Any]:
        """One item with its texts and its history."""
        return dict(self.request("GET", f"/projects/{quote(project, safe='')}/items/{item}"))

    def views(self, project: str) -> list[dict[str, Any]]:
        """The account's own saved views, and those that others share.

        ``keel.items(project, **view["filter"])`` are the items of a view.
        """
        return list(self.request("GET", f"/projects/{quote(project, safe='')}/views")["views"])

    def save_view(self, project: str, name: str, *, shared: bool = False, **conditions: Any) -> dict[str, Any]:
        """Keep a filter under ``name``, in place of the own view of that name, for oneself or for every reviewer.

        Args:
            conditions: the parameters of ``GET …/items``.
        """
        body = {"name": name, "shared": shared, "filter": conditions}
        return dict(self.request("POST", f"/projects/{quote(project, safe='')}/views", body=body, again=True))

    def remove_view(self, project: str, view: int) -> None:
        """Remove the view of this number."""
        self.request("DELETE", f"/projects/{quote(project, safe='')}/views/{view}")

    def import_items(
        self,
        project: str,
        rows: Iterable[Mapping[str, Any]],
        *,
        name: str = "api",
        gold: bool = False,
        max_bad: int = 0,
        key: str | None = None,
    ) -> dict[str, Any]:
        """Add rows as items; the counts. It is repeated without harm: the same ``key`` is imported once.

        Args:
            key: of this import; a random one by default.
        """
        body = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        return dict(
            self.request(
                "POST",
                f"/projects/{quote(project, safe='')}/import",
                params={"name": name, "gold": gold, "max_bad": max_bad},
                content=body,
                headers={"Idempotency-Key": key or uuid.uuid4().hex, "Content-Type": "application/x-ndjson"},
                again=True,
            )
        )

    def snapshot(self, project: str, name: str | None = None) -> str:
        """Freeze the judgements in force; the name of the snapshot."""
        made = self.request("POST", f"/projects/{quote(project, safe='')}/snapshots", body={"name": name})
        return str(made["snapshot"])

    def votes(self, project: str, *, snapshot: str | None = None, pseudonyms: bool = False) -> Iterator[dict[str, Any]]:
        """Every judgement, while the server sends them."""
        return self._lines(project, "votes", {"snapshot": snapshot, "pseudonyms": pseudonyms})

    def labels(
        self, project: str, snapshot: str, split: str = "train", rows: str = "labels"
    ) -> Iterator[dict[str, Any]]:
        """The rows of a snapshot to train on; ``rows``: ``labels``, or ``pairs`` or ``turns`` in their place."""
        return self._lines(project, "export", {"snapshot": snapshot, "split": split, "rows": rows})

    def _lines(self, project: str, what: str, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        sent = {name: value for name, value in params.items() if value is not None}
        with self._http.stream("GET", f"/projects/{quote(project, safe='')}/{what}", params=sent) as reply:
            if reply.status_code >= 400:
                _check(reply.status_code, reply.read())
            for line in reply.iter_lines():
                yield json.loads(line)


def _check(status: int, content: bytes) -> None:
    if status < 400:
        return
    try:
        message = str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = content[:200].decode("utf-8", "replace") or "refused"
    raise ApiError(status, message)


def _pause(attempt: int, asked: str | None) -> float:
    return min(LONGEST_PAUSE, float(asked) if asked and asked.isdigit() else 0.5 * 2.0**attempt)
