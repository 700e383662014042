"""``keel serve`` against OpenRLHF's ``serve_rm`` under 64 concurrent clients, and against the bare forward pass.

    python benchmarks/serving.py --openrlhf CHECKOUT --out benchmarks/results/serving_cpu.json

Both servers load the same saved model, run as processes of their own with the same number of threads, and get the same
requests over the same protocol, ``/get_reward``: first one sample a request, as OpenRLHF and verl send them, then 16
samples of a prompt a request. Every client has one request under way at a time. They take turns; the scores must agree.

``work`` counts the multiplications that each cannot do without: the peer computes every sample with its prompt, and a
request's samples padded to the longest; ours a prompt once for all of its samples. Where a device computes one sequence
as fast per token as many, as a CPU core does, their ratio is what can be gained.

The peer is in ``serving_peer.py``.

Two shapes: questions of about 150 tokens with short replies, and questions about retrieved passages, 900 tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import DATA, cpu_seconds, environment, parser, ratios, write
from http_client import Client, free_port, listening
from models import MODELS, conversations, save_reward_model

from reward_models import RewardModel
from reward_models.data.batching import group_by_prefix
from reward_models.data.sources import load
from reward_models.data.trees import PromptTree
from reward_models.inference.reward_model import split_turns

NAMES = ("openrlhf", "keel")
SETTINGS = ("model", "device", "dtype", "clients", "samples", "max_tokens")
SHAPES = {"chat": ("hh_helpful_base", 150, 8), "retrieval": ("qa_feedback", 900, 4)}  # file, tokens, prompts


# --- clients --------------------------------------------------------------------------------------------------------


async def load_with(port: int, bodies: Sequence[bytes], clients: int) -> tuple[float, list[float], list[list[float]]]:
    """All requests by so many clients; returns wall time, each request's seconds, and the rewards."""
    seconds, rewards = [0.0] * len(bodies), [[0.0]] * len(bodies)
    left = iter(range(len(bodies)))

    async def work() -> None:
        async with Client(port) as client:
            for i in left:
                began = time.perf_counter()
                status, _, content = await client.post("/get_reward", bodies[i])
                if status != 200:
                    raise RuntimeError(f"{status} {content[:200]!r}")
                rewards[i] = json.loads(content)["rewards"]
                seconds[i] = time.perf_counter() - began

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(clients)))
    return time.perf_counter() - began, seconds, rewards


# --- the measurement ------------------------------------------------------------------------------------------------


def start(name: str, directory: Path, arguments: argparse.Namespace) -> tuple[subprocess.Popen[bytes], int]:
    """A server as a process, once it answers."""
    port = free_port()
    if name == "keel":
        words = ["-m", "keel.cli", "serve", "--model", f"model={directory}", "--port", str(port)]
        words += ["--device", arguments.device]
        words += ["--max-tokens", str(arguments.max_tokens)] if arguments.max_tokens else []
    else:
        script = str(Path(__file__).with_name("serving_peer.py"))
        words = [script, "--model", str(directory), "--openrlhf", str(arguments.openrlhf), "--port", str(port)]
        words += ["--threads", str(arguments.threads), "--dtype", arguments.dtype]
    return listening(words, port, {"OMP_NUM_THREADS": str(arguments.threads)}), port


def bare(model: RewardModel, sequences: Sequence[np.ndarray], size: int) -> float:
    """Seconds of the forward passes alone, over the same tokens in batches of so many sequences."""
    parts = [sequences[at : at + size] for at in range(0, len(sequences), size)]
    grouped = [group_by_prefix(part) for part in parts]
    began = time.perf_counter()
    for part, groups in zip(parts, grouped, strict=True):
        model.score_sequences(part, groups)
    return time.perf_counter() - began


def shape(arguments: argparse.Namespace, file: Path, openrlhf: bool) -> dict[str, Any]:
    """All figures for conversations of one shape."""
    records = load([str(file)], "comparison").records
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "model"
        save_reward_model(directory, records, arguments)
        model = RewardModel.load(directory, device=arguments.device, max_tokens=arguments.max_tokens)
        turns = conversations(records, model.renderer.tokenizer, arguments)
        pairs = [split_turns(each) for each in turns]
        texts = [model.renderer.text(*pair) for pair in pairs]
        sequences = model.encode(pairs)
        servers = {name: start(name, directory, arguments) for name in NAMES if openrlhf or name == "keel"}
        try:
            found = {
                way: measure(servers, model, texts, sequences, size, arguments)
                for way, size in (("one_sample_a_request", 1), ("groups_of_16", arguments.samples))
            }
        finally:
            for process, _ in servers.values():
                process.terminate()
                process.wait(30)
    lengths = np.array([len(s) for s in sequences])
    shared = sum(tree.tokens for tree in _trees(sequences))
    tokens = {"all": int(lengths.sum()), "prompt_shared": shared, "mean": round(float(lengths.mean()), 1)}
    return {"data": file.name, "prompts": arguments.prompts, "tokens": tokens, **found}


def _trees(sequences: Sequence[np.ndarray]) -> list[PromptTree]:
    return [PromptTree.from_sequences([sequences[i] for i in group]) for group in group_by_prefix(sequences)]


