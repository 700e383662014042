"""The circle: real votes in, a model trained on them by the admin's button, its scores back in the queue."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path

import preloaded
import pytest
from preloaded import ENVIRONMENT
from sqlalchemy import select

from annotation_ui.actions.jobs import JobRunner
from annotation_ui.exchange.importing import import_items
from annotation_ui.quality.statistics import quality
from annotation_ui.store.accounts import add_user
from annotation_ui.store.database import Database
from annotation_ui.store.projects import Settings, create_project, find_project
from annotation_ui.store.tables import Item, Job, Score
from annotation_ui.web import pages
from keel.commands.annotate import KEEL
from reward_models.data.files import read_rows

NOW = 1_700_000_000.0


def alpha(units: list[list[str]]) -> float:
    """Krippendorff's, pair by pair: 1 − (n − 1) Σ_u (unequal ordered pairs in u) / (m_u − 1) ÷ Σ_c n_c (n − n_c)."""
    units = [unit for unit in units if len(unit) > 1]
    counts = Counter(label for unit in units for label in unit)
    n = sum(counts.values())
    observed = sum(sum(a != b for a in unit for b in unit) / (len(unit) - 1) for unit in units)
    return 1 - (n - 1) * observed / sum(count * (n - count) for count in counts.values())


def test_votes_train_a_model_that_asks_for_votes(
    sqlite: Database,
    keel_data: Path,
    tmp_path: Path,
    installed: Path,
    tiny_config: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(installed), ENVIRONMENT["PYTHONPATH"]]))
    file = keel_data / "annotations" / "tulu_human.test.jsonl.gz"
    with sqlite.write() as session:
        add_user(session, "root", "admin", None, now=NOW)
        settings = Settings(votes_per_item=3, gold_rate=0, repeat_rate=0, eval_fraction=0.3, show_scores=True)
        create_project(session, "p", "preference", settings, author="root", now=NOW)
    done = import_items(sqlite, "p", [str(file)], max_bad=20, author="root", now=NOW)

    left_out = {row.line for row in done.bad}
    units: dict[object, list[str]] = {}
    for line, row in (item for item in read_rows(file) if isinstance(item, tuple)):
        if line not in left_out:  # a pair that occurs twice is one item, and the votes read first count
            key = (row["prompt"][-1]["content"], *sorted(row[f"response_{slot}"][0]["content"] for slot in "ab"))
            units.setdefault(key, [vote["label"].split()[0] for vote in row["annotations"]])
    with sqlite.read() as session:
        figures = quality(session, find_project(session, "p"))
    assert done.added.items == len(units)
    assert figures.votes == sum(map(len, units.values()))
    assert figures.alpha.value == pytest.approx(alpha(list(units.values())))

    ask = {"project": "p", "name": "s1", "snapshot": "s1"}
    assert "Snapshot s1" in pages.act(sqlite, "root", {"action": "snapshot", **ask}, now=NOW)["note"]
    assert "Job 1" in pages.act(sqlite, "root", {"action": "train", **ask}, now=NOW)["note"]
    configs = {"preference": str(tiny_config), "safety": "unused"}
    runner = JobRunner(sqlite, command=(preloaded.python(), *KEEL[1:]), runs=tmp_path / "runs", configs=configs)  # type: ignore[arg-type]
    while runner.work_once():
        pass
    with sqlite.read() as session:
        train, *scoring = session.scalars(select(Job).order_by(Job.id))
        assert [(job.kind, job.state) for job in scoring] == [("score", "done")], train.note
        evaluated = sum(item.split == "eval" for item in session.scalars(select(Item)))
    manifest = json.loads((Path(train.result["model"]) / "manifest.json").read_text())
    assert manifest["config"]["data"]["train"] == [f"annotations://{sqlite.url.database}#p@s1"]
    assert 0 < train.result["evaluation"]["n"] <= evaluated
    html = pages.act(sqlite, "root", {"action": "dashboard", "project": "p"}, now=NOW)["html"]
    assert f"accuracy <b>{train.result['evaluation']['accuracy']:.3f}</b>" in html

    said = [json.loads(line) for line in (tmp_path / "runs" / "job-2.scores.jsonl").open()]
    with sqlite.read() as session:
        scores = {s.item_id: s.score_a - (s.score_b or 0.0) for s in session.scalars(select(Score))}
        queue = session.scalars(select(Item).where(Item.split == "train").order_by(Item.rank)).all()
    assert sorted(scores.values()) == pytest.approx(
        sorted(row["response_a"]["raw"] - row["response_b"]["raw"] for row in said)
    )
    certainty = [abs(scores[item.id]) for item in queue]
    assert certainty == sorted(certainty)
    assert len(set(certainty)) > 10
    with sqlite.write() as session:
        add_user(session, "ann", "annotator", None, now=NOW)
    shown = pages.act(sqlite, "ann", {"action": "annotate", "project": "p"}, now=NOW)["html"]
    token = re.search(r'data-token="([^"]+)"', shown)
    assert token is not None
    vote = {"action": "vote", "project": "p", "token": token[1], "ms": 1, "said": {"label": "tie"}}
    assert "p-s1-1 prefers" in pages.act(sqlite, "ann", vote, now=NOW)["note"]
