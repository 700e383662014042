"""An admin trains on a snapshot from the dashboard, in a real browser, and sees how it goes and what came out."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browsing import NEEDS_CHROMIUM
from preloaded import ENVIRONMENT

from annotation_ui.actions.jobs import JobRunner
from annotation_ui.labelling import session as annotating
from annotation_ui.store.accounts import add_user
from annotation_ui.store.database import Database
from annotation_ui.store.projects import Settings
from keel.commands.annotate import KEEL

NOW = 1_700_000_000.0
pytestmark = NEEDS_CHROMIUM


def test_the_train_button(
    site: Any,
    sqlite: Database,
    fill: Callable[..., Database],
    installed: Path,
    tiny_config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(installed), ENVIRONMENT["PYTHONPATH"]]))
    fill(sqlite, items=40, settings=Settings(gold_rate=0, repeat_rate=0, eval_fraction=0.3))
    with sqlite.write() as session:
        add_user(session, "root", "admin", None, now=NOW)
    for _ in range(40):
        task = annotating.next_task(sqlite, "ann", "p", now=NOW)
        assert task is not None
        annotating.vote(sqlite, "ann", "p", task.token, {"label": "left", "strength": 2}, dwell_ms=9000, now=NOW)

    configs = {"preference": str(tiny_config), "safety": "x"}
    # A real interpreter: a fork of the preload server may be done before the page has shown that it runs.
    worker = JobRunner(sqlite, command=(sys.executable, *KEEL[1:]), runs=tmp_path / "runs", configs=configs)  # type: ignore[arg-type]
    worker.start()
    try:
        page = site("root").page(ready=".k-app")
        page.click("[data-open=dashboard]")
        page.fill("[name=snapshot]", "week-1")
        page.click("[data-act=snapshot]")
        page.wait_for_selector("code:text-is('p@week-1')")
        page.click("[data-act=train]")
        page.wait_for_selector("text=training on week-1")
        assert page.is_disabled("[data-act=train]")
        page.wait_for_selector(".k-job-running")
        running = "document.querySelector('tr:has(.k-job-running) .k-how-far')?.textContent.trim()"
        said = f"!['starting', '', undefined].includes({running})"  # by the training, which may be done soon after
        page.wait_for_function(f"{said} || document.querySelectorAll('.k-job-done').length > 0")
        # The page looks again by itself; nothing is clicked from here on.
        page.wait_for_selector("tr:has-text('train on') .k-job-done", timeout=60_000)
        page.wait_for_selector("tr:has-text('score with') .k-job-done", timeout=60_000)
        told = page.inner_text("tr:has-text('train on') .k-how-far")
        assert page.inner_text("tr:has-text('score with') .k-how-far").split() == ["items", "40"]
        assert page.is_enabled("[data-act=train]")
        page.evaluate("document.querySelector('.k-main').scrollTop = 1e6")
        page.screenshot(path=str(tmp_path / "trained.png"))
    finally:
        worker.stop()
    assert re.search(r"n \d+ accuracy (0\.\d{3}|1\.000) loss \d+\.\d{3}", told), told
