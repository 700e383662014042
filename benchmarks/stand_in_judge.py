"""A stand-in for a judge's endpoint: it knows how good responses are, and has faults that a real judge may have.

It speaks enough of OpenAI's protocol for `keel data curate`, on 127.0.0.1 only. Asked about two responses it answers
with the verdict nearest to (merit of A − merit of B + bias + noise): `bias` is its preference for what is shown first.
It counts what it is asked and what it answers, so that one can see whether an answer was paid for twice.

    python benchmarks/stand_in_judge.py $KEEL_DATA/annotations/*.jsonl.gz --bias 1 --faults 0.1
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

from reward_models.data.files import BadRow, read_rows

VERDICTS = {2: "A>>B", 1: "A>B", 0: "A=B", -1: "B>A", -2: "B>>A"}
VOTES = {"a": 2, "b": -2, "tie": 0, "a much better": 2, "a slightly better": 1, "b slightly better": -1}
VOTES["b much better"] = -2
FAULTS = ("429", "500", "garbage", "hang", "no verdict", "dropped")
_SHOWN = re.compile(r"<<<<< BEGIN RESPONSE ([AB]) (\w+) >>>>>\n(.*?)\n<<<<< END RESPONSE \1 \2 >>>>>", re.DOTALL)

Gap = Callable[[str, str], float]  # how much better the first text is, −2 … 2


class StandInJudge:
    """The server; a context manager that runs it in a thread.

    Args:
        gap: the truth, as the stand-in knows it.
        bias, noise: added to the gap, noise with this standard deviation.
        faults: share of the requests that go wrong, in one of these ``ways``.
        delay, hang: seconds to an answer, and to none.
    """

    def __init__(
        self,
        gap: Gap,
        *,
        bias: float = 0.0,
        noise: float = 0.0,
        faults: float = 0.0,
        ways: tuple[str, ...] = FAULTS,
        delay: float = 0.0,
        hang: float = 30.0,
        port: int = 0,
    ) -> None:
        self.gap, self.bias, self.noise, self.faults, self.ways = gap, bias, noise, faults, ways
        self.delay, self.hang = delay, hang
        self.requests: Counter[str] = Counter()  # by the question's key
        self.answered: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.in_flight = self.most_in_flight = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        stand_in = self

        class Handler(_Handler):
            judge = stand_in

        self._server = _Server(("127.0.0.1", port), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> StandInJudge:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def reply(self, content: str, key: str) -> str:
        """The reply about the two responses in ``content``: a draft verdict first, as reasoning judges write."""
        shown = {name: text for name, _, text in _SHOWN.findall(content)}
        value = self.gap(shown["A"], shown["B"]) + self.bias + Random(key).gauss(0, self.noise)
        verdict = VERDICTS[max(-2, min(2, round(value)))]
        return f"At first sight [[A=B]]. On reflection, my final verdict is: [[{verdict}]]"

    def serve(self, handler: _Handler) -> None:
        """Answer one request, or fail at it."""
        content = handler.rfile.read(length := int(handler.headers["Content-Length"]))
        if len(content) < length:  # the client was killed while it asked
            handler.close_connection = True
            return
        body = json.loads(content)
        key = handler.headers["Idempotency-Key"]
        with self._lock:
            self.requests[key] += 1
            number = self.requests[key]
            self.bodies.append(body)
            self.headers.append(dict(handler.headers.items()))
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            dice = Random(f"{key}:{number}")
            fault = dice.choice(self.ways) if dice.random() < self.faults else None
            self._closing.wait(self.hang if fault == "hang" else self.delay)
            self._answer(handler, fault, body, key)
        finally:
            with self._lock:
                self.in_flight -= 1

    def _answer(self, handler: _Handler, fault: str | None, body: dict[str, Any], key: str) -> None:
        if fault in ("429", "500"):
            handler.send(int(fault), {"error": "out of breath"}, {"Retry-After": "0"} if fault == "429" else {})
        elif fault == "garbage":
            handler.send(200, "<html>gateway</html>")
        elif fault in ("hang", "dropped"):
            handler.close_connection = True
        else:
            said = "I cannot decide." if fault == "no verdict" else self.reply(body["messages"][-1]["content"], key)
            with self._lock:
                self.answered[key] += 1
            handler.send(200, {"choices": [{"message": {"content": said}, "finish_reason": "stop"}]})


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    judge: StandInJudge
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together

    def do_GET(self) -> None:
        self.send(200, {"data": [{"id": "stand-in"}]})

    def do_POST(self) -> None:
        self.judge.serve(self)

    def send(self, status: int, content: Any, headers: Mapping[str, str] | None = None) -> None:
        payload = (content if isinstance(content, str) else json.dumps(content)).encode()
        try:
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(payload))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(payload)
        except OSError:
            self.close_connection = True  # the client did not wait

    def log_message(self, *_: object) -> None:
        """Silence."""


def voted_gap(rows: Iterable[Mapping[str, Any]]) -> Gap:
    """The mean vote on each pair of annotated rows, −2 … 2; an error for texts that nobody voted on."""
    votes: dict[tuple[str, str], float] = {}
    for row in rows:
        a, b = row["response_a"][0]["content"], row["response_b"][0]["content"]
        votes[a, b] = mean_vote(row)
        votes[b, a] = -votes[a, b]
    return lambda one, other: votes[one, other]


def mean_vote(row: Mapping[str, Any]) -> float:
    """−2 … 2, above 0 if the annotators prefer response a."""
    return statistics.fmean(VOTES[annotation["label"]] for annotation in row["annotations"])


def annotated_rows(files: Iterable[str | Path]) -> list[dict[str, Any]]:
    """The rows of annotation files."""
    items = [item for file in files for item in read_rows(Path(file))]
    return [item[1] for item in items if not isinstance(item, BadRow)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="annotated pairs: rows with an 'annotations' list of votes")
    parser.add_argument("--port", type=int, default=8011)
    for name, value in (("bias", 1.0), ("noise", 0.5), ("faults", 0.1), ("delay", 0.05), ("hang", 5.0)):
        parser.add_argument(f"--{name}", type=float, default=value)
    settings = vars(parser.parse_args())
    gap = voted_gap(annotated_rows(settings.pop("files")))
    with StandInJudge(gap, **settings) as judge:
        print(f"judging at {judge.url}; Ctrl-C ends it", flush=True)
        while True:
            time.sleep(1)


if __name__ == "__main__":
    main()
