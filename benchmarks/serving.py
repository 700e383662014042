"""``keel serve`` against vLLM's ``/classify`` or OpenRLHF's ``serve_rm`` under 64 concurrent clients.

    python benchmarks/serving.py --peer vllm --out benchmarks/results/serving_vllm_cpu.json
    python benchmarks/serving.py --peer openrlhf --openrlhf CHECKOUT --out benchmarks/results/serving_cpu.json

Both servers load the same saved model, run as processes of their own with the same number of threads, and get the same
requests over the peer's protocol: one sample a request, as OpenRLHF and verl send them, and 16 samples of a prompt a
request. Every client has one request under way at a time. They take turns; the scores must agree with the library's.

Two shapes: questions of about 150 tokens with short replies, and questions about retrieved passages, 900 tokens. Every
pass has prompts that no pass before had: ``cold``. Then the same prompts come back with other replies, as the samples
of a rollout do that ends at different times: ``returning``.

``ratio`` is the peer's processor time over ours, all processes of a server together, in the worst of the four cold
cases, and ``ratio_returning`` in the worst of the four returning ones; each is the median over the repeats.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import DATA, environment, median_ratio, parser, write
from http_client import Client
from models import MODELS, nearest_prompts, save_reward_model, with_replies
from rm_training_pairs import write_synthetic
from serving_servers import PEERS, Server, start

from reward_models import RewardModel
from reward_models.data.batching import group_by_prefix
from reward_models.data.sources import load
from reward_models.data.trees import PromptTree
from reward_models.inference.reward_model import split_turns

SETTINGS = ("model", "device", "dtype", "clients", "samples", "max_tokens", "prefix_bytes", "threads")
SHAPES = {"chat": ("hh_helpful_base", 150, 8), "retrieval": ("qa_feedback", 900, 4)}  # file, tokens, prompts
PHASES = ("cold", "returning")


@dataclass
class Figures:
    """All passes of one server over one case."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)  # of the last pass


# --- clients --------------------------------------------------------------------------------------------------------


async def load_with(server: Server, bodies: Sequence[bytes], clients: int) -> tuple[float, list[float], list[float]]:
    """All requests by so many clients; returns wall time, each request's seconds, and all scores in order."""
    seconds, scores = [0.0] * len(bodies), [[0.0]] * len(bodies)
    left = iter(range(len(bodies)))

    async def work() -> None:
        async with Client(server.port) as client:
            for i in left:
                began = time.perf_counter()
                status, _, content = await client.post(server.path, bodies[i])
                if status != 200:
                    raise RuntimeError(f"{status} {content[:200]!r}")
                scores[i] = server.scores(json.loads(content))
                seconds[i] = time.perf_counter() - began

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(clients)))
    return time.perf_counter() - began, seconds, [score for each in scores for score in each]


def ask(server: Server, texts: Sequence[str], size: int, clients: int, into: Figures) -> None:
    """One pass over requests of ``size`` samples."""
    parts = [texts[at : at + size] for at in range(0, len(texts), size)]
    bodies = [json.dumps(server.body(part)).encode() for part in parts]
    before = server.cpu_seconds
    wall, seconds, into.scores = asyncio.run(load_with(server, bodies, clients))
    into.cpu.append(server.cpu_seconds - before)
    into.wall.append(wall)
    into.latencies += seconds


# --- the measurement ------------------------------------------------------------------------------------------------


def passes(model: RewardModel, records: Any, arguments: argparse.Namespace) -> Iterator[list[list[str]]]:
    """The texts of a cold pass and of a returning one, again and again; no prompt comes in two of them."""
    rng = np.random.default_rng(arguments.seed)
    prompts = nearest_prompts(records, model.renderer.tokenizer, arguments.prompt_tokens)
    for at in range(0, len(prompts) - arguments.prompts + 1, arguments.prompts):
        some = prompts[at : at + arguments.prompts]
        drawn = [with_replies(some, records, arguments.samples, rng) for _ in PHASES]
        yield [[model.renderer.text(*split_turns(turns)) for turns in each] for each in drawn]


def shape(arguments: argparse.Namespace, file: Path) -> dict[str, Any]:
    """All figures for conversations of one shape."""
    records = load([str(file)], "comparison").records
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "model"
        save_reward_model(directory, records, arguments)
        model = RewardModel.load(directory, device=arguments.device, max_tokens=arguments.max_tokens)
        texts = passes(model, records, arguments)
        servers: dict[str, Server] = {}
        try:
            for name in ("keel", *([arguments.peer] if arguments.peer else [])):
                servers[name] = start(name, directory, arguments)
            found = {
                way: measure(servers, model, texts, size, arguments)
                for way, size in (("one_sample_a_request", 1), (f"groups_of_{arguments.samples}", arguments.samples))
            }
        finally:
            for server in servers.values():
                server.stop()
    return {"data": file.name, "prompts": arguments.prompts, **found}


