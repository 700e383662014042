"""A load test of ``keel serve``: clients that disconnect, overload, malformed bodies, reloads. No score may be wrong.

    python benchmarks/serving_chaos.py --seconds 120 --out benchmarks/results/serving_chaos.json

A server of its own process, of a small model built from a configuration, on 127.0.0.1. All of it happens at the same
time: honest clients, more than the queue takes, check every score against the library's; others leave before they are
answered; others send what is no request; the model is loaded anew again and again. In the end SIGTERM arrives.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from http_client import Client, free_port, listening

TOKEN = "0123456789abcdef0123456789"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
TOLERANCE = 1e-5
RIGHT = {
    "model": "model",
    "conversations": [[{"role": "user", "content": "what is it"}, {"role": "assistant", "content": "one"}]],
}
PATHS = ("/v1/score", "/get_reward", "/classify", "/pooling", "/slime", "/v1/reload")


@dataclass
class Seen:
    """Observations of all clients.

    Attributes:
        statuses: of honest requests. ``malformed``: of the others.
        wrong: scores that were not the library's. ``largest``: the largest difference among all.
        broken: connections that ended without an answer, by what they ended with.
        slowest: seconds that an answer took, at most.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    malformed: Counter[int] = field(default_factory=Counter)
    scores: int = 0
    wrong: int = 0
    largest: float = 0.0
    left: int = 0
    reloads: int = 0
    broken: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0


async def honest(
    port: int, turns: Sequence[Any], expected: Sequence[float], seen: Seen, until: float, seed: int
) -> None:
    """Asks for scores of random parts, and comes back when it is told to."""
    rng = random.Random(seed)
    while time.monotonic() < until:
        try:
            async with Client(port, BEARER) as client:
                while time.monotonic() < until:
                    places = rng.sample(range(len(turns)), rng.choice((1, 1, 2, 16)))
                    body = {"model": "model", "conversations": [turns[i] for i in places]}
                    began = time.monotonic()
                    status, headers, content = await client.post("/v1/score", json.dumps(body).encode())
                    seen.slowest = max(seen.slowest, time.monotonic() - began)
                    seen.statuses[status] += 1
                    if status == 200:
                        check(json.loads(content)["results"], [expected[i] for i in places], seen)
                    elif "retry-after" in headers:
                        await asyncio.sleep(min(float(headers["retry-after"]), 0.05))
        except (OSError, asyncio.IncompleteReadError) as error:
            seen.broken[type(error).__name__] += 1
            await asyncio.sleep(0.05)


def check(results: Sequence[Any], expected: Sequence[float], seen: Seen) -> None:
    for result, value in zip(results, expected, strict=True):
        seen.scores += 1
        difference = float("inf") if result["raw"] is None else abs(result["raw"] - value)
        seen.largest = max(seen.largest, difference)
        seen.wrong += difference > TOLERANCE


