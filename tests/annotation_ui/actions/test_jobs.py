"""Jobs: who may ask for one, what becomes of its process, and that none runs twice at once."""

from __future__ import annotations

import fcntl
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from annotation_ui.actions import jobs
from annotation_ui.actions.jobs import (
    JobError,
    JobRunner,
    Stopped,
    model_kind,
    request_scoring,
    request_training,
)
from annotation_ui.store.accounts import add_user
from annotation_ui.store.database import Database
from annotation_ui.store.projects import ProjectError, find_project
from annotation_ui.store.tables import Event, Job, Judgement
from annotation_ui.web import pages

NOW = 1_700_000_000.0
Fill = Callable[..., Database]


@pytest.fixture
def judged(database: Database, fill: Fill) -> Database:
    """Two judged items in a snapshot ``s1``, and an admin."""
    fill(database, people=("root",), role="admin")
    with database.write() as session:
        add_user(session, "ann", "annotator", None, now=NOW)
        for item in (1, 2):
            session.add(
                Judgement(
                    item_id=item,
                    user_id=1,
                    revision=0,
                    adjudication=False,
                    label="a",
                    harms=[],
                    rationale="",
                    skip_reason="",
                    key=f"vote-{item}",
                    created=NOW,
                )
            )
    pages.act(database, "root", {"action": "snapshot", "project": "p", "name": "s1"}, now=NOW)
    return database


def worker(database: Database, folder: Path) -> JobRunner:
    return JobRunner(
        database,
        command=(sys.executable, "-m"),
        runs=folder,
        configs={"preference": "no_such_preset", "safety": "x"},
    )


def states(database: Database) -> list[tuple[str, str, str]]:
    with database.read() as session:
        return [(job.kind, job.state, job.note) for job in session.scalars(select(Job).order_by(Job.id))]


def test_an_admin_asks_once(judged: Database) -> None:
    reply = pages.act(judged, "root", {"action": "train", "project": "p", "snapshot": "s1"}, now=NOW)
    assert reply["note"] == "Job 1: training on s1"
    assert 'data-poll-action="dashboard"' in reply["html"]
    again = pages.act(judged, "root", {"action": "train", "project": "p", "snapshot": "s1"}, now=NOW)
    assert "under way" in again["error"]
    with pytest.raises(PermissionError):
        request_training(judged, "ann", "p", "s1", now=NOW)
    with pytest.raises(ProjectError, match="no snapshot"):
        request_training(judged, "root", "p", "s2", now=NOW)
    assert states(judged) == [("train", "waiting", "")]
    with judged.read() as session:
        assert "train job" in session.scalars(select(Event.kind)).all()


def test_a_job_that_fails_says_why_and_holds_nothing_up(
    judged: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "POLL", 0.02)
    request_training(judged, "root", "p", "s1", now=NOW)
    at_work = worker(judged, tmp_path)
    monkeypatch.setattr(at_work, "_train", lambda job, log: at_work._run(job.id, ["json.tool", "absent.json"], log))
    assert at_work.work_once()
    [(_, state, note)] = states(judged)
    assert state == "failed"
    assert "absent.json" in note
    assert not at_work.work_once()
    html = pages.act(judged, "root", {"action": "dashboard", "project": "p"}, now=NOW)["html"]
    assert "absent.json" in html
    assert "data-poll" not in html


def test_a_job_stopped_with_the_server_waits_for_the_next(
    judged: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "POLL", 0.02)
    request_training(judged, "root", "p", "s1", now=NOW)
    at_work = worker(judged, tmp_path)
    started = threading.Event()

    def serve(job: Job, log: object) -> None:
        started.set()
        at_work._run(job.id, ["http.server", "--bind", "127.0.0.1", "0"], log)  # type: ignore[arg-type]

    monkeypatch.setattr(at_work, "_train", serve)
    at_work.start()
    assert started.wait(10)
    at_work.stop()
    assert states(judged)[0][:2] == ("train", "waiting")


def test_no_job_runs_twice_at_once(judged: Database, tmp_path: Path) -> None:
    request_training(judged, "root", "p", "s1", now=NOW)
    with (tmp_path / "job-1.log").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)  # as the process of a server that was killed holds it
        assert not worker(judged, tmp_path).work_once()
    assert states(judged) == [("train", "waiting", "")]


def test_a_finished_training_is_followed_by_scoring(
    judged: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_training(judged, "root", "p", "s1", now=NOW)
    at_work = worker(judged, tmp_path)
    result = {"model": str(tmp_path / "p-s1-1"), "evaluation": {"kind": "helpful", "accuracy": 0.625, "n": 8}}
    monkeypatch.setattr(at_work, "_train", lambda job, log: result)
    at_work.work_once()
    assert [state[:2] for state in states(judged)] == [("train", "done"), ("score", "waiting")]
    html = pages.act(judged, "root", {"action": "dashboard", "project": "p"}, now=NOW)["html"]
    assert "accuracy <b>0.625</b>" in html
    with judged.write() as session:  # asked for already
        request_scoring(session, find_project(session, "p"), tmp_path / "p-s1-1", author="root", now=NOW)
    assert len(states(judged)) == 2


def test_errors_of_the_process_itself(judged: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "POLL", 0.02)
    request_training(judged, "root", "p", "s1", now=NOW)
    at_work = worker(judged, tmp_path)
    with (tmp_path / "log").open("a+") as log:
        with pytest.raises(JobError, match="No module named"):
            at_work._run(1, ["no_such_module"], log)
        at_work._stopping.set()
        with pytest.raises(Stopped):
            at_work._run(1, ["http.server", "--bind", "127.0.0.1", "0"], log)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"manifest\.json is missing"):
        model_kind(tmp_path)
