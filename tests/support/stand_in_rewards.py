"""Small reward servers on 127.0.0.1 that speak the protocols, and misbehave on demand."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class StandIn:
    """A server under way.

    Attributes:
        answer: the path and JSON of a request to the JSON of the answer, or to (status, headers, raw bytes).
        requests: (path, body, headers) of every POST so far.
        delay: seconds before each answer. ``healthy``: what ``/ready`` and ``/health`` say.
    """

    answer: Callable[[str, Any], Any]
    models: list[dict[str, str]] = field(default_factory=list)
    requests: list[tuple[str, Any, dict[str, str]]] = field(default_factory=list)
    delay: float = 0.0
    healthy: bool = True
    port: int = 0
    server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> StandIn:
        """On the port that it had before, if it had one."""
        self.server = _Server(("127.0.0.1", self.port), _handler(self))
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def stop(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            for connection in list(self.server.connections):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self.server = None


class _Server(ThreadingHTTPServer):
    """Connections that are kept alive die with it, as with a process."""

    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        self.connections: set[Any] = set()
        super().__init__(*arguments)

    def get_request(self) -> Any:
        connection, address = super().get_request()
        self.connections.add(connection)
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up."""


def _handler(stand_in: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/models":
                self._send(200, {}, json.dumps({"models": stand_in.models}).encode())
            else:
                self._send(200 if stand_in.healthy else 503, {}, b"{}")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            stand_in.requests.append((self.path, body, dict(self.headers)))
            time.sleep(stand_in.delay)
            answer = stand_in.answer(self.path, body)
            if isinstance(answer, tuple):
                self._send(*answer)
            else:
                self._send(200, {}, json.dumps(answer).encode())

        def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler


@contextlib.contextmanager
def serving(*stand_ins: StandIn) -> Iterator[list[str]]:
    """Their addresses, while they run."""
    for stand_in in stand_ins:
        stand_in.start()
    try:
        yield [stand_in.url for stand_in in stand_ins]
    finally:
        for stand_in in stand_ins:
            stand_in.stop()


def keel(
    score: Callable[[list[dict[str, str]]], dict[str, Any]],
    name: str = "helpful",
    task: str = "preference",
    **options: Any,
) -> StandIn:
    """``keel serve`` with one model; ``score`` gives the keys of a result that are not null."""

    def answer(path: str, body: Any) -> Any:
        if path != "/v1/score" or body["model"] != name:
            return 404, {}, b'{"detail": "no such model"}'
        nothing = {"raw": None, "calibrated": None, "terms": None, "error": None}
        return {
            "model": name,
            "task": task,
            "manifest": "abc",
            "results": [nothing | score(conversation) for conversation in body["conversations"]],
        }

    return StandIn(answer, [{"name": name, "task": task, "manifest": "abc"}], **options)
