"""Training on a snapshot and scoring by a model, as processes of their own beside the server.

A job is a row of the database. :class:`JobRunner` takes the jobs in turn, writes the progress of each, and scores the
items with a model it has trained. The log of a job's process is locked for as long as the process lives, so no job runs
twice at once. A job whose server was killed is started again: training goes on from its last checkpoint.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation_ui.actions.model_view import SCORED
from annotation_ui.exchange.exporting import SCHEME, export
from annotation_ui.exchange.scoring import add_scores, items_to_score
from annotation_ui.store.accounts import require
from annotation_ui.store.database import PASSWORD_VARIABLE, Database
from annotation_ui.store.forms import Kind
from annotation_ui.store.projects import ProjectError, find_project
from annotation_ui.store.tables import Event, Job, Project
from reward_models.data.manifest import ManifestError, read_manifest
from reward_models.data.records import ATTRIBUTES, saved_task

POLL = 1.0  # seconds
NOTE_LIMIT = 300
ACTIVE = ("waiting", "running")
POLICY = "policy.json"  # which fine-tuning writes last, beside the policy


class JobError(RuntimeError):
    """A job that cannot be done; the message says why."""


class Stopped(RuntimeError):
    """The server is being shut down; the job waits for the next one."""


def request_training(
    database: Database, who: str | None, project_name: str | None, snapshot: str, *, now: float
) -> int:
    """Have a reward model trained on a snapshot, or on rewrites a policy; returns the job's number.

    Raises:
        Forbidden: ``who`` is no admin.
        ProjectError: there is no such snapshot, nothing in it can be trained on, or a job of the project is under way.
    """
    with database.write() as session:
        user = require(session, who, "admin")
        project = find_project(session, project_name)
        if not export(session, project, snapshot).rows["train"]:
            why = "no text in it is accepted" if project.kind == "rewrite" else "every verdict is left out"
            raise ProjectError(f"nothing in {project.name}@{snapshot} can be trained on: {why}")
        if session.scalar(select(Job.id).where(Job.project_id == project.id, Job.state.in_(ACTIVE)).limit(1)):
            raise ProjectError("a job of this project is under way; wait for its end")
        return _add(session, project, "train", snapshot, user.name, now).id


def request_scoring(session: Session, project: Project, model: Path, *, author: str, now: float) -> None:
    """Have the items scored by the model in the directory ``model``; nothing if that is asked for already."""
    same = select(Job.id).where(
        Job.project_id == project.id, Job.kind == "score", Job.subject == str(model), Job.state.in_(ACTIVE)
    )
    if session.scalar(same) is None:
        _add(session, project, "score", str(model), author, now)


def model_kind(model: Path) -> Kind:
    """The kind of project whose items the trained model in a directory can score.

    Raises:
        ProjectError: there is no finished model.
    """
    try:
        task = saved_task(read_manifest(model))
    except ValueError as error:
        raise ProjectError(f"{model}: {error}") from None
    if task is None:
        raise ProjectError(f"the manifest in {model} does not name the model's task (key 'task')")
    return task


def jobs_of(session: Session, project: Project, *, limit: int = 10) -> list[Job]:
    """The last jobs, newest first."""
    return list(
        session.scalars(select(Job).where(Job.project_id == project.id).order_by(Job.id.desc()).limit(limit)).all()
    )


def _add(session: Session, project: Project, kind: str, subject: str, author: str, now: float) -> Job:
    job = Job(project_id=project.id, kind=kind, subject=subject, author=author, state="waiting", note="", created=now)
    session.add(job)
    session.flush()
    detail = {"job": job.id, "subject": subject}
    session.add(Event(at=now, actor=author, kind=f"{kind} job", project=project.name, detail=detail))
    return job


def attribute_weights(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The weights of attribute heads trained on ``rows``: the first attribute alone that heads have and whose ratings
    differ.

    Raises:
        JobError: there is none.
    """
    for name in ATTRIBUTES:
        if len({row[name] for row in rows if name in row}) > 1:
            return {name: 1.0}
    raise JobError(f"attribute heads learn {', '.join(ATTRIBUTES)}; there are no two different ratings of any of them")


