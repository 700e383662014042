"""``keel serve`` against OpenRLHF's ``serve_rm`` under 64 concurrent clients, and against the bare forward pass.

    python benchmarks/serving.py --openrlhf CHECKOUT --out benchmarks/results/serving_cpu.json

Both servers load the same saved model, run as processes of their own with the same number of threads, and get the same
requests over the same protocol, ``/get_reward``: first one sample a request, as OpenRLHF and verl send them, then 16
samples of a prompt a request. Every client has one request under way at a time. They take turns; the scores must agree.

``work`` counts the multiplications that each cannot do without: the peer computes every sample with its prompt, and a
request's samples padded to the longest; ours a prompt once for all of its samples. Where a device computes one sequence
as fast per token as many, as a CPU core does, their ratio is what can be gained.

The peer is ``RewardModelProxy`` of a checkout of github.com/OpenRLHF/OpenRLHF itself, and the handler around it with
the lines of ``openrlhf/cli/serve_rm.py``, where it cannot be imported. Two things differ: packages that other parts of
it import and that are not installed, such as ``flash_attn``, are empty modules; and it loads fp32 unless ``--dtype``
says otherwise.

Two shapes: questions of about 150 tokens with short replies, and questions about retrieved passages, 900 tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.machinery
import json
import logging
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch
from environment import ROOT, environment
from http_client import Client
from rm_training import MODELS
from scoring import conversations, save

from reward_models import RewardModel
from reward_models.data.batching import group_by_prefix
from reward_models.data.sources import load
from reward_models.data.trees import PromptTree
from reward_models.inference.reward_model import DTYPES, split_turns

NAMES = ("openrlhf", "keel")
SETTINGS = ("model", "device", "dtype", "clients", "samples", "max_tokens")
SHAPES = {"chat": ("hh_helpful_base", 150, 8), "retrieval": ("qa_feedback", 900, 4)}  # file, tokens, prompts


# --- the peer -------------------------------------------------------------------------------------------------------


def serve_peer(arguments: argparse.Namespace) -> None:
    """OpenRLHF's server: its class, and the lines of its main program around it."""
    import uvicorn
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse

    torch.set_num_threads(arguments.threads)
    proxy = _proxy(arguments)
    logger = logging.getLogger("openrlhf.cli.serve_rm")
    app = FastAPI()

    async def get_reward(request: Request) -> JSONResponse:
        data = await request.json()
        queries = data.get("query")
        rewards = proxy.get_reward(queries)
        result = {"rewards": rewards, "scores": rewards, "extra_logs": {"dummy_scores": rewards}}
        logger.info(f"Sent JSON: {result}")
        return JSONResponse(result)

    get_reward.__annotations__["request"] = Request
    app.post("/get_reward")(get_reward)
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="info")


def _proxy(arguments: argparse.Namespace) -> Any:
    sys.path.insert(0, str(arguments.openrlhf))
    while True:
        try:
            module = importlib.import_module("openrlhf.cli.serve_rm")
            break
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("openrlhf"):
                raise
            sys.modules[error.name] = _Empty(error.name)
    dtype = DTYPES[arguments.dtype]
    sys.modules["openrlhf.utils.utils"].convert_to_torch_dtype = lambda name: dtype  # type: ignore[attr-defined]
    return module.RewardModelProxy(
        SimpleNamespace(
            reward=SimpleNamespace(model_name_or_path=str(arguments.serve_peer), normalize_enable=False),
            ds=SimpleNamespace(
                attn_implementation="sdpa",
                experts_implementation=None,
                param_dtype="bf16",
                load_in_4bit=False,
                value_head_prefix="score",
                packing_samples=False,
            ),
            data=SimpleNamespace(disable_fast_tokenizer=False, max_len=arguments.peer_max_len),
            batch_size=None,
        )
    )


