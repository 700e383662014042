"""A long queue on PostgreSQL: how long the next item, a vote, a search, the lists and the dashboard take, with plans.

    python benchmarks/annotation_queue.py --db postgresql://USER@HOST/EMPTY --items 1000000 --out queue.json

The database is filled by SQL: items with short texts, a share of them judged by all the annotators they need, a few
hundred judged by some. Then ``--annotators`` people, on ``--threads`` connections, work as the app does, each action in
turn; reviewers search, list and filter; an admin opens the dashboard. Times are of the functions behind the pages,
without HTTP, and ``cpu_ms`` those of this process alone, on all its threads. The first dashboard waits for the
figures, those after it show them as they were kept. ``plans`` are PostgreSQL's for the slowest
statements of the actions, with the rows that each read.

``--filled`` measures on a database that an earlier run has filled.
"""

from __future__ import annotations

import os
import resource
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import numpy as np
from harness import environment, parser, settings, write
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from annotation_ui.actions.browsing import find_items
from annotation_ui.actions.item_filter import ItemFilter
from annotation_ui.actions.review import dashboard
from annotation_ui.labelling import session as annotating
from annotation_ui.store.accounts import add_user
from annotation_ui.store.database import Database
from annotation_ui.store.projects import Settings, create_project

VOTES = 3
SAID = {"label": "left", "strength": 2}
WORDS = 5000  # different words in the texts
# An item has twelve words of its own, drawn by its number, so that a search for two of them finds a few hundred.
_FILL = (
    """INSERT INTO items (id, project_id, content_key, source, source_id, prompt, prompt_key, split, rank, taken, gold,
        length, created)
    SELECT n, 1, md5(n::text), 'source ' || mod(n, 7), n::text,
        json_build_array(json_build_object('role', 'user', 'content', 'question ' || n)), md5(n::text),
        CASE WHEN mod(n, 10) = 0 THEN 'eval' ELSE 'train' END, n / CAST(:items AS float),
        CASE WHEN n <= :full THEN :votes ELSE 0 END, NULL, 200 + mod(n, 500), 1.0
    FROM generate_series(1, :items) AS n""",
    """INSERT INTO responses (item_id, slot, messages, model)
    SELECT n, slot, json_build_array(json_build_object('role', 'assistant', 'content',
        repeat('a sentence of an answer. ', 8) || slot || n)), 'model'
    FROM generate_series(1, :items) AS n, unnest(ARRAY['a', 'b']) AS slot""",
    """INSERT INTO item_words (item_id, words)
    SELECT n, array_to_tsvector(ARRAY(SELECT DISTINCT 'w' || mod(n::bigint * (7919 + 31 * k) + k, :words)
        FROM generate_series(1, 12) AS k))
    FROM generate_series(1, :items) AS n""",
    # Three people an item, of whom each pair of the project shares some items.
    """INSERT INTO assignments (item_id, user_id, round, token, left_, guideline_id, state, leased_at, expires)
    SELECT n, 2 + mod(7 * n + vote * (1 + mod(n / 200, CAST(:annotators AS int) / :votes)), :annotators), 0,
        n || '-' || vote, CASE WHEN mod(hashint4(n + vote), 2) = 0 THEN 'a' ELSE 'b' END, 1, 'done', 1.0, 2.0
    FROM generate_series(1, :full) AS n, generate_series(1, :votes) AS vote""",
    # Seven of ten votes are the item's own label, two the opposite, one a tie; spread over twenty days.
    """INSERT INTO judgements (item_id, user_id, assignment_id, revision, adjudication, label, strength, harms,
        rationale, skip_reason, left_, dwell_ms, guideline_id, key, created)
    SELECT item_id, user_id, id, 0, false, label, CASE WHEN label = 'tie' THEN NULL ELSE 1 + abs(mod(hash, 3)) END,
        '[]', '', '', left_, 5000 + abs(mod(hash, 40000)), 1, token,
        CAST(:now AS float) - 86400 * 20 * (id / (CAST(:full AS float) * :votes))
    FROM (SELECT *, CASE WHEN abs(mod(hash, 10)) = 0 THEN 'tie'
        WHEN (abs(mod(hash, 10)) < 3) = (mod(item_id, 2) = 0) THEN 'a' ELSE 'b' END AS label
        FROM (SELECT *, hashint4(id) AS hash FROM assignments) AS hashed) AS said""",
    """INSERT INTO scores (item_id, scorer, score_a, score_b, created)
    SELECT n, 'model', mod(n, 17), mod(n, 13), 1.0 FROM generate_series(1, :items) AS n""",
)


