"""Each kind of project from a file to what it is for: imported by the command line, judged on the pages, and trained on
by the admin's button, or exported as records."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import preloaded
import pytest
from omegaconf import OmegaConf
from preloaded import ENVIRONMENT
from sqlalchemy import select
from typer.testing import CliRunner

from annotation_ui.actions.jobs import JobRunner
from annotation_ui.store.accounts import add_user
from annotation_ui.store.database import Database
from annotation_ui.store.tables import Job
from annotation_ui.web import pages
from keel.cli import app
from keel.commands.annotate import KEEL

NOW = 1_700_000_000.0
ITEMS = 40
QUALITIES = ("superb", "middling", "poor")
DEFINITION = """
kind: attributes
attributes: {helpfulness: How much it helps, tone: From rude to kind}
spans: [error, unsafe]
"""
POLICY = (
    "model.config={model_type: qwen3, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, "
    "num_attention_heads: 2, num_key_value_heads: 1, head_dim: 16, max_position_embeddings: 512}",
    "model.vocab_size=400",
    "model.chat_template=chatml",
    "batch_size=8",
    "max_tokens=512",
    "max_steps=4",
    "save_every=0",
    "loggers=[]",
    "engine.dtype=fp32",
    "engine.warmup=0",
)


def keel(database: Database, *words: str) -> str:
    done = CliRunner().invoke(app, ["annotate", *words, "--db", str(database.url.database)])
    assert done.exit_code == 0, done.output
    return done.output


def imported(database: Database, folder: Path, kind: str, rows: list[dict[str, Any]], *words: str) -> None:
    """A project ``p`` of ``kind``, an annotator and an admin."""
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = keel(
        *(database, "import", str(file), "--project", "p", "--kind", kind, "--gold-rate", "0", "--repeat-rate", "0"),
        *("--eval-fraction", "0.3", *words),
    )
    assert f"{len(rows)} items added" in said
    with database.write() as session:
        add_user(session, "ann", "annotator", None, now=NOW)
        add_user(session, "root", "admin", None, now=NOW)


def judged(database: Database, answer: Callable[[list[str], str], dict[str, Any]]) -> int:
    """Have ``ann`` judge every item on the page; ``answer`` gets the qualities in the order shown, and the page."""
    html, count = _act(database, "ann", "annotate"), 0
    while (token := re.search(r'data-token="([^"]+)"', html)) is not None:
        shown = re.findall(rf"<pre class=k-raw dir=auto>\nan answer that is ({'|'.join(QUALITIES)})", html)
        html, count = _act(database, "ann", "vote", token=token[1], ms=5000, said=answer(shown, html)), count + 1
    return count


def _act(database: Database, who: str, action: str, **asked: Any) -> str:
    reply = pages.act(database, who, {"action": action, "project": "p", **asked}, now=NOW)
    assert reply["error"] is None, reply["error"]
    return str(reply["html"])


@pytest.fixture
def train(
    sqlite: Database, tmp_path: Path, installed: Path, tiny_config: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Job]:
    """The admin takes a snapshot and presses the button; the finished job."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(installed), ENVIRONMENT["PYTHONPATH"]]))
    policy = tmp_path / "policy.yaml"
    OmegaConf.save(OmegaConf.from_dotlist(list(POLICY)), policy)
    configs: dict[Any, str] = {"preference": str(tiny_config), "safety": "unused", "rewrite": str(policy)}

    def run() -> Job:
        _act(sqlite, "root", "snapshot", name="s1")
        _act(sqlite, "root", "train", snapshot="s1")
        worker = JobRunner(sqlite, command=(preloaded.python(), *KEEL[1:]), runs=tmp_path / "runs", configs=configs)
        assert worker.work_once()
        with sqlite.read() as session:
            [job] = session.scalars(select(Job))
        assert job.state == "done", job.note
        return job

    return run


def several(number: int, responses: int = 3) -> dict[str, Any]:
    texts = [f"an answer that is {quality}, number {number}" for quality in QUALITIES[:responses]]
    return {"id": str(number), "prompt": f"question {number}", "responses": texts}


def test_ratings_train_attribute_heads(sqlite: Database, tmp_path: Path, train: Callable[[], Job]) -> None:
    imported(sqlite, tmp_path, "attributes", [several(n) for n in range(ITEMS)])
    names = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")

    def answer(shown: list[str], html: str) -> dict[str, Any]:
        return {"label": "rated", "ratings": [dict.fromkeys(names, 4 - 2 * QUALITIES.index(each)) for each in shown]}

    assert judged(sqlite, answer) == ITEMS
    job = train()
    manifest = json.loads((Path(job.result["model"]) / "manifest.json").read_text())
    assert manifest["config"]["attributes"] == {"helpfulness": 1.0}
    out = tmp_path / "out"
    keel(sqlite, "export", str(out), "--project", "p", "--snapshot", "s1")
    rows = [json.loads(line) for line in (out / "eval.jsonl").read_text().splitlines()]
    heads = job.result["evaluation"]["attributes"]
    assert {head["n"] for head in heads.values()} == {len(rows)}
    assert f"helpfulness Pearson r <b>{heads['helpfulness']['pearson']:.3f}</b>" in _act(sqlite, "root", "dashboard")
    assert {(row["response"][0]["content"].split(",")[0].split()[-1], row["helpfulness"]) for row in rows} == {
        ("superb", 4.0),
        ("middling", 2.0),
        ("poor", 0.0),
    }