class _Empty(ModuleType):
    """A module of which anything can be imported and nothing used."""

    __path__: list[str] = []  # noqa: RUF012 (a package)

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = importlib.machinery.ModuleSpec(name, None)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(side_effect=ImportError(f"{self.__name__} is not installed"))


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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if name == "keel":
        words = ["-m", "keel.cli", "serve", "--model", f"model={directory}", "--port", str(port)]
        words += ["--device", arguments.device]
        words += ["--max-tokens", str(arguments.max_tokens)] if arguments.max_tokens else []
    else:
        words = [__file__, "--serve-peer", str(directory), "--openrlhf", str(arguments.openrlhf), "--port", str(port)]
        words += ["--threads", str(arguments.threads), "--dtype", arguments.dtype, "--out", os.devnull]
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "benchmarks")))
    variables = os.environ | {"OMP_NUM_THREADS": str(arguments.threads), "PYTHONPATH": paths}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, *words], env=variables, **pipes)
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                drain(process)
                return process, port
        time.sleep(0.2)
    process.kill()
    raise RuntimeError(f"{name} did not start: {process.stderr.read().decode()[-2000:] if process.stderr else ''}")


def drain(process: subprocess.Popen[bytes]) -> None:
    """Read the log away, which would fill the pipe."""
    import threading

    assert process.stderr is not None
    threading.Thread(target=process.stderr.read, daemon=True).start()


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
        save(directory, records, arguments)
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
    latencies: dict[str, list[float]] = {name: [] for name in servers}
    rewards: dict[str, list[float]] = {}
    for _, port in servers.values():  # warm-up
        asyncio.run(load_with(port, bodies[: max(1, 16 // size)], arguments.clients))
    bare(model, sequences[:under_way], under_way)
    for _ in range(arguments.repeats):
        for name, (_, port) in servers.items():
            wall, seconds, found = asyncio.run(load_with(port, bodies, arguments.clients))
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
        "requests_per_second": {n: round(len(bodies) / statistics.median(runs[n]), 2) for n in servers},
        "p50_seconds": {n: round(float(np.percentile(v, 50)), 3) for n, v in latencies.items()},
        "p99_seconds": {n: round(float(np.percentile(v, 99)), 3) for n, v in latencies.items()},
        "over_bare_forward": round(statistics.median(_ratios(runs["keel"], runs["bare"])) - 1, 3),
        "largest_score_difference": apart,
    }
    if "openrlhf" in runs:
        result["times_openrlhf"] = round(statistics.median(_ratios(runs["openrlhf"], runs["keel"])), 2)
    return result


def _ratios(a: Sequence[float], b: Sequence[float]) -> list[float]:
    return [x / y for x, y in zip(a, b, strict=True)]


def main() -> None:
    data = Path(os.environ.get("KEEL_DATA", ROOT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="JSON file to write")
    add("--openrlhf", type=Path, help="checkout of OpenRLHF; without it only keel serve is measured")
    add("--data", type=Path, default=data / "helpful")
    add("--shapes", nargs="+", default=list(SHAPES), choices=tuple(SHAPES))
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--dtype", choices=("fp32", "bf16"), default="fp32", help="of both; OpenRLHF's own default is bf16")
    add("--model", choices=tuple(MODELS), default="12.6m")
    add("--clients", type=int, default=64)
    add("--samples", type=int, default=16)
    add("--max-tokens", type=int, help="of a forward pass of ours; default: keel serve's")
    add("--repeats", type=int, default=3)
    add("--threads", type=int, default=os.cpu_count())
    add("--seed", type=int, default=0)
    add("--serve-peer", type=Path, metavar="DIR", help=argparse.SUPPRESS)
    add("--port", type=int, help=argparse.SUPPRESS)
    add("--peer-max-len", type=int, default=2048, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve_peer is not None:
        serve_peer(arguments)
        return
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
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _commit(checkout: Path | None) -> str | None:
    if checkout is None:
        return None
    words = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip() or None


if __name__ == "__main__":
    main()