def measure(
    servers: dict[str, Server],
    model: RewardModel,
    passes: Iterator[list[list[str]]],
    size: int,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """The servers in turn, over requests of ``size`` samples; who begins changes with every repeat."""
    figures = {name: {phase: Figures() for phase in PHASES} for name in servers}
    warm = next(passes)[0][: 16 * max(1, size // 16)]
    for server in servers.values():
        ask(server, warm, size, arguments.clients, Figures())
    loads, texts = [], {}
    for repeat in range(arguments.repeats):
        texts = dict(zip(PHASES, next(passes), strict=True))
        loads.append(round(os.getloadavg()[0], 2))
        for name in list(servers)[:: -1 if repeat % 2 else 1]:
            for phase in PHASES:
                ask(servers[name], texts[phase], size, arguments.clients, figures[name][phase])
    result: dict[str, Any] = {"load_averages": loads}
    for phase in PHASES:
        sequences = model.encode_texts(texts[phase])
        groups = group_by_prefix(sequences)
        expected = [score.raw for score in model.score_sequences(sequences, groups)]
        of_phase = {name: each[phase] for name, each in figures.items()}
        result[phase] = summary(of_phase, expected, len(texts[phase]) // size)
        tokens = sum(PromptTree.from_sequences([sequences[i] for i in group]).tokens for group in groups)
        result[phase]["tokens"] = {"all": int(sum(map(len, sequences))), "prompt_shared": tokens}
    return result


def summary(figures: dict[str, Figures], expected: Sequence[float], requests: int) -> dict[str, Any]:
    apart = {n: max(abs(a - b) for a, b in zip(f.scores, expected, strict=True)) for n, f in figures.items()}
    result: dict[str, Any] = {
        "requests": requests,
        "seconds": {name: [round(s, 3) for s in f.wall] for name, f in figures.items()},
        "cpu_seconds": {name: [round(s, 3) for s in f.cpu] for name, f in figures.items()},
        "requests_per_second": {n: round(requests / statistics.median(f.wall), 2) for n, f in figures.items()},
        "p50_seconds": {n: round(float(np.percentile(f.latencies, 50)), 3) for n, f in figures.items()},
        "p99_seconds": {n: round(float(np.percentile(f.latencies, 99)), 3) for n, f in figures.items()},
        "largest_score_difference": apart,
    }
    if peer := next((figures[name] for name in figures if name != "keel"), None):
        result["ratio_wall"] = median_ratio(peer.wall, figures["keel"].wall)
        result["ratio_cpu"] = median_ratio(peer.cpu, figures["keel"].cpu)
    return result


# --- command line ---------------------------------------------------------------------------------------------------


def parse() -> argparse.Namespace:
    made = parser(__doc__, repeats=3, device=True)
    add = made.add_argument
    add("--peer", choices=tuple(PEERS), help="default: only keel serve is measured")
    add("--openrlhf", type=Path, help="checkout of OpenRLHF")
    add("--data", default=str(DATA / "helpful"), help="a folder with the files of --shapes, or: synthetic")
    add("--shapes", nargs="+", default=list(SHAPES), choices=tuple(SHAPES))
    add("--model", choices=tuple(MODELS), default="12.6m")
    add("--clients", type=int, default=64)
    add("--samples", type=int, default=16)
    add("--prompts", type=int, help="prompts of a pass; default: 8 chats, 4 retrievals")
    add("--max-tokens", type=int, help="of a forward pass of ours; default: keel serve's")
    add("--prefix-bytes", type=int, default=2**30, help="memory for kept prefixes, of ours and on a CPU of vLLM")
    arguments = made.parse_args()
    if arguments.peer == "openrlhf" and arguments.openrlhf is None:
        made.error("--peer openrlhf needs --openrlhf, a checkout")
    return arguments


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    found = environment(arguments.seed, arguments.threads)
    result: dict[str, Any] = {
        "benchmark": "serving",
        "peer": PEERS.get(arguments.peer),
        "peer_commit": _commit(arguments.openrlhf),
        "settings": {k: getattr(arguments, k) for k in SETTINGS},
        "repeats": arguments.repeats,
    }
    for name in arguments.shapes:
        stem, tokens, prompts = SHAPES[name]
        given = {"prompt_tokens": tokens, "prompts": arguments.prompts or prompts}
        with tempfile.TemporaryDirectory() as folder:
            file = Path(arguments.data) / f"{stem}.train.jsonl.gz"
            if arguments.data == "synthetic":
                file = Path(folder) / f"{stem}.jsonl"
                count = max(given["prompts"] * 2 * (arguments.repeats + 2), arguments.samples)
                write_synthetic(file, count, arguments.seed, words=(int(1.2 * tokens), int(1.6 * tokens)))
            result[name] = shape(argparse.Namespace(**vars(arguments) | given), file)
        print(json.dumps(result[name], indent=1), flush=True)
        write(arguments.out, conclusion(result, found), ("ratio", "ratio_returning"))


def conclusion(result: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """The result so far: a run that is stopped leaves the shapes that it has measured."""
    result = dict(result)
    shapes = [result[name] for name in SHAPES if name in result]
    if result["peer"]:
        for key, phase in (("ratio", "cold"), ("ratio_returning", "returning")):
            cases = [way[phase] for each in shapes for way in each.values() if isinstance(way, dict)]
            result[key] = min(case["ratio_cpu"] for case in cases)
            result[f"{key}_wall"] = min(case["ratio_wall"] for case in cases)
        result["ratio_is"] = "processor seconds of the peer over ours, the worst case"
    return result | {"environment": found}


def _commit(checkout: Path | None) -> str | None:
    if checkout is None:
        return None
    words = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip() or None


if __name__ == "__main__":
    main()