def work(model: RewardModel, sequences: Sequence[np.ndarray], size: int) -> dict[str, float]:
    """10⁹ multiplications of both over all requests of ``size`` samples: linear layers, and causal attention."""
    config: Any = model.scorer.classifier.config
    linear = sum(p.numel() for name, p in model.scorer.model.named_parameters() if p.ndim == 2 and "embed" not in name)
    of_pair = 2 * config.num_hidden_layers * config.num_attention_heads * config.head_dim  # query · key, weight · value

    def triangle(length: int) -> int:
        return length * (length + 1) // 2

    lengths = [len(s) for s in sequences]
    parts = [lengths[at : at + size] for at in range(0, len(lengths), size)]
    padded = [max(part) for part in parts for _ in part]
    theirs = linear * sum(padded) + of_pair * sum(map(triangle, padded))
    ours = 0
    for tree in _trees(sequences):
        twice = (len(tree.branches) - 1) * triangle(len(tree.prompt))
        ours += linear * tree.tokens + of_pair * (sum(triangle(len(s)) for s in tree.sequences) - twice)
    return {"openrlhf": round(theirs / 1e9, 1), "keel": round(ours / 1e9, 1), "ratio": round(theirs / ours, 2)}


def measure(
    servers: dict[str, tuple[subprocess.Popen[bytes], int]],
    model: RewardModel,
    texts: Sequence[str],
    sequences: Sequence[np.ndarray],
    size: int,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """The servers and the bare forward pass in turn, over requests of ``size`` samples."""
    queries = [list(texts[at : at + size]) for at in range(0, len(texts), size)]
    bodies = [json.dumps({"query": q, "prompts": q, "labels": [""] * len(q)}).encode() for q in queries]
    under_way = min(arguments.clients, len(bodies)) * size
    runs: dict[str, list[float]] = {name: [] for name in (*servers, "bare")}
    cpu: dict[str, list[float]] = {name: [] for name in servers}
    latencies: dict[str, list[float]] = {name: [] for name in servers}
    rewards: dict[str, list[float]] = {}
    for _, port in servers.values():  # warm-up
        asyncio.run(load_with(port, bodies[: max(1, 16 // size)], arguments.clients))
    bare(model, sequences[:under_way], under_way)
    for _ in range(arguments.repeats):
        for name, (process, port) in servers.items():
            before = cpu_seconds(process)
            wall, seconds, found = asyncio.run(load_with(port, bodies, arguments.clients))
            cpu[name].append(cpu_seconds(process) - before)
            runs[name].append(wall)
            latencies[name] += seconds
            rewards[name] = [value for each in found for value in each]
        runs["bare"].append(bare(model, sequences, under_way))
    expected = [score.raw for score in model.score_sequences(sequences, group_by_prefix(sequences))]
    apart = {n: max(abs(a - b) for a, b in zip(values, expected, strict=True)) for n, values in rewards.items()}
    result: dict[str, Any] = {
        "requests": len(bodies),
        "work": work(model, sequences, size),
        "seconds": {name: [round(s, 3) for s in values] for name, values in runs.items()},
        "cpu_seconds": {name: [round(s, 3) for s in values] for name, values in cpu.items()},
        "requests_per_second": {n: round(len(bodies) / statistics.median(runs[n]), 2) for n in servers},
        "p50_seconds": {n: round(float(np.percentile(v, 50)), 3) for n, v in latencies.items()},
        "p99_seconds": {n: round(float(np.percentile(v, 99)), 3) for n, v in latencies.items()},
        "over_bare_forward": round(statistics.median(ratios(runs["keel"], runs["bare"])) - 1, 3),
        "largest_score_difference": apart,
    }
    if "openrlhf" in runs:
        result["times_openrlhf"] = round(statistics.median(ratios(runs["openrlhf"], runs["keel"])), 2)
    return result


def main() -> None:
    made = parser(__doc__, repeats=3, device=True)
    add = made.add_argument
    add("--openrlhf", type=Path, help="checkout of OpenRLHF; without it only keel serve is measured")
    add("--data", type=Path, default=DATA / "helpful")
    add("--shapes", nargs="+", default=list(SHAPES), choices=tuple(SHAPES))
    add("--model", choices=tuple(MODELS), default="12.6m")
    add("--clients", type=int, default=64)
    add("--samples", type=int, default=16)
    add("--max-tokens", type=int, help="of a forward pass of ours; default: keel serve's")
    arguments = made.parse_args()
    torch.set_num_threads(arguments.threads)
    found = environment(arguments.seed, arguments.threads)
    result: dict[str, Any] = {
        "benchmark": "serving",
        "peer": "RewardModelProxy of openrlhf/cli/serve_rm.py, SDPA, behind the handler of that file",
        "peer_commit": _commit(arguments.openrlhf),
        "settings": {k: getattr(arguments, k) for k in SETTINGS},
        "repeats": arguments.repeats,
    }
    for name in arguments.shapes:
        stem, tokens, prompts = SHAPES[name]
        wanted = argparse.Namespace(**vars(arguments) | {"prompt_tokens": tokens, "prompts": prompts})
        file = arguments.data / f"{stem}.train.jsonl.gz"
        result[name] = shape(wanted, file, arguments.openrlhf is not None)
        print(json.dumps(result[name], indent=1), flush=True)
    result["environment"] = found
    write(arguments.out, result, ())


def _commit(checkout: Path | None) -> str | None:
    if checkout is None:
        return None
    words = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip() or None


if __name__ == "__main__":
    main()
