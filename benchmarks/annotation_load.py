"""Many annotators at once over HTTP: how long a verdict takes, and that none is lost, doubled or one too many.

    python benchmarks/annotation_load.py --db load.db --annotators 50 --seconds 20 [--kill] [--think 2] --out load.json

``--db`` is a new SQLite file or an empty PostgreSQL database. Every simulated annotator is logged in, judges an item
and waits for the next as fast as it can, and in between has the item after that prepared, as a browser does. With
``--think`` it looks at each item for so many seconds on average, where a person takes half a minute. ``--kill`` sends
SIGKILL to the server in the middle and starts it again. Each run is added to ``--out`` under a name of its own.
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
from annotation_ui.store.projects import Candidate, Settings, add_items, create_project
from annotation_ui.store.tables import Item, Judgement, User
from annotation_ui.web.server import COOKIE
from reward_models.data.records import Message

VOTES_PER_ITEM = 3
_TOKEN = re.compile(r'data-token="([^"]+)"')


@dataclass
class Log:
    """Observations of the clients: the token of every acknowledged verdict, and its time in milliseconds."""

    acknowledged: list[str] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)


def prepare(database: Database, annotators: int, items: int) -> dict[str, str]:
    """A project with items, and a logged-in account for every annotator: name to cookie."""
    now = time.time()
    with database.write() as session:
        password = hash_password("a password nobody uses")
        session.add(User(name="root", role="admin", password=password, active=True, created=now))
        settings = Settings(votes_per_item=VOTES_PER_ITEM, lease_seconds=600)
        project = create_project(session, "load", "preference", settings, author="root", now=now)
        text = "A sentence of some length, as responses have them. " * 20
        made = (
            Candidate(
                prompt=(Message("user", f"question {n}"),),
                responses=((Message("assistant", f"{text}{n}a"),), (Message("assistant", f"{text}{n}b"),)),
                models=(None, None),
                id=str(n),
            )
            for n in range(items)
        )
        add_items(session, project, made, author="root", now=now)
        names = [f"annotator{n}" for n in range(annotators)]
        for name in names:
            add_user(session, name, "annotator", None, now=now)
        return {name: open_login(session, name, now=now) for name in names}


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


def annotate(url: str, cookie: str, until: float, log: Log, think: float) -> None:
    """One annotator: judge until the time is up, going on after failures as a person would press again.

    ``think``: mean seconds before a verdict, drawn from an exponential distribution.
    """
    token = None
    draw = Random(cookie)
    with httpx.Client(base_url=url, cookies={COOKIE: cookie}, timeout=60) as client:
        component = None
        while time.monotonic() < until:
            try:
                if component is None:
                    parts = client.get("/config").json()["components"]
                    component = next(part["id"] for part in parts if part["props"].get("elem_id") == "keel")
                asked: dict[str, Any] = {"action": "annotate", "project": "load"}
                if token is not None:
                    asked |= {"action": "vote", "token": token, "ms": 900, "said": {"label": "left", "strength": 2}}
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
                log.milliseconds.append(took)
            found = _TOKEN.search(answer.get("html") or "")
            if found is None:
                return
            token = found[1]
            with contextlib.suppress(httpx.TransportError):
                act(client, component, {"action": "prepare", "project": "load"})


def act(client: httpx.Client, component: int, asked: Mapping[str, Any]) -> httpx.Response:
    """Send the request with which the page calls the Python function."""
    body = {"component_id": component, "fn_name": "act", "session_hash": "load", "data": asked}
    return client.post("/gradio_api/component_server", json=body)


def load(db: str, annotators: int, items: int, seconds: float, *, kill: bool, think: float = 0.0) -> dict[str, Any]:
    """Run the load and check the database afterwards; the figures, with the violations of every promise counted."""
    database = Database(db)
    database.migrate()
    cookies = prepare(database, annotators, items)
    server = Server(db)
    log = Log()
    until = time.monotonic() + seconds
    threads = [
        threading.Thread(target=annotate, args=(server.url, cookie, until, log, think)) for cookie in cookies.values()
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
    figures = {"database": "SQLite" if database.sqlite else "PostgreSQL", **setting, **check(database, log)}
    database.close()
    return figures


def check(database: Database, log: Log) -> dict[str, Any]:
    with database.read() as session:
        stored = session.scalars(select(Judgement)).all()
        taken = session.scalars(select(Item.taken)).all()
        votes = Counter(judgement.item_id for judgement in stored)
        pairs = Counter((judgement.item_id, judgement.user_id, judgement.key) for judgement in stored)
        first = Counter((judgement.item_id, judgement.user_id) for judgement in stored)
    keys = {judgement.key for judgement in stored}
    took = np.array(log.milliseconds or [np.nan])
    return {
        "acknowledged": len(log.acknowledged),
        "stored": len(stored),
        "lost": len(set(log.acknowledged) - keys),
        "doubled": sum(count - 1 for count in pairs.values()) + sum(count > 2 for count in first.values()),
        "over_assigned": sum(count > VOTES_PER_ITEM for count in taken),
        "most_votes_on_an_item": max(votes.values(), default=0),
        "p50_ms": round(float(np.percentile(took, 50)), 1),
        "p99_ms": round(float(np.percentile(took, 99)), 1),
        "errors": dict(log.errors),
    }


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--db", required=True)
    made.add_argument("--annotators", type=int, default=50)
    made.add_argument("--items", type=int, default=2000)
    made.add_argument("--seconds", type=float, default=20.0)
    made.add_argument("--kill", action="store_true")
    made.add_argument("--think", type=float, default=0.0, help="mean seconds before each verdict")
    options = made.parse_args()
    found = environment()
    figures = load(
        options.db, options.annotators, options.items, options.seconds, kill=options.kill, think=options.think
    )
    report = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {"runs": {}}
    name = figures["database"] + (", killed" if options.kill else "") + (", thinking" if options.think else "")
    report["environment"] = found
    report["runs"][name] = figures
    write(options.out, report, ("runs",))


if __name__ == "__main__":
    main()
