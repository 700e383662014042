"""Many annotators at once over HTTP: how long a verdict takes, and that none is lost, doubled or one too many.

    python benchmarks/annotation_load.py --db load.db --annotators 50 --seconds 20 [--mix] [--kill] --out load.json

``--db`` is a new SQLite file or an empty PostgreSQL database. The items are pairs to compare; with ``--mix`` there
is a project of every kind, and every annotator goes from one to the next after each verdict. Every simulated annotator
is logged in, judges an item and waits for the next as fast as it can, and in between has the item after that prepared,
as a browser does. With ``--think`` it looks at each item for so many seconds on average, where a person takes half a
minute. ``--kill`` sends SIGKILL to the server in the middle and starts it again. Each run is added to ``--out`` under a
name of its own.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx
import numpy as np
from harness import environment, parser, write
from sqlalchemy import select

from annotation_ui.store.accounts import add_user, hash_password, open_login
from annotation_ui.store.database import Database
from annotation_ui.store.forms import KINDS, RESPONSES, Kind, default_definition
from annotation_ui.store.projects import Candidate, Settings, add_items, create_project
from annotation_ui.store.tables import Assignment, Item, Judgement, Project, User
from annotation_ui.web.server import COOKIE
from reward_models.data.records import Message

VOTES_PER_ITEM = 3
MOST_RESPONSES = 3  # of an item that may have more
PAIRS: tuple[Kind, ...] = ("preference",)
_TOKEN = re.compile(r'data-token="([^"]+)"')


@dataclass
class Log:
    """Observations of the clients: the token of every acknowledged verdict; its kind, and its time in milliseconds."""

    acknowledged: list[str] = field(default_factory=list)
    times: list[tuple[Kind, float]] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)


def prepare(database: Database, annotators: int, items: int, projects: tuple[Kind, ...]) -> dict[str, str]:
    """A project of every kind with its share of the items, and a logged-in account for every annotator: name to cookie.

    A project has the name of its kind.
    """
    now = time.time()
    with database.write() as session:
        password = hash_password("a password nobody uses")
        session.add(User(name="root", role="admin", password=password, active=True, created=now))
        settings = Settings(votes_per_item=VOTES_PER_ITEM, lease_seconds=600)
        for each in projects:
            project = create_project(session, each, each, settings, author="root", now=now)
            made = (candidate(each, n) for n in range(items // len(projects)))
            add_items(session, project, made, author="root", now=now)
        names = [f"annotator{n}" for n in range(annotators)]
        for name in names:
            add_user(session, name, "annotator", None, now=now)
        return {name: open_login(session, name, now=now) for name in names}


def candidate(which: Kind, n: int) -> Candidate:
    text = "A sentence of some length, as responses have them. " * 20
    count = min(RESPONSES[which][1], MOST_RESPONSES)
    return Candidate(
        prompt=(Message("user", f"question {n}"),),
        responses=tuple((Message("assistant", f"{text}{n}{slot}"),) for slot in "abcdefgh"[:count]),
        models=(None,) * count,
        id=str(n),
    )


def verdict(which: Kind, draw: Random) -> dict[str, Any]:
    """A verdict on an item of :func:`candidate`."""
    if which == "preference":
        return {"label": draw.choice(("left", "right")), "strength": 2}
    if which == "safety":
        return {"label": "safe"}
    if which == "ranking":
        return {"label": "ranked", "ranks": draw.sample(range(1, MOST_RESPONSES + 1), MOST_RESPONSES)}
    if which == "rewrite":
        return {"label": "written", "text": "A better response. " * 20}
    names = default_definition("attributes").form.attributes or {}
    ratings = [{name: draw.randrange(5) for name in names} for _ in range(MOST_RESPONSES)]
    return {"label": "rated", "ratings": ratings}


class Server:
    """``keel annotate`` as a process of its own."""

    def __init__(self, db: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.db = db
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "keel.cli", "annotate", "--db", self.db, "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 120
        while time.monotonic() < until:
            try:
                httpx.get(f"{self.url}/login", timeout=5)
                return
            except httpx.TransportError:
                time.sleep(0.1)
        raise RuntimeError("the server did not start")

    def stop(self, how: int = signal.SIGTERM) -> None:
        self.process.send_signal(how)
        self.process.wait()


def annotate(url: str, cookie: str, until: float, log: Log, think: float, projects: tuple[Kind, ...]) -> None:
    """One annotator: judge until the time is up, going on after failures as a person would press again.

    ``think``: mean seconds before a verdict, drawn from an exponential distribution.
    """
    draw = Random(cookie)
    waiting = list(draw.sample(projects, len(projects)))  # the projects with items, the next one first
    token: str | None = None
    with httpx.Client(base_url=url, cookies={COOKIE: cookie}, timeout=60) as client:
        component = None
        while waiting and time.monotonic() < until:
            project = waiting[0]
            try:
                if component is None:
                    parts = client.get("/config").json()["components"]
                    component = next(part["id"] for part in parts if part["props"].get("elem_id") == "keel")
                asked: dict[str, Any] = {"action": "annotate", "project": project}
                if token is not None:
                    asked |= {"action": "vote", "token": token, "ms": 900, "said": verdict(project, draw)}
                    time.sleep(draw.expovariate(1 / think) if think else 0.0)
                began = time.perf_counter()
                reply = act(client, component, asked)
                took = 1000 * (time.perf_counter() - began)
                answer = reply.json()
            except (httpx.TransportError, ValueError) as error:
                log.errors[type(error).__name__] += 1
                time.sleep(0.2)
                continue
            if reply.status_code != 200 or answer["error"]:
                log.errors[str(answer.get("error", reply.status_code))[:60]] += 1
            elif token is not None:
                log.acknowledged.append(token)
                log.times.append((project, took))
            found = _TOKEN.search(answer.get("html") or "")
            with contextlib.suppress(httpx.TransportError):
                act(client, component, {"action": "prepare", "project": project})
            if found is None:
                waiting.pop(0)  # nothing is left of it
                token = None
            elif token is not None and len(waiting) > 1:
                waiting.append(waiting.pop(0))
                token = None
            else:
                token = found[1]


def act(client: httpx.Client, component: int, asked: Mapping[str, Any]) -> httpx.Response:
    """Send the request with which the page calls the Python function."""
    body = {"component_id": component, "fn_name": "act", "session_hash": "load", "data": asked}
    return client.post("/gradio_api/component_server", json=body)


def load(
    db: str,
    annotators: int,
    items: int,
    seconds: float,
    *,
    kill: bool,
    think: float = 0.0,
    projects: tuple[Kind, ...] = PAIRS,
) -> dict[str, Any]:
    """Run the load and check the database afterwards; the figures, with the violations of every promise counted."""
    database = Database(db)
    database.migrate()
    cookies = prepare(database, annotators, items, projects)
    server = Server(db)
    log = Log()
    until = time.monotonic() + seconds
    threads = [
        threading.Thread(target=annotate, args=(server.url, cookie, until, log, think, projects))
        for cookie in cookies.values()
    ]
    for thread in threads:
        thread.start()
    if kill:
        time.sleep(seconds / 2)
        server.stop(signal.SIGKILL)
        server.start()
    for thread in threads:
        thread.join()
    server.stop()
    setting = {"annotators": annotators, "items": items, "seconds": seconds, "killed": kill, "think_seconds": think}
    setting |= {"kinds": list(projects)}
    figures = {"database": "SQLite" if database.sqlite else "PostgreSQL", **setting, **check(database, log)}
    database.close()
    return figures


def check(database: Database, log: Log) -> dict[str, Any]:
    with database.read() as session:
        stored = session.scalars(select(Judgement)).all()
        taken = {row.id: row.taken for row in session.execute(select(Item.id, Item.taken))}
        mine = select(Assignment.item_id).where(Assignment.round == 0)
        places = Counter(session.scalars(mine.where(Assignment.state.in_(("leased", "done")))))
        by_kind = Counter(session.scalars(select(Project.name).join(Item).join(Judgement)))
        votes = Counter(judgement.item_id for judgement in stored)
        pairs = Counter((judgement.item_id, judgement.user_id, judgement.key) for judgement in stored)
        first = Counter((judgement.item_id, judgement.user_id) for judgement in stored)
    keys = {judgement.key for judgement in stored}
    took = np.array([ms for _, ms in log.times] or [np.nan])
    return {
        "acknowledged": len(log.acknowledged),
        "stored": len(stored),
        "lost": len(set(log.acknowledged) - keys),
        "doubled": sum(count - 1 for count in pairs.values()) + sum(count > 2 for count in first.values()),
        "over_assigned": sum(count > VOTES_PER_ITEM for count in taken.values()),
        "miscounted": sum(count != places[item] for item, count in taken.items()),
        "most_votes_on_an_item": max(votes.values(), default=0),
        "p50_ms": round(float(np.percentile(took, 50)), 1),
        "p99_ms": round(float(np.percentile(took, 99)), 1),
        "by_kind": {
            name: {"stored": count, "p50_ms": round(float(np.median(_of(log, name))), 1)}
            for name, count in sorted(by_kind.items())
        },
        "errors": dict(log.errors),
    }


def _of(log: Log, name: str) -> list[float]:
    return [ms for each, ms in log.times if each == name] or [float("nan")]


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--db", required=True)
    made.add_argument("--annotators", type=int, default=50)
    made.add_argument("--items", type=int, default=2000)
    made.add_argument("--seconds", type=float, default=20.0)
    made.add_argument("--kill", action="store_true")
    made.add_argument("--mix", action="store_true", help="a project of every kind in the place of pairs alone")
    made.add_argument("--think", type=float, default=0.0, help="mean seconds before each verdict")
    options = made.parse_args()
    found = environment()
    figures = load(
        options.db,
        options.annotators,
        options.items,
        options.seconds,
        kill=options.kill,
        think=options.think,
        projects=KINDS if options.mix else PAIRS,
    )
    report = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {"runs": {}}
    name = figures["database"] + (", all kinds" if options.mix else "")
    name += (", killed" if options.kill else "") + (", thinking" if options.think else "")
    report["environment"] = found
    report["runs"][name] = figures
    write(options.out, report, ("runs",))


if __name__ == "__main__":
    main()
