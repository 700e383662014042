"""Metrics of the app for Prometheus: requests and actions since the start, and the state of the database."""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterator
from contextlib import suppress

from fastapi import FastAPI, HTTPException, Request, Response
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from annotation_ui.store.database import Database
from annotation_ui.store.service_tables import Delivery
from annotation_ui.store.tables import Assignment, Job, Judgement, Login
from reward_models.extras import needs

with needs("annotate"):
    from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
    from prometheus_client.core import GaugeMetricFamily

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
SHORTEST_TOKEN = 16
TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """One server's metrics, in a registry of their own."""

    def __init__(self, database: Database) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "keel_annotate_requests",
            "Requests by route, method and HTTP status.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "keel_annotate_request_seconds",
            "Time from request to the end of the response.",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._actions = Counter(
            "keel_annotate_actions",
            "What the pages asked for, by action and outcome: done, or refused.",
            ["action", "outcome"],
            registry=self.registry,
        )
        self.registry.register(_State(database))  # type: ignore[arg-type]  # it has the two methods that are called

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        known = method if method in ("GET", "POST", "PATCH", "PUT", "DELETE", "HEAD") else "other"
        self._requests.labels(route, known, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def acted(self, action: str, *, refused: bool) -> None:
        self._actions.labels(action, "refused" if refused else "done").inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)


class _State:
    """The state of the database at the time of the request. Each figure is read from an index."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> Iterator[GaugeMetricFamily]:
        return iter(())  # nothing is read when the collector is registered

    def collect(self) -> Iterator[GaugeMetricFamily]:
        up = GaugeMetricFamily("keel_annotate_database_up", "1 if the database answers.")
        found: list[GaugeMetricFamily] = []
        with suppress(SQLAlchemyError):
            found = list(self._read(time.time()))
        up.add_metric([], float(bool(found)))
        yield from (up, *found)

    def _read(self, now: float) -> Iterator[GaugeMetricFamily]:
        with self._database.read() as session:
            newest = session.scalar(select(func.max(Judgement.id))) or 0
            leased = select(func.count(Assignment.id)).where(Assignment.state == "leased", Assignment.expires > now)
            logins = select(func.count(Login.cookie_hash)).where(Login.expires > now)
            waiting = select(func.count(Delivery.id), func.min(Delivery.due)).where(Delivery.due.is_not(None))
            held = session.scalar(leased) or 0
            open_logins = session.scalar(logins) or 0
            count, due = session.execute(waiting).one()
            jobs = session.execute(select(Job.state, func.count(Job.id)).group_by(Job.state)).all()
        for name, meaning, value in (
            ("newest_judgement", "Number of the newest judgement; it grows by each vote.", newest),
            ("open_leases", "Items on annotators' screens.", held),
            ("open_log_ins", "Log-ins that hold.", open_logins),
            ("webhook_deliveries_waiting", "Messages to webhooks that are not sent yet.", count),
            ("webhook_delay_seconds", "How long the first of them is overdue.", max(0.0, now - due) if due else 0.0),
        ):
            yield GaugeMetricFamily(f"keel_annotate_{name}", meaning, value=float(value))
        states = GaugeMetricFamily("keel_annotate_jobs", "Jobs by state.", labels=["state"])
        for state, number in jobs:
            states.add_metric([state], float(number))
        yield states


def add_metrics(server: FastAPI, metrics: Metrics, token: str) -> None:
    """``GET /metrics`` for requests that send ``Authorization: Bearer`` with ``token``.

    Raises:
        ValueError: the token is too short to keep anybody out.
    """
    if len(token) < SHORTEST_TOKEN:
        raise ValueError(f"KEEL_METRICS_TOKEN has {len(token)} characters; at least {SHORTEST_TOKEN} are needed")
    expected = f"Bearer {token}".encode()

    @server.get("/metrics")
    def read(request: Request) -> Response:
        given = request.headers.get("authorization", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, expected):
            raise HTTPException(401, "send Authorization: Bearer KEEL_METRICS_TOKEN", {"WWW-Authenticate": "Bearer"})
        return Response(metrics.text(), media_type=TEXT)