def fill(database: Database, items: int, annotators: int, share: float) -> float:
    """A project of ``items`` items of which ``share`` have all their votes; the seconds that it took."""
    began = time.perf_counter()
    now = time.time()
    with database.write() as session:
        add_user(session, "root", "admin", None, now=now)
        for n in range(annotators):
            add_user(session, f"annotator{n}", "annotator", None, now=now)
        chosen = Settings(votes_per_item=VOTES, gold_rate=0.0, repeat_rate=0.05)
        create_project(session, "p", "preference", chosen, author="root", now=now)
    values = {"items": items, "full": int(items * share), "votes": VOTES, "words": WORDS}
    values |= {"annotators": annotators, "now": now}
    with database.write() as session:
        session.execute(
            text("DROP INDEX ix_item_words_words")
        )  # it is made at once below, which takes less than by row
    for statement in _FILL:
        with database.write() as session:
            session.execute(text("SET LOCAL session_replication_role = replica"))  # foreign keys are not looked up
            session.execute(text(statement.replace("left_", '"left"')), values)
    with database.write() as session:
        session.execute(text("CREATE INDEX ix_item_words_words ON item_words USING gin (words)"))
        for table in ("items", "responses", "assignments", "judgements"):
            session.execute(text(f"SELECT setval('{table}_id_seq', (SELECT coalesce(max(id), 1) FROM {table}))"))
    with database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("VACUUM ANALYZE"))
    return time.perf_counter() - began


