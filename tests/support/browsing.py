"""A running annotation app and a real Chromium that looks at it."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import pytest
import uvicorn
from sqlalchemy import select

from annotation_ui.store.database import Database
from annotation_ui.store.tables import Judgement
from annotation_ui.web.server import build

CHROMIUM = Path(os.environ.get("KEEL_TEST_CHROMIUM", "/usr/bin/chromium"))
NEEDS_CHROMIUM = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no {CHROMIUM}; install Debian's chromium"),
]
# Pages of different tests are at one address, in one context and in one process, so that the app's scripts are fetched
# and compiled once. Cookies and stored data are deleted between tests.
LAUNCH = ("--no-sandbox", "--renderer-process-limit=1")
STORED = "local_storage,indexeddb,cache_storage,service_workers"
_contexts: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()  # browser → options → context
_port = 0  # of the last server


class Site:
    """A running server, and pages on it that must not complain, run a payload, or ask another host for anything.

    Args:
        oidc: makes the settings of single sign-on for the server's address.
    """

    def __init__(
        self, browser: Any, database: Database, who: str | None, *, oidc: Callable[[str], Any] | None = None
    ) -> None:
        self.browser, self.database = browser, database
        self.problems: list[str] = []
        self._taken: list[Any] = []
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/"
        token = "a token" if who else None
        self.start = f"{self.url}?token=a+token" if who else self.url
        app = build(database, single_user=who, token=token, oidc=oidc(self.url) if oidc else None)
        config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.02)

    def page(self, context: Any = None, *, ready: str = ".k-verdict", **options: Any) -> Any:
        context = context or self._context({"viewport": {"width": 1280, "height": 800}} | options)
        page = context.new_page()
        page.on("console", lambda m: self.problems.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("dialog", lambda dialog: self.problems.append(dialog.message))
        page.on("request", self._see)
        page.goto(self.start)
        page.wait_for_selector(ready)
        return page

    def _context(self, options: dict[str, Any]) -> Any:
        """That of earlier tests with the same options; a new one where this test has that already."""
        kept, key = _contexts.setdefault(self.browser, {}), json.dumps(options, sort_keys=True)
        if key in kept and kept[key] not in self._taken:
            self._taken.append(kept[key])
            return kept[key]
        context = self.browser.new_context(**options)
        if key not in kept:
            context.new_page().goto(f"{self.url}assets/app.css")  # as long as a page is open the process stays
            kept[key] = context
            self._taken.append(context)
        return context

    def _see(self, request: Any) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.problems.append(f"asked {request.url}")

    def said(self) -> list[tuple[str, int | None]]:
        with self.database.read() as session:
            found = session.scalars(select(Judgement).order_by(Judgement.id)).all()
        return [(judgement.label, judgement.strength) for judgement in found]

    def stop(self) -> None:
        kept = _contexts.get(self.browser, {}).values()
        for context in self.browser.contexts:
            if context not in kept:
                context.close()
                continue
            first, *others = context.pages
            for page in others:
                page.close()
            context.clear_cookies()
            session = context.new_cdp_session(first)
            session.send("Storage.clearDataForOrigin", {"origin": self.url.rstrip("/"), "storageTypes": STORED})
            session.detach()
        self.server.should_exit = True
        self.thread.join()


def free_port() -> int:
    """That of the last server, if it is free."""
    global _port
    for wanted in (_port, 0):
        with socket.socket() as free, suppress(OSError):
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", wanted))
            _port = free.getsockname()[1]
            break
    return _port


def press(page: Any, key: str) -> None:
    """Press a verdict's key once the item has been on screen for long enough, and wait for what comes next."""
    token = page.get_attribute(".k-main", "data-token")
    page.wait_for_timeout(400)
    page.keyboard.press(key)
    page.wait_for_function("t => document.querySelector('.k-main').dataset.token !== t", arg=token)
