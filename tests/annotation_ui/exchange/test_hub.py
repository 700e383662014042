"""A project goes to the hub and comes back: what is written, under which names, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from annotating import judge
from hub_stand_in import NAME, Hub, hub_stand_in
from kinds import fill_kind, rank, rate
from pyarrow import parquet
from sqlalchemy import select
from typer.testing import CliRunner, Result

from annotation_ui.exchange.exporting import snapshot
from annotation_ui.exchange.hub import HubError, pull_project, push_folder, write_folder
from annotation_ui.store.database import Database
from annotation_ui.store.forms import Kind
from annotation_ui.store.projects import ProjectError, Settings, find_project
from annotation_ui.store.tables import Guideline, Item, Project, Snapshot
from keel.cli import app

NOW = 1_700_000_000.0
Fill = Callable[..., Database]
KINDS: tuple[Kind, ...] = ("preference", "safety", "ranking", "attributes", "rewrite")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_stand_in(monkeypatch) as made:
        yield made


@pytest.fixture
def judged(database: Database, fill: Fill) -> Database:
    """Three items, two of them judged, one gold item, and a snapshot."""
    fill(database, items=3, gold=1, settings=Settings(votes_per_item=2, gold_rate=0.0, repeat_rate=0.0))
    for who in ("ann", "bob"):
        for _ in range(2):
            judge(database, who)
    take(database)
    return database


def take(database: Database) -> None:
    with database.write() as session:
        snapshot(session, find_project(session, "p"), "s1", author="root", now=NOW)


def content(database: Database, project: str) -> list[Any]:
    """What the items of a project say, with their responses and models, less gold items."""
    with database.read() as session:
        of_project = (Project.name == project, Item.gold.is_(None))
        found = session.scalars(select(Item).join(Project).where(*of_project).order_by(Item.id))
        return [
            (item.source, item.source_id, item.prompt, [(r.slot, r.messages, r.model) for r in item.responses])
            for item in found
        ]


def test_a_project_comes_back_from_the_hub_as_it_was(judged: Database, tmp_path: Path, hub: Hub) -> None:
    done = write_folder(judged, "p", tmp_path / "out", "s1")
    address = push_folder(tmp_path / "out", NAME, private=True)
    assert address.startswith(hub.url)
    [made] = hub.created
    assert (made["type"], made["name"], made["visibility"]) == ("dataset", "data", "private")
    assert (done.items, done.gold, done.judgements) == (3, 1, 4)
    assert {"README.md", "project.yaml", "items.jsonl", "votes.parquet", "labels/report.json"} <= hub.files.keys()
    header = yaml.safe_load(hub.files["README.md"].decode().split("---")[1])
    assert [config["config_name"] for config in header["configs"]][-2:] == ["items", "votes"]
    pulled = pull_project(judged, NAME, "q", author="root", now=NOW)
    assert (pulled.added.items, pulled.added.votes) == (3, 0)
    assert content(judged, "q") == content(judged, "p")
    with judged.read() as session:
        texts = {guideline.text for guideline in session.scalars(select(Guideline))}
        assert len(texts) == 1
    again = pull_project(judged, NAME, "q", author="root", now=NOW)
    assert (again.added.items, again.added.known) == (0, 3)


def test_nobody_is_named_unless_it_is_asked_for(judged: Database, tmp_path: Path) -> None:
    write_folder(judged, "p", tmp_path / "out", "s1")
    rows = parquet.read_table(tmp_path / "out" / "votes.parquet").to_pylist()
    assert len({row["annotator"] for row in rows}) == 2
    assert all(row["annotator"].startswith("annotator-") for row in rows)
    texts = [file.read_text() for file in (tmp_path / "out").rglob("*") if file.suffix in (".md", ".jsonl", ".json")]
    assert not [text for text in texts if '"ann"' in text or '"bob"' in text]
    write_folder(judged, "p", tmp_path / "named", "s1", names=True)
    named = parquet.read_table(tmp_path / "named" / "votes.parquet").to_pylist()
    assert {row["annotator"] for row in named} == {"ann", "bob"}
    assert "annotators' names" in (tmp_path / "named" / "README.md").read_text()


def test_known_answers_are_not_published_with_the_items(judged: Database, tmp_path: Path) -> None:
    write_folder(judged, "p", tmp_path / "out", "s1")
    items = [json.loads(line) for line in (tmp_path / "out" / "items.jsonl").read_text().splitlines()]
    assert [item["id"] for item in items] == ["0", "1", "2"]
    assert not [item for item in items if "label" in item or "gold" in item]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_pulled_from_a_folder(sqlite: Database, tmp_path: Path, kind: Kind) -> None:
    if kind in ("preference", "safety"):
        fill_kind(sqlite, kind, rows=[_row(kind, number) for number in range(3)])
        judge(sqlite, "ann", {"label": "safe"} if kind == "safety" else {"label": "left", "strength": 1})
    elif kind == "rewrite":
        fill_kind(sqlite, kind, responses=1)
        judge(sqlite, "ann", {"label": "written", "text": "a text"})
    else:
        fill_kind(sqlite, kind)
        if kind == "ranking":
            rank(sqlite, "ann", "abc")
        else:
            rate(sqlite, "ann", {letter: [1, 2, 3, 4, 0] for letter in "abc"})
    take(sqlite)
    write_folder(sqlite, "p", tmp_path / "out", "s1")
    pull_project(sqlite, str(tmp_path / "out"), "q", author="root", now=NOW)
    assert content(sqlite, "q") == content(sqlite, "p")
    with sqlite.read() as session:
        assert find_project(session, "q").kind == kind


def _row(kind: str, number: int) -> dict[str, Any]:
    if kind == "safety":
        return {"prompt": f"question {number}", "response": f"answer {number}", "model": "m"}
    return {"prompt": f"question {number}", "response_a": f"a{number}", "response_b": f"b{number}", "model_a": "m"}


def test_what_cannot_be_pushed_or_pulled_is_refused(judged: Database, tmp_path: Path, hub: Hub) -> None:
    out = tmp_path / "out"
    write_folder(judged, "p", out, "s1")
    with pytest.raises(HubError, match="not empty"):
        write_folder(judged, "p", out, "s1")
    with pytest.raises(ProjectError, match="no snapshot"):
        write_folder(judged, "p", tmp_path / "x", "s9")
    for name in ("data", "../x", "a/b/c", ""):
        with pytest.raises(HubError, match="owner/name"):
            push_folder(out, name, private=True)
    hub.public = True
    with pytest.raises(HubError, match="is public"):
        push_folder(out, NAME, private=True)
    assert hub.files == {}
    with pytest.raises(HubError, match=r"no project\.yaml and no items\.jsonl"):
        pull_project(judged, NAME, "q", author="root", now=NOW)
    hub.refuse = True
    with pytest.raises(HubError, match="refuses"):
        push_folder(out, NAME, private=False)
    hub.public = None
    with pytest.raises(HubError, match="cannot be read"):
        pull_project(judged, NAME, "q", author="root", now=NOW)
    (out / "project.yaml").write_text("kind: nonsense\n")
    with pytest.raises(HubError, match=r"project\.yaml"):
        pull_project(judged, str(out), "q", author="root", now=NOW)


def test_a_project_of_another_kind_takes_nothing(judged: Database, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_folder(judged, "p", out, "s1")
    definition = yaml.safe_load((out / "project.yaml").read_text())
    (out / "project.yaml").write_text(yaml.safe_dump({**definition, "kind": "ranking"}))
    with pytest.raises(ProjectError, match=r"ranking|project\.yaml"):
        pull_project(judged, str(out), "p", author="root", now=NOW)


def push(database: Database, *words: object) -> Result:
    return CliRunner().invoke(app, ["annotate", "push", *map(str, words), "--db", database.public_name])


def snapshots(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(Snapshot.name).order_by(Snapshot.id)))


@pytest.mark.parametrize("named", [(), (NAME,)])
def test_a_folder_is_written_and_nothing_uploaded(
    sqlite: Database, fill: Fill, tmp_path: Path, hub: Hub, named: tuple[str, ...]
) -> None:
    fill(sqlite, items=1)
    judge(sqlite, "ann")
    done = push(sqlite, *named, "--project", "p", "--folder", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "nothing uploaded" in done.output
    assert f"push {NAME if named else 'OWNER/NAME'} --project p --snapshot s1" in done.output
    assert (tmp_path / "out" / "project.yaml").is_file()
    assert (hub.created, hub.files) == ([], {})


def test_a_push_that_cannot_work_takes_no_snapshot(
    sqlite: Database, fill: Fill, tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(sqlite, items=1)
    judge(sqlite, "ann")
    hub.token_holds = False
    refused = push(sqlite, NAME, "--project", "p")
    assert (refused.exit_code, "does not accept the log-in" in refused.output) == (2, True)
    hub.token_holds, hub.public = True, True
    assert "is public" in push(sqlite, NAME, "--project", "p").output
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").write_text("")
    assert "not empty" in push(sqlite, "--project", "p", "--folder", tmp_path / "out").output
    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.get_token", lambda: None)
        assert "not logged in" in push(sqlite, NAME, "--project", "p").output
    assert snapshots(sqlite) == []
    hub.public = None
    assert push(sqlite, NAME, "--project", "p").exit_code == 0
    assert snapshots(sqlite) == ["s1"]
    assert "project.yaml" in hub.files
