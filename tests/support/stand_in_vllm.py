"""A server that speaks vLLM's HTTP as far as TRL's client uses it, without a model, and a client without NCCL.

Responses are a function of the prompt and the seed. Weights that are sent arrive in ``received``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from unittest.mock import patch

import numpy as np
import torch


class StandIn:
    """The server's state: what it was asked, and what it does wrong.

    Attributes:
        spoil: changes the answer to a completion request. ``status``: of every answer but ``/health``'s.
        delay: seconds before a completion is answered.
        settings: of the model, as ``/server_info`` tells them. ``hang_ups``: how many of the next completion requests
            find their connection closed, as after a time of idleness.
        updating: a weight update has begun and not ended. ``waiting``: the workers wait for weights and answer nothing.
        busy: requests of somebody else are under way.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.payloads: list[dict[str, Any]] = []
        self.announced: list[tuple[str, str, list[int]]] = []
        self.spoil: Callable[[dict[str, Any]], Any] = lambda answer: answer
        self.status, self.delay, self.url = 200, 0.0, ""
        self.settings = {"logprobs_mode": "processed_logprobs", "dtype": "torch.float32", "max_model_len": 256}
        self.hang_ups = 0
        self.updating = self.waiting = self.busy = False

    def answer(self, path: str, payload: dict[str, Any]) -> Any:
        self.calls.append(path)
        if path == "/v1/models":
            return {"data": [{"id": "policy"}]}
        if path == "/server_info":
            return {"vllm_config": {"model_config": self.settings, "weight_transfer_config": {"backend": "nccl"}}}
        if path == "/reset_prefix_cache":
            time.sleep(1.0 if self.waiting else 0.0)
            return {"success": not self.busy}
        if path in ("/start_weight_update", "/finish_weight_update"):
            if self.updating == path.startswith("/start"):
                return refused(500, f"{path}: a weight update is already active, or none is")
            self.updating = not self.updating
        if path == "/update_weights":
            info = payload["update_info"]
            self.announced += zip(info["names"], info["dtype_names"], info["shapes"], strict=True)
        if path == "/v1/completions":
            self.payloads.append(payload)
            time.sleep(self.delay)
            if payload["temperature"] == 0 and payload["n"] > 1:
                return refused(400, f"n must be 1 when using greedy sampling, got {payload['n']}.")
            choices = [choice(p, payload, i) for p in payload["prompt"] for i in range(payload["n"])]
            return self.spoil({"choices": choices})
        return {}


def refused(status: int, message: str) -> dict[str, Any]:
    """vLLM's answer to a request that fails."""
    return {"error": {"message": message, "code": status}}


def expected(prompt: list[int], seed: int, limit: int, end: int) -> list[int]:
    """The response of the server: between 1 and ``limit`` tokens, with an end token where it is fewer."""
    rng = np.random.default_rng([seed, *prompt])
    tokens = rng.integers(3, 20, int(rng.integers(1, limit + 1))).tolist()
    return tokens if len(tokens) == limit else [*tokens, end]


def choice(prompt: list[int], payload: dict[str, Any], number: int) -> dict[str, Any]:
    tokens = expected(prompt, payload["seed"] + number, payload["max_tokens"], payload["stop_token_ids"][0])
    names = [f"token_id:{token}" for token in tokens]
    values = [-token / 10 for token in tokens]
    top = [{name: value} for name, value in zip(names, values, strict=True)]
    logprobs = {"tokens": names, "token_logprobs": values, "top_logprobs": top}
    return {"prompt_token_ids": prompt, "token_ids": tokens, "logprobs": logprobs}


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """The server, on a free port of this machine."""
    state = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply({})

        def do_POST(self) -> None:
            self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or b"{}"))

        def _reply(self, payload: dict[str, Any]) -> None:
            if self.path == "/v1/completions" and state.hang_ups:
                state.hang_ups -= 1
                self.close_connection = True
                return
            body = state.answer(self.path.partition("?")[0], payload)
            status = body["error"]["code"] if isinstance(body, dict) and "error" in body else state.status
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(200 if self.path == "/health" else status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def client_without_nccl(received: dict[str, torch.Tensor]) -> Iterator[None]:
    """TRL's client believes that vLLM is installed, and its NCCL is ``received``."""
    from trl.generation import vllm_client

    def broadcast(
        iterator: Iterator[tuple[str, torch.Tensor]], group: Any, src: int, post_iter_func: Callable[[Any], Any]
    ) -> None:
        received.update((item[0], post_iter_func(item).clone()) for item in iterator)

    with (
        patch.object(vllm_client, "is_vllm_available", lambda *_, **__: True),
        patch.object(vllm_client, "_HAS_STATEFUL_TRAINER_ENGINE", True),  # the interface of vLLM from 0.28 on
        patch.object(vllm_client, "packed_nccl_broadcast_producer", broadcast, create=True),
        patch.object(vllm_client.VLLMClient, "init_communicator", lambda self, device: None),
    ):
        yield
