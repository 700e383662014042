"""A running annotation app and a real Chromium that looks at it."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
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
        context = context or self.browser.new_context(**({"viewport": {"width": 1280, "height": 800}} | options))
        page = context.new_page()
        page.on("console", lambda m: self.problems.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("dialog", lambda dialog: self.problems.append(dialog.message))
        page.on("request", self._see)
        page.goto(self.start)
        page.wait_for_selector(ready)
        return page

    def _see(self, request: Any) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.problems.append(f"asked {request.url}")

    def said(self) -> list[tuple[str, int | None]]:
        with self.database.read() as session:
            found = session.scalars(select(Judgement).order_by(Judgement.id)).all()
        return [(judgement.label, judgement.strength) for judgement in found]

    def stop(self) -> None:
        for context in self.browser.contexts:
            context.close()
        self.server.should_exit = True
        self.thread.join()


def press(page: Any, key: str) -> None:
    """Press a verdict's key once the item has been on screen for long enough, and wait for what comes next."""
    token = page.get_attribute(".k-main", "data-token")
    page.wait_for_timeout(400)
    page.keyboard.press(key)
    page.wait_for_function("t => document.querySelector('.k-main').dataset.token !== t", arg=token)
