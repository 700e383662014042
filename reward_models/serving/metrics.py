"""Metrics of a server, for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from reward_models.serving.results import Result

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)
POWERS = tuple(2**n for n in range(0, 21, 2))


class Metrics:
    """One server's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("keel_requests", "Requests by path and HTTP status.", ["path", "status"], **own)
        self.seconds = Histogram(
            "keel_request_seconds", "Time from request to response.", ["path"], buckets=SECONDS, **own
        )
        self.active = Gauge("keel_active_requests", "Requests that are not answered yet.", **own)
        self.conversations = Counter(
            "keel_conversations", "Conversations by model and outcome: scored, or error.", ["model", "outcome"], **own
        )
        self.waiting = Gauge("keel_waiting_conversations", "Conversations that wait for a model.", ["model"], **own)
        self.tokens = Counter(
            "keel_tokens", "Tokens computed; a prefix shared within a batch counts once.", ["model"], **own
        )
        self.reused_tokens = Counter(
            "keel_reused_tokens", "Tokens of kept prefixes, which were not computed again.", ["model"], **own
        )
        self.prefix_bytes = Gauge("keel_prefix_bytes", "Memory in use for kept prefixes.", ["model"], **own)
        self.compute_seconds = Counter("keel_compute_seconds", "Seconds spent computing batches.", ["model"], **own)
        self.batch_tokens = Histogram("keel_batch_tokens", "Tokens of a batch.", ["model"], buckets=POWERS, **own)
        self.batch_requests = Histogram("keel_batch_requests", "Requests of a batch.", ["model"], buckets=POWERS, **own)
        self.truncated = Gauge(
            "keel_truncated_conversations", "Conversations cut to the position limit since loading.", ["model"], **own
        )
        self.reloads = Counter("keel_reloads", "Reloads by model and outcome.", ["model", "outcome"], **own)

    def batch(self, model: str, requests: int, tokens: int, seconds: float) -> None:
        self.tokens.labels(model).inc(tokens)
        self.compute_seconds.labels(model).inc(seconds)
        self.batch_tokens.labels(model).observe(tokens)
        self.batch_requests.labels(model).observe(requests)

    def prefixes(self, model: str, reused: int, size: int) -> None:
        """After a batch: the tokens that it did not compute, and the memory of all kept prefixes."""
        self.reused_tokens.labels(model).inc(reused)
        self.prefix_bytes.labels(model).set(size)

    def outcomes(self, model: str, results: Sequence[Result]) -> None:
        errors = sum(result.error is not None for result in results)
        self.conversations.labels(model, "scored").inc(len(results) - errors)
        self.conversations.labels(model, "error").inc(errors)

    def waiting_now(self, waiting: Mapping[str, int]) -> None:
        for model, number in waiting.items():
            self.waiting.labels(model).set(number)

    def active_now(self) -> int:
        """Requests that are not answered yet."""
        return int(self.registry.get_sample_value("keel_active_requests") or 0)

    def text(self) -> bytes:
        """In Prometheus' exposition format."""
        return generate_latest(self.registry)
