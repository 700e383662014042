"""The Gradio app: one component that calls one function. ``pages`` says what it does, ``assets`` how it looks."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import gradio as gr

from annotation_ui.store.database import Database
from annotation_ui.web import pages
from annotation_ui.web.observing import note_action
from annotation_ui.web.outages import Outages
from annotation_ui.web.rendering import code_styles

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = ("drafts.js", "answers.js", "drag.js", "keys.js", "app.js")  # one program: the last one begins it
# What is said to the user stays in the page while the pages change: only so does a screen reader notice it.
WAITING = '<div class="k-root">Loading</div><div class="k-note" role="status" aria-live="polite"></div>'
# Requests that are worked on at a time. More threads would only wait longer for each other: the interpreter runs one.
WORKERS = 8


def build(database: Database, who: Callable[[Any], str | None], outages: Outages, *, accounts: bool) -> gr.Blocks:
    """The app over ``database``.

    Args:
        who: the account behind a request, by its cookie; never by anything the page sends.
        accounts: whether there is anything to log out of.
    """

    def act(asked: Any, request: gr.Request) -> pages.Reply:
        with outages.answered():
            reply = pages.act(database, who(request), asked, now=time.time(), can_log_out=accounts)
        action = asked["action"] if isinstance(asked, dict) and isinstance(asked.get("action"), str) else ""
        note_action(action if action in pages.ACTIONS else "unknown", refused=reply["error"] is not None)
        return reply

    with gr.Blocks(title="Keel annotate", analytics_enabled=False, fill_width=True) as app:
        gr.HTML(
            WAITING,
            js_on_load="".join((ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS),
            server_functions=[act],
            apply_default_css=False,
            elem_id="keel",
        )
    app.limiter = anyio.CapacityLimiter(WORKERS)
    return app


def css() -> str:
    return (ASSETS / "app.css").read_text(encoding="utf-8") + code_styles()
