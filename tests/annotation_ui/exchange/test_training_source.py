"""``keel train rm`` reads a snapshot straight from PostgreSQL."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import preloaded
import pytest
from preloaded import ENVIRONMENT

from annotation_ui.exchange.exporting import export
from annotation_ui.labelling import session as annotating
from annotation_ui.store.accounts import add_user
from annotation_ui.store.database import Database
from annotation_ui.store.projects import Settings, find_project
from annotation_ui.web import pages

NOW = 1_700_000_000.0


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_training_on_a_snapshot(
    database: Database, fill: Callable[..., Database], installed: Path, tiny_config: Path, tmp_path: Path
) -> None:
    fill(database, items=30, settings=Settings(gold_rate=0, repeat_rate=0, eval_fraction=0.3))
    with database.write() as session:
        add_user(session, "root", "admin", None, now=NOW)
    while (task := annotating.next_task(database, "ann", "p", now=NOW)) is not None:
        annotating.vote(database, "ann", "p", task.token, {"label": "left", "strength": 2}, now=NOW)
    pages.act(database, "root", {"action": "snapshot", "project": "p", "name": "s1"}, now=NOW)
    source = f"annotations://{database.public_name}#p@s1"
    assert source.startswith("annotations://postgresql://")

    words = [f"data.train=[{source}]", f"data.eval=[{source}:eval]", f"output_dir={tmp_path / 'model'}"]
    environment = {**os.environ, **ENVIRONMENT}
    environment["PYTHONPATH"] = os.pathsep.join([str(installed), ENVIRONMENT["PYTHONPATH"]])
    environment["KEEL_DATABASE_PASSWORD"] = str(database.url.password or "")
    command = [preloaded.python(), "-m", "keel.cli", "train", "rm", "--config", str(tiny_config), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]

    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    assert manifest["config"]["data"]["train"] == [source]
    with database.read() as session:
        rows = export(session, find_project(session, "p"), "s1").rows
    assert manifest["evaluation"]["n"] == len(rows["eval"])
    assert len(rows["train"]) + len(rows["eval"]) == 30
