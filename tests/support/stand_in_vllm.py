"""A server that speaks vLLM's HTTP as far as our client uses it, without a model.

Responses are a function of the prompt and the seed. Weights that are sent arrive in ``received``, by a TCP store.
"""

from __future__ import annotations

import json
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch.distributed import TCPStore


class StandIn:
    """The server's state: what it was asked, and what it does wrong.

    Attributes:
        spoil: changes the answer to a completion request. ``status``: of every answer but ``/health``'s.
        delay: seconds before a completion is answered.
        settings: of the model, as ``/server_info`` tells them. ``hang_ups``: how many of the next completion requests
            find their connection closed, as after a time of idleness. ``root``: the model's directory, as it tells it.
        backend: the way of weights. ``version``: the name of the weights, as the last update gave it.
        updating: a weight update has begun and not ended. ``paused``: requests are not worked on.
        unknown: a weight that the server's model has not.
        weighs: responses depend on the weights too.
        dies_after: so many more completion requests are answered; then it is ``dead`` and closes every connection.
        lora: the highest rank of adapters; ``None``: it takes none. ``loads``: it may load them while it runs.
        adapters: their weights by name; a completion request that names another model than these and its own is
            refused.
        tokenize: the tokenizer of its model. As a teacher it tells −id/10 of every token.
        waiting: the workers wait for weights and answer nothing. ``busy``: requests of somebody else are under way.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.payloads: list[dict[str, Any]] = []
        self.announced: list[tuple[str, str, list[int]]] = []
        self.spoil: Callable[[dict[str, Any]], Any] = lambda answer: answer
        self.status, self.delay, self.url = 200, 0.0, ""
        self.settings = {"logprobs_mode": "processed_logprobs", "dtype": "torch.float32", "max_model_len": 256}
        self.backend: str | None = "keel"
        self.received: dict[str, torch.Tensor] = {}
        self.version = "default"
        self.unknown = ""
        self.hang_ups, self.root = 0, "runs/policy"
        self.weighs, self.dies_after, self.dead = False, -1, False
        self.lora: int | None = None
        self.tokenize: Callable[[str], list[int]] = lambda text: []
        self.loads, self.adapters = True, dict[str, dict[str, torch.Tensor]]()
        self.updating = self.paused = self.waiting = self.busy = False
        self._store: TCPStore | None = None

    def forget(self) -> None:
        """Lose what a server loses that is restarted."""
        self.version, self.received, self.adapters, self._store = "default", {}, {}, None

    def answer(self, path: str, payload: dict[str, Any]) -> Any:
        self.calls.append(path)
        if path == "/v1/models":
            return {"data": [{"id": "policy", "root": self.root, "max_model_len": self.settings["max_model_len"]}]}
        if path == "/server_info":
            way = {"backend": self.backend} if self.backend else None
            lora = None if self.lora is None else {"max_lora_rank": self.lora}
            settings = {"model_config": self.settings, "weight_transfer_config": way, "lora_config": lora}
            return {"vllm_config": settings}
        if path == "/reset_prefix_cache":
            time.sleep(1.0 if self.waiting else 0.0)
            return {"success": not self.busy}
        if path == "/tokenize":
            return {"tokens": self.tokenize(payload["prompt"])}
        if path == "/v1/completions" and "prompt_logprobs" in payload:
            self.payloads.append(payload)
            (ids,) = payload["prompt"]
            told = [None, *({str(token): {"logprob": -token / 10}} for token in ids[1:])]
            return self.spoil({"choices": [{"prompt_logprobs": told}]})
        if path == "/v1/completions":
            return self._complete(payload)
        if path.endswith("_lora_adapter"):
            return self._adapter(path, payload)
        return self._weights(path, payload)

    def _weights(self, path: str, payload: dict[str, Any]) -> Any:
        if path == "/get_world_size":
            return {"world_size": 1}
        if path == "/init_weight_transfer_engine":
            info = payload["init_info"]
            place = (info["master_address"], info["master_port"])
            self._store = TCPStore(*place, is_master=False, wait_for_workers=False, use_libuv=False)
        if path in ("/pause", "/resume"):
            self.paused = path == "/pause"
        if path == "/weight_info":
            return {"weight_version": self.version}
        if path in ("/start_weight_update", "/finish_weight_update"):
            if self.updating == path.startswith("/start"):
                return refused(500, f"{path}: a weight update is already active, or none is")
            self.updating = not self.updating
            self.version = payload.get("weight_version", self.version)
        if path == "/update_weights":
            assert self.paused
            assert self.updating
            if self.unknown in payload["update_info"]["names"]:
                self.updating = False  # as in vLLM, whose layers are half replaced now
                return refused(500, f"There is no module or parameter named {self.unknown!r}")
            self._receive(payload["update_info"])
        return {}

    def _adapter(self, path: str, payload: dict[str, Any]) -> Any:
        if not self.loads:
            return {"error": {"message": "Not Found", "code": 404}}
        if path == "/v1/unload_lora_adapter":
            del self.adapters[payload["lora_name"]]
            return {}
        folder = Path(payload["lora_path"])
        if not folder.is_dir():
            return refused(404, f"Loading lora failed: No adapter found for {folder}")
        settings = json.loads((folder / "adapter_config.json").read_text())
        if self.lora is None or settings["r"] > self.lora:
            return refused(500, f"LoRA rank {settings['r']} is greater than max_lora_rank {self.lora}.")
        self.adapters[payload["lora_name"]] = load_file(folder / "adapter_model.safetensors")
        return b"Success"

    def _receive(self, info: dict[str, Any]) -> None:
        assert self._store is not None
        for name, dtype, shape, key in zip(*(info[k] for k in ("names", "dtype_names", "shapes", "keys")), strict=True):
            self.announced.append((name, dtype, shape))
            weight = torch.frombuffer(bytearray(self._store.get(key)), dtype=getattr(torch, dtype))
            self.received[name] = weight.reshape(shape)

    def _complete(self, payload: dict[str, Any]) -> Any:
        assert not self.paused
        if payload["model"] not in ("policy", *self.adapters):
            return refused(404, f"The model `{payload['model']}` does not exist.")
        self.payloads.append(payload)
        time.sleep(self.delay)
        if payload["temperature"] == 0 and payload["n"] > 1:
            return refused(400, f"n must be 1 when using greedy sampling, got {payload['n']}.")
        weights = b"".join(self.received[name].numpy().tobytes() for name in sorted(self.received))
        payload = payload | {"seed": payload["seed"] + (zlib.crc32(weights) if self.weighs else 0)}
        choices = [choice(p, payload, i) for p in payload["prompt"] for i in range(payload["n"])]
        return self.spoil({"choices": choices})


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


def free_port(count: int = 1) -> int:
    """The first of ``count`` ports in a row that nobody uses."""
    while True:
        with ExitStack() as stack, suppress(OSError):
            first = 0
            for place in range(count):
                probe = stack.enter_context(socket.socket())
                probe.bind(("127.0.0.1", first + place))
                first = first or int(probe.getsockname()[1])
            return first


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """The server, on a free port of this machine."""
    state = StandIn()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # connections are kept

        def do_GET(self) -> None:
            self._reply({})

        def do_POST(self) -> None:
            self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or b"{}"))

        def _reply(self, payload: dict[str, Any]) -> None:
            if self.path == "/v1/completions" and state.hang_ups:
                state.hang_ups -= 1
                self.close_connection = True
                return
            if self.path == "/v1/completions" and state.dies_after >= 0:
                state.dead = state.dead or not state.dies_after
                state.dies_after -= 1
            if state.dead:
                self.close_connection = True
                return
            body = state.answer(self.path.partition("?")[0], payload)
            status = body["error"]["code"] if isinstance(body, dict) and "error" in body else state.status
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(200 if self.path == "/health" else status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            if status >= 500:  # vLLM writes a traceback to its log, and then closes the connection
                time.sleep(0.05)
                self.close_connection = True

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
