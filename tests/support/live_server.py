"""A server in a thread of the test's process, and small models for it."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import torch
from http_client import Client

from reward_models import RewardModel
from reward_models.backbone.config import ModelConfig
from reward_models.data.chat import ChatRenderer, train_tokenizer
from reward_models.model import build_model, save_model
from reward_models.serving.limits import Limits
from reward_models.serving.metrics import Metrics
from reward_models.serving.model_service import ModelService
from reward_models.serving.registry import Registry
from reward_models.serving.server import Address, Server, make_server
from reward_models.serving.service import Service

WORDS = [
    "one",
    "two",
    "three",
    "four",
    "yes",
    "no",
    "it",
    "is",
    "what",
    "why",
    "because",
    "plus",
    "minus",
    "hello",
    "world",
]
SHAPE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
DECODER = {"model_type": "qwen3", "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 4096}


def save_small(directory: Path, task: str, *, seed: int = 0, span: str = "full", settings: Any = None) -> Path:
    """A model of random weights, saved as a trained one is."""
    torch.manual_seed(seed)
    tokenizer = train_tokenizer([" ".join(WORDS)], 400)
    config = ModelConfig(config={**SHAPE, **(settings or DECODER), "initializer_range": 0.3})
    scorer = build_model(config, tokenizer, task, torch.float32)
    facts = {
        "task": task,
        "span": span,
        "template_fingerprint": ChatRenderer(tokenizer, span).fingerprint,  # type: ignore[arg-type]
        "calibration": {"n": 50, "mean": 0.25, "std": 0.5, "temperature": 2.0},
    }
    save_model(scorer, scorer.model.state_dict(), directory, tokenizer, facts, None)
    return directory


@dataclass
class Live:
    """A server that runs."""

    port: int
    registry: Registry
    metrics: Metrics
    server: Server

    def call(self, method: str, path: str, **options: Any) -> httpx2.Response:
        return httpx2.request(method, f"http://127.0.0.1:{self.port}{path}", timeout=60, **options)

    def post(self, path: str, body: Any, **options: Any) -> httpx2.Response:
        return self.call("POST", path, json=body, **options)

    def scores(self, model: str, conversations: Sequence[Any]) -> list[float]:
        answer = self.post("/v1/score", {"model": model, "conversations": conversations})
        assert answer.status_code == 200, answer.text
        return [each["raw"] for each in answer.json()["results"]]

    def at_once(self, path: str, bodies: Sequence[Any], clients: int) -> list[tuple[int, dict[str, str], Any]]:
        """All requests by so many clients at the same time."""
        answers: list[Any] = [None] * len(bodies)
        left = iter(range(len(bodies)))

        async def work() -> None:
            async with Client(self.port) as client:
                for i in left:
                    status, headers, content = await client.post(path, json.dumps(bodies[i]).encode())
                    answers[i] = status, headers, json.loads(content)

        async def everybody() -> None:
            await asyncio.gather(*(work() for _ in range(clients)))

        asyncio.run(everybody())
        return answers


@contextmanager
def running(
    loaders: dict[str, Callable[[Metrics], Service]], limits: Limits | None = None, token: str | None = None
) -> Iterator[Live]:
    """Serve on a free port until the block ends."""
    limits, metrics = limits or Limits(), Metrics()
    registry = Registry({name: partial(load, metrics) for name, load in loaders.items()}, metrics)
    server = make_server(registry, Address(port=0, token=token), limits, metrics, log_level="warning")
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 30
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Live(port, registry, metrics, server)
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "the server did not end"


def model_loader(name: str, directory: Path, limits: Limits | None = None, **options: Any) -> Callable[..., Service]:
    """A loader for :func:`running`: it loads the model from its directory each time it is called."""
    return lambda metrics: ModelService(name, RewardModel.load(directory, **options), limits or Limits(), metrics)


def conversations(groups: int = 12, size: int = 6) -> list[list[dict[str, str]]]:
    """Pairs and groups over common prompts, short and long."""
    rng = random.Random(5)

    def text(longest: int) -> str:
        return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, longest)))

    out = []
    for group in range(groups):
        prompt = [{"role": "user", "content": text(80 if group % 3 else 8)}]
        if group % 4 == 0:
            prompt += [{"role": "assistant", "content": text(9)}, {"role": "user", "content": text(20)}]
        out += [[*prompt, {"role": "assistant", "content": text(60 if i % 2 else 5)}] for i in range(size)]
    return out