def test_rankings_train_a_helpful_model(sqlite: Database, tmp_path: Path, train: Callable[[], Job]) -> None:
    imported(sqlite, tmp_path, "ranking", [several(n) for n in range(ITEMS)])
    said = judged(
        sqlite, lambda shown, html: {"label": "ranked", "ranks": [1 + QUALITIES.index(each) for each in shown]}
    )
    assert said == ITEMS
    job = train()
    manifest = json.loads((Path(job.result["model"]) / "manifest.json").read_text())
    assert manifest["task"] == "preference"
    out = tmp_path / "out"
    keel(sqlite, "export", str(out), "--project", "p", "--snapshot", "s1")
    rows = [json.loads(line) for line in (out / "eval.jsonl").read_text().splitlines()]
    assert job.result["evaluation"]["n"] == len(rows)
    assert {(row["chosen"][0]["content"].split(",")[0].split()[-1], row["margin"]) for row in rows} == {
        ("superb", 1.0),
        ("superb", 2.0),
        ("middling", 1.0),
    }


def test_accepted_rewrites_fine_tune_a_policy(sqlite: Database, tmp_path: Path, train: Callable[[], Job]) -> None:
    rows = [{"prompt": f"question {n}", "response": f"an answer that is poor, number {n}"} for n in range(12)]
    imported(sqlite, tmp_path, "rewrite", rows)
    assert judged(sqlite, lambda shown, html: {"label": "written", "text": "a better answer"}) == 12
    _act(sqlite, "root", "snapshot", name="early")
    early = pages.act(sqlite, "root", {"action": "train", "project": "p", "snapshot": "early"}, now=NOW)
    assert early["error"] == "nothing in p@early can be trained on: no text in it is accepted"
    waiting = re.findall(r'data-judgement="(\d+)"', _act(sqlite, "root", "review"))
    assert len(waiting) == 12
    for number in waiting[:10]:
        _act(sqlite, "root", "decide text", judgement=int(number), said={"label": "accepted", "rationale": ""})
    job = train()
    out = tmp_path / "out"
    keel(sqlite, "export", str(out), "--project", "p", "--snapshot", "s1")
    exported = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    assert 0 < len(exported) <= 10
    assert {row["response"][0]["content"] for row in exported} == {"a better answer"}
    assert (job.result["demonstrations"], job.result["left_out"]) == (len(exported), 0)
    assert job.result["held_out"] == 10 - len(exported)  # the accepted texts of the evaluation slice
    policy = json.loads((Path(job.result["model"]) / "policy.json").read_text())
    assert policy["config"]["data"]["train"] == [f"annotations://{sqlite.url.database}#p@s1"]
    assert f"demonstrations <b>{len(exported)}</b>" in _act(sqlite, "root", "dashboard")


def test_marked_passages_become_records(sqlite: Database, tmp_path: Path) -> None:
    definition = tmp_path / "definition.yaml"
    definition.write_text(DEFINITION)
    imported(sqlite, tmp_path, "attributes", [several(n) for n in range(6)], "--definition", str(definition))

    def answer(shown: list[str], html: str) -> dict[str, Any]:
        spans: list[list[dict[str, Any]]] = [[], [], []]
        spans[shown.index("poor")] = [{"start": 18, "end": 22, "text": "poor", "label": "error", "note": "why"}]
        return {"label": "rated", "ratings": [{"helpfulness": 1, "tone": 2}] * 3, "spans": spans}

    assert judged(sqlite, answer) == 6
    out = tmp_path / "out"
    keel(sqlite, "export", str(out), "--project", "p", "--votes", str(out / "votes.jsonl"))
    rows = [json.loads(line) for file in ("train", "eval") for line in (out / f"{file}.jsonl").read_text().splitlines()]
    assert len(rows) == 18
    for row in rows:
        text = row["response"][0]["content"]
        spans = [(span["label"], text[span["start"] : span["end"]], span["note"]) for span in row.get("spans", [])]
        assert spans == ([("error", "poor", "why")] if "poor" in text else [])
    votes = [json.loads(line) for line in (out / "votes.jsonl").read_text().splitlines()]
    assert len(votes) == 6
    for vote in votes:
        [slot] = [slot for slot, marked in vote["spans"].items() if marked]
        assert "poor" in vote[f"response_{slot}"][0]["content"]