async def leaving(port: int, turns: Sequence[Any], seen: Seen, until: float) -> None:
    """Sends requests, small ones and some that the queue has no place for, and hangs up, now and then while sending."""
    rng = random.Random(1)
    while time.monotonic() < until:
        some = list(turns[: rng.choice((1, 6, len(turns)))])
        body = json.dumps({"model": "model", "conversations": some}).encode()
        try:
            async with Client(port, BEARER) as client:
                client.send("/v1/score", body if rng.random() < 0.7 else body[: len(body) // 2] + b" " * 10)
                await client.writer.drain()
                await asyncio.sleep(rng.random() * 0.05)
                seen.left += 1
        except OSError:
            await asyncio.sleep(0.05)


async def malformed(port: int, seen: Seen, count: int, until: float, seed: int = 0) -> None:
    """Sends what is no request; every one must be answered, and none with 500."""
    rng = random.Random(seed)
    for _ in range(count):
        if time.monotonic() > until:
            return
        try:
            async with Client(port, BEARER) as client:
                status, _, _ = await client.post(rng.choice(PATHS[:5]), spoilt(rng))
                seen.malformed[status] += 1
        except (OSError, asyncio.IncompleteReadError) as error:
            seen.broken[f"malformed: {type(error).__name__}"] += 1


def spoilt(rng: random.Random) -> bytes:
    """A body that is broken in one of many ways."""
    value: Any = rng.choice(
        (None, True, -1, 1e308, "\ud800", [], {}, [[]], "x" * 5000, 10**40, {"role": 1}, [None] * 50)
    )
    body = json.loads(json.dumps(RIGHT))
    where = rng.randrange(7)
    if where == 0:
        return json.dumps(value).encode()
    if where == 1:
        return rng.randbytes(rng.randrange(200))
    if where == 2:
        return json.dumps(RIGHT).encode()[: rng.randrange(1, 80)]
    if where == 3:
        return b"[" * 5000
    if where == 4:
        body["conversations"] = value
    elif where == 5:
        body["conversations"][0][rng.randrange(2)][rng.choice(("role", "content", "name"))] = value
    else:
        body = {rng.choice(("query", "input", "text", "prompt", "input_ids", "messages")): value}
    return json.dumps(body).encode()


async def reloading(port: int, seen: Seen, until: float, pause: float) -> None:
    async with Client(port, BEARER) as client:
        while time.monotonic() < until:
            status, _, content = await client.post("/v1/reload", b"{}")
            if status != 200:
                raise RuntimeError(f"reload: {status} {content[:200]!r}")
            seen.reloads += 1
            await asyncio.sleep(pause)


async def storm(
    port: int,
    turns: Sequence[Any],
    expected: Sequence[float],
    *,
    seconds: float,
    clients: int,
    bodies: int,
    reload_every: float,
    seed: int = 0,
) -> Seen:
    """All of it at once, for so many seconds."""
    seen, until = Seen(), time.monotonic() + seconds
    await asyncio.gather(
        *(honest(port, turns, expected, seen, until, seed) for seed in range(clients)),
        *(leaving(port, turns[:24], seen, until) for _ in range(4)),
        malformed(port, seen, bodies, until, seed),
        reloading(port, seen, until, reload_every),
    )
    return seen


async def ended_under_load(process: subprocess.Popen[bytes], port: int, turns: Sequence[Any], expected: Any) -> Seen:
    """SIGTERM while clients are served: what was asked is answered, what comes later is refused, the process ends."""
    seen, until = Seen(), time.monotonic() + 60

    async def client(seed: int) -> None:
        rng = random.Random(seed)
        try:
            async with Client(port, BEARER) as connection:
                while time.monotonic() < until:
                    places = rng.sample(range(len(turns)), 4)
                    body = {"model": "model", "conversations": [turns[i] for i in places]}
                    status, _, content = await connection.post("/v1/score", json.dumps(body).encode())
                    seen.statuses[status] += 1
                    if status != 200:
                        return
                    check(json.loads(content)["results"], [expected[i] for i in places], seen)
        except (OSError, asyncio.IncompleteReadError) as error:
            seen.broken[type(error).__name__] += 1

    work = asyncio.gather(*(client(seed) for seed in range(16)))
    while seen.statuses.total() < 64 and time.monotonic() < until:
        await asyncio.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(work, 30)
    return seen


def start(directory: Path, *options: str) -> tuple[subprocess.Popen[bytes], int]:
    """``keel serve`` of one model as a process, once it listens."""
    port = free_port()
    words = ["-m", "keel.cli", "serve", "--model", f"model={directory}", "--port", str(port), *options]
    return listening(words, port, {"KEEL_SERVE_TOKEN": TOKEN}), port


def resident(process: subprocess.Popen[bytes]) -> float:
    """MiB of a process that are in memory."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    from harness import ROOT, environment, parser, write

    sys.path.append(str(ROOT / "tests" / "support"))
    from live_server import conversations, save_small

    from reward_models import RewardModel

    made = parser(__doc__)
    add = made.add_argument
    add("--seconds", type=float, default=120)
    add("--clients", type=int, default=128)
    add("--queue", type=int, default=64)
    arguments = made.parse_args()
    found = environment()
    with tempfile.TemporaryDirectory() as folder:
        directory = save_small(Path(folder) / "model", "preference")
        turns = conversations()
        expected = [score.raw for score in RewardModel.load(directory).score(turns)]
        process, port = start(directory, f"queue={arguments.queue}", "conversations=64", "--max-tokens", "2000")
        try:
            memory, parts = [], []
            for part in range(6):  # the first one warms everything up
                share = arguments.seconds / 6
                options = {"clients": arguments.clients, "bodies": 250, "reload_every": 1.0, "seed": part}
                parts.append(asyncio.run(storm(port, turns, expected, seconds=share, **options)))  # type: ignore[arg-type]
                memory.append(round(resident(process), 1))
                print(part, memory[-1], parts[-1], flush=True)
            last = asyncio.run(ended_under_load(process, port, turns, expected))
            status = process.wait(30)
        finally:
            process.kill()
    together = dict(vars(parts[0]))
    for part in parts[1:]:
        for name, value in vars(part).items():
            together[name] = max(together[name], value) if name in ("largest", "slowest") else together[name] + value
    result = {
        "benchmark": "serving_chaos",
        "storm": together,
        "resident_mib": memory,
        "sigterm": vars(last) | {"exit_status": status},
        "settings": {"seconds": arguments.seconds, "clients": arguments.clients, "queue": arguments.queue},
        "environment": found,
    }
    write(arguments.out, result, ("sigterm",))


if __name__ == "__main__":
    main()