def policy_facts(out: Path) -> dict[str, Any]:
    """The result of fine-tuning in the directory ``out``: how many texts were learnt and left out, and the last loss.

    Raises:
        JobError: there is no finished policy.
    """
    try:
        manifest = json.loads((out / POLICY).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise JobError(f"the fine-tuning ended without a policy ({error})") from None
    facts = manifest["demonstrations"]
    left_out = facts["bad"] + sum(facts["dropped"].values())
    last = json.loads((out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    counts = {"demonstrations": facts["count"], "left_out": left_out, "steps": manifest["steps"]}
    return {"model": str(out), **counts, "loss": last["loss"], "token_accuracy": last["token_accuracy"]}


class JobRunner:
    """Runs the jobs of a database, one at a time, in a thread of its own, until it is stopped.

    Args:
        command: starts Keel's command line in a new process; ``train rm …``, ``train sft …`` and ``score …`` are added
            to it.
        runs: a directory for trained models and logs, made when needed.
        configs: the preset or YAML file to train with: of ``safety`` projects, of ``rewrite`` projects (fine-tuning),
            and of ``preference`` for all others.
    """

    def __init__(self, database: Database, *, command: Sequence[str], runs: Path, configs: Mapping[Kind, str]) -> None:
        self._database, self._command, self._runs, self._configs = database, tuple(command), runs, configs
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the job under way in good order; a server started later goes on with it."""
        self._stopping.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stopping.wait(POLL):
            self.work_once()

    def work_once(self) -> bool:
        """Do the first job that no living process is at; whether there was one."""
        with self._database.read() as session:
            waiting = session.scalars(select(Job.id).where(Job.state.in_(ACTIVE)).order_by(Job.id)).all()
        for number in waiting:
            self._runs.mkdir(parents=True, exist_ok=True)
            with (self._runs / f"job-{number}.log").open("a+", encoding="utf-8") as log:
                try:
                    fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                self._do(number, log)
                return True
        return False

    def _do(self, number: int, log: IO[str]) -> None:
        self._note(number, state="running", note="starting")
        try:
            with self._database.read() as session:
                job = session.get_one(Job, number)
                steps: Callable[[Job, IO[str]], dict[str, Any]] = self._train if job.kind == "train" else self._score
                project = job.project  # loaded while the session is open
            result = steps(job, log)
        except Stopped:
            self._note(number, state="waiting", note="waits for the server to start again")
        except Exception as error:  # whatever went wrong is the job's, not the server's
            self._note(number, state="failed", note=str(error)[:NOTE_LIMIT], ended=time.time())
        else:
            self._note(number, state="done", note="", result=result, ended=time.time())
            if job.kind == "train" and project.kind in SCORED:
                with self._database.write() as session:
                    found = session.get_one(Project, project.id)
                    request_scoring(session, found, Path(result["model"]), author=job.author, now=time.time())

    def _train(self, job: Job, log: IO[str]) -> dict[str, Any]:
        out = self._runs / f"{job.project.name}-{job.subject}-{job.id}"
        snapshot = f"{SCHEME}{self._database.public_name}#{job.project.name}@{job.subject}"
        with self._database.read() as session:
            rows = export(session, job.project, job.subject).rows
        words = [f"data.train={json.dumps([snapshot])}", f"output_dir={json.dumps(str(out.absolute()))}"]
        kind = job.project.kind
        if kind == "rewrite":
            self._run(job.id, ["train", "sft", "--config", self._configs["rewrite"], *words], log)
            return policy_facts(out) | {"held_out": len(rows["eval"])}  # fine-tuning evaluates nothing
        words.append(f"data.eval={json.dumps([f'{snapshot}:eval'] if rows['eval'] else [])}")
        config = self._configs["safety" if kind == "safety" else "preference"]
        if kind == "attributes":
            words.append(f"attributes={json.dumps(attribute_weights(rows['train']))}")
        self._run(job.id, ["train", "rm", "--config", config, *words], log)
        try:
            manifest = read_manifest(out)
        except ManifestError as error:
            raise JobError(f"the training ended without a model ({error}); see {log.name}") from None
        return {"model": str(out), "evaluation": manifest["evaluation"]}

    def _score(self, job: Job, log: IO[str]) -> dict[str, Any]:
        items, scores = (self._runs / f"job-{job.id}.{what}.jsonl" for what in ("items", "scores"))
        with self._database.read() as session:
            rows = list(items_to_score(session, job.project))
        items.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        words = ["--model", job.subject, "--data", str(items), "--out", str(scores), "--overwrite"]
        self._run(job.id, ["score", *words], log)
        found = [json.loads(line) for line in scores.read_text(encoding="utf-8").splitlines()]
        scorer = Path(job.subject).name
        with self._database.write() as session:
            project = session.get_one(Project, job.project_id)
            count = add_scores(session, project, scorer, rows, found, author=job.author, now=time.time())
        return {"scorer": scorer, "items": count}

    def _run(self, number: int, words: Sequence[str], log: IO[str]) -> None:
        """Run Keel's command line with ``words`` to its end; the last line of its log is the job's note.

        Raises:
            JobError: it failed. Stopped: the server is being shut down.
        """
        password = self._database.url.password
        environment = {**os.environ, **({PASSWORD_VARIABLE: password} if password else {})}
        process = subprocess.Popen(
            [*self._command, *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,  # a Ctrl-C at the terminal is the server's to pass on
        )
        said = ""
        while process.poll() is None:
            if self._stopping.wait(POLL):
                process.terminate()  # training saves a checkpoint and leaves
                process.wait()
                raise Stopped
            if (line := _last_line(Path(log.name))) != said:
                said = line
                self._note(number, note=said)
        if process.returncode:
            raise JobError(_last_line(Path(log.name)) or f"it ended with status {process.returncode}")

    def _note(self, number: int, **values: Any) -> None:
        with self._database.write() as session:
            job = session.get_one(Job, number)
            for name, value in values.items():
                setattr(job, name, value)


def _last_line(path: Path) -> str:
    """The last line that says something, of the end of a log."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8192))
        lines = file.read().decode("utf-8", "replace").splitlines()
    return next((line.strip()[:NOTE_LIMIT] for line in reversed(lines) if line.strip()), "")