class Timer:
    """Milliseconds by action; safe to use from several threads."""

    def __init__(self) -> None:
        self.taken: dict[str, list[float]] = defaultdict(list)
        self.cpu: dict[str, float] = {}
        self._lock = threading.Lock()

    def run(self, action: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        found = work()
        took = 1000 * (time.perf_counter() - began)
        with self._lock:
            self.taken[action].append(took)
        return found

    def run_alone(self, action: str, work: Callable[[], Any]) -> Any:
        """With the time on a processor, which is of one action only while no other is run."""
        began = time.process_time()
        found = self.run(action, work)
        self.cpu[action] = 1000 * (time.process_time() - began)
        return found

    def figures(self) -> dict[str, dict[str, float]]:
        return {
            action: {
                "n": len(taken),
                "p50_ms": round(float(np.percentile(taken, 50)), 1),
                "p99_ms": round(float(np.percentile(taken, 99)), 1),
            }
            | ({"cpu_ms": round(self.cpu[action], 1)} if action in self.cpu else {})
            for action, taken in self.taken.items()
        }


def annotate(database: Database, people: list[str], until: float, timer: Timer) -> None:
    """The people in turn: open the page, judge what is on it."""
    tokens: dict[str, str] = {}
    while True:
        for who in people:
            if time.monotonic() > until:
                return
            now = time.time()
            if who not in tokens:
                shown = timer.run("next item", lambda who=who, now=now: annotating.screen(database, who, "p", now=now))
                tokens[who] = shown.task.token
                continue
            voted = timer.run(
                "vote and next item",
                lambda who=who, now=now: annotating.vote(
                    database, who, "p", tokens[who], SAID, dwell_ms=20_000, go_on=True, now=now
                ),
            )
            tokens[who] = voted.screen.task.token


def review(database: Database, until: float, timer: Timer) -> None:
    """A reviewer who searches, lists and filters."""
    draw = Random(0)
    filters: dict[str, Callable[[], ItemFilter]] = {
        "search for two words": lambda: ItemFilter(q=f"w{draw.randrange(WORDS)} w{draw.randrange(WORDS)}"),
        "search for one word": lambda: ItemFilter(q=f"w{draw.randrange(WORDS)}"),
        "list": lambda: ItemFilter(sort="longest"),
        "annotators disagree": lambda: ItemFilter(agreement="disagree"),
        "model against annotators": lambda: ItemFilter(model="model", model_view="against"),
        "votes of one person": lambda: ItemFilter(annotator="annotator7"),
    }
    while time.monotonic() < until:
        for action, wanted in filters.items():
            asked = wanted()
            timer.run(action, lambda asked=asked: find_items(database, "root", "p", asked, counted=True))


@contextmanager
def statements(database: Database) -> Iterator[list[tuple[str, Any, float]]]:
    """The SQL that is run within the block, with its parameters and seconds."""
    seen: list[tuple[str, Any, float]] = []
    engines = (database.engine, database._reader)

    def before(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        connection.info["began"] = time.perf_counter()

    def after(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append((statement, parameters, time.perf_counter() - connection.info["began"]))

    for engine in engines:
        event.listen(engine, "before_cursor_execute", before)
        event.listen(engine, "after_cursor_execute", after)
    yield seen
    for engine in engines:
        event.remove(engine, "before_cursor_execute", before)
        event.remove(engine, "after_cursor_execute", after)


def plan(database: Database, work: Callable[[], Any]) -> dict[str, Any]:
    """The slowest statement of an action, and how PostgreSQL runs it."""
    with statements(database) as seen:
        work()
    statement, parameters, seconds = max(seen, key=lambda each: each[2])
    lines: list[str] = []
    if statement.lstrip().upper().startswith(("SELECT", "WITH")):
        with Session(database.engine) as session:
            asked = f"EXPLAIN (ANALYZE, COSTS OFF, BUFFERS OFF) {statement}"
            lines = [row[0] for row in session.connection().exec_driver_sql(asked, parameters)]
            session.rollback()
    return {"statement": " ".join(statement.split())[:400], "ms": round(1000 * seconds, 1), "plan": lines[:40]}


def measure(database: Database, annotators: int, threads: int, seconds: float) -> dict[str, Any]:
    timer = Timer()
    until = time.monotonic() + seconds
    names = [f"annotator{n}" for n in range(annotators)]
    work = [threading.Thread(target=annotate, args=(database, names[n::threads], until, timer)) for n in range(threads)]
    work.append(threading.Thread(target=review, args=(database, until, timer)))
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    now = time.time()
    timer.run_alone("first dashboard", lambda: dashboard(database, "root", "p", now=now))
    for _ in range(5):
        timer.run_alone("dashboard", lambda: dashboard(database, "root", "p", now=now))
    looked_at = {
        "next item": lambda: annotating.screen(database, "annotator0", "p", now=now),
        "search": lambda: find_items(database, "root", "p", ItemFilter(q="w7 w8"), counted=True),
        "model against annotators": lambda: find_items(
            database, "root", "p", ItemFilter(model="model", model_view="against"), counted=True
        ),
        "dashboard": lambda: dashboard(database, "root", "p", now=now),
    }
    plans = {name: plan(database, action) for name, action in looked_at.items()}
    return {"times": timer.figures(), "plans": plans}


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--db", required=True)
    made.add_argument("--items", type=int, default=1_000_000)
    made.add_argument("--judged", type=float, default=0.1, help="share of the items that have all their votes")
    made.add_argument("--annotators", type=int, default=200)
    made.add_argument("--threads", type=int, default=4)
    made.add_argument("--seconds", type=float, default=60.0)
    made.add_argument("--filled", action="store_true", help="the database is that of an earlier run")
    options = made.parse_args()
    found = environment()
    database = Database(options.db)
    database.migrate()
    filled = 0.0 if options.filled else fill(database, options.items, options.annotators, options.judged)
    print(f"filled in {filled:.0f} s", flush=True)
    load, cpu = [os.getloadavg()[0]], time.process_time()
    measured = measure(database, options.annotators, options.threads, options.seconds)
    database.close()
    report = {
        "environment": found,
        "settings": settings(options, "db"),
        "fill_seconds": round(filled, 1),
        "load_average": [*load, os.getloadavg()[0]],
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        **measured,
    }
    write(options.out, report, ("times",))


if __name__ == "__main__":
    main()
