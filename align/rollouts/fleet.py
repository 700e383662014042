"""The vLLM servers that share a rollout's prompts: which one is asked, and what becomes of the prompts of a lost one.

Only the main rank has a fleet. A response is a function of the weights, the prompt and its seed, so that it does not
matter which server gives it, as far as vLLM's bits do not depend on what else it computes.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import torch

from align.rollouts.adapters import AdapterFolder
from align.rollouts.base import Sampling
from align.rollouts.choices import Response, read_choices
from align.rollouts.server import RestartedError, Server
from align.rollouts.vllm_client import POLL_SECONDS, RefusedRequestError, VllmClient, problem_of
from reward_models.http_retry import named

PROBE_SECONDS = 2.0  # for a lost server to say whether it is back
QUIET_SECONDS = 3.0  # of connecting, before it is said what a run waits for
REJOIN_SECONDS = 30.0
RECENT = 0.1  # weight of a new answer in the expected length of a response


class ServersLostError(OSError):
    """No server is left; the message names each with the reason."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The responses to one prompt, when they were asked for and when they came (seconds since the epoch), and from
    whom.
    """

    responses: list[Response]
    began: float
    ended: float
    url: str


class Fleet:
    """The servers at ``urls``, the first of which meets the trainer at ``group_port``, the next one port further.

    Args:
        model: in training. ``device``: of the trainer.
        adapters: written for the servers, which then get the frozen weights once; ``None``: they get all weights.
        say: reports what happens to servers.
    """

    def __init__(
        self,
        model: Any,
        urls: Sequence[str],
        device: torch.device,
        *,
        group_port: int,
        start_seconds: float,
        request_seconds: float,
        adapters: AdapterFolder | None,
        say: Callable[[str], None],
    ) -> None:
        self._model, self._device, self._start_seconds, self._say = model, device, start_seconds, say
        self.servers = [
            Server(url, group_port + number, VllmClient(url, request_seconds)) for number, url in enumerate(urls)
        ]
        self._run = f"keel-{uuid.uuid4().hex}"
        self._adapters = adapters
        self._lock = threading.Lock()  # of loads and losses
        self._due: list[Server] = []  # of the update under way
        self._expected: float | None = None  # tokens of a response
        self._moved = 0

    @property
    def used(self) -> list[Server]:
        return [server for server in self.servers if not server.lost]

    @property
    def max_tokens(self) -> int:
        """Most tokens of a prompt with its response, on every server."""
        return min(server.max_tokens for server in self.servers)

    def join(self) -> None:
        """Connect with every server at the same time; at the start all of them must be there."""
        with ThreadPoolExecutor(len(self.servers)) as pool:
            joined = [pool.submit(self._join, each, self._start_seconds) for each in self.servers]
            missing = wait(joined, timeout=QUIET_SECONDS).not_done
            if absent := [server.url for server, each in zip(self.servers, joined, strict=True) if each in missing]:
                limit = f"at most {self._start_seconds:g} s (rollout.vllm_start_seconds)"
                self._say(f"waiting for {', '.join(absent)} to be up and connected, {limit}")
        for server, each in zip(self.servers, joined, strict=True):
            if (error := each.exception()) is not None:
                if len(self.servers) > 1 and len(error.args) == 1:
                    error.args = (f"{server.url}: {error}",)
                raise error

    def find(self, step: int) -> bool:
        """Look for the servers before a rollout: one that is back is joined, one that was restarted too.

        Returns:
            True if a server has not the weights after ``step`` updates.

        Raises:
            ServersLostError: none is there, nor comes within ``start_seconds``.
        """
        for server in self.servers:
            if server.lost:
                self._join_again(server)
            elif server.step is not None:
                self._look_at(server)
        end = time.monotonic() + self._start_seconds
        while not self.used:
            if time.monotonic() >= end:
                raise ServersLostError(f"no server is up after {self._start_seconds:g} s: {self._reasons()}")
            time.sleep(min(POLL_SECONDS, self._start_seconds))
            for server in self.servers:
                self._join_again(server)
        if self._adapters is None:
            return any(server.step != step for server in self.used)
        return any(server.adapter != self._adapters.name(step) for server in self.used)

    def begin_update(self, step: int) -> bool:
        """Begin to send the weights after ``step`` updates to the servers that do not have them; true if there are any.

        With adapters, those are the frozen weights.
        """
        sent_once = self._adapters is not None
        self._due = [s for s in self.used if (s.step is None if sent_once else s.step != step)]
        for server in self._due:
            self._update(server, server.begin_update)
        return bool(self._due)

    def send(self, name: str, weight: torch.Tensor) -> None:
        for server in self._due:
            self._update(server, partial(server.send, name, weight), server.abort_update)

    def finish_update(self, step: int) -> None:
        for server in self._due:
            self._update(server, partial(server.finish_update, step, f"{self._run}-{step}"))

    def load_adapter(self, folder: Path) -> None:
        """Let every server that does not have it load the adapter in ``folder``."""
        for server in self.used:
            if server.adapter != folder.name:
                self._update(server, partial(server.load_adapter, folder))

    def ask(self, prompt: list[int], seed: int | None, sampling: Sampling, vocabulary: int) -> Answer:
        """The responses to one prompt, from the server with the least work; several threads may ask.

        Args:
            seed: of the first response. ``vocabulary``: number of token ids.

        Raises:
            ServersLostError: no server is left. With a single server the error is the one that it was lost by.
            RefusedRequestError, ValueError, …: a server refuses the request, or answers something else.
        """
        began = time.time()
        # The likeliest tokens are those of every sample, and vLLM refuses to compute them more than once.
        wanted = sampling.samples if sampling.temperature > 0 else 1
        # Without ``ignore_eos`` a response also ends with the end tokens that the server's model names.
        options: dict[str, Any] = {"stop_token_ids": list(sampling.end_ids), "ignore_eos": True}
        if seed is not None:
            options["seed"] = seed % 2**62  # vLLM counts a group's seeds up from it, in 64 bits
        while True:
            server, work = self._take(len(prompt), wanted, sampling.max_new_tokens)
            if server.adapter:
                options["model"] = server.adapter
            try:
                choices = server.client.complete(
                    prompt,
                    wanted,
                    temperature=sampling.temperature,
                    top_p=sampling.top_p,
                    top_k=max(sampling.top_k, 0),
                    max_tokens=sampling.max_new_tokens,
                    **options,
                )
                responses = read_choices(choices, prompt, wanted, sampling, vocabulary)
                server.check_version()
                self._learn(responses)
                return Answer(responses * (sampling.samples // wanted), began, time.time(), server.url)
            except (httpx2.HTTPError, RefusedRequestError, RestartedError) as error:
                # A server that does not know the adapter was restarted.
                if (
                    isinstance(error, RefusedRequestError)
                    and error.status < 500
                    and not (server.adapter and error.status == 404)
                ):
                    raise
                self._lose(server, error)
                with self._lock:
                    self._moved += 1
            finally:
                with self._lock:
                    server.load -= work

    def figures(self) -> dict[str, float]:
        """Servers in use, and prompts that were asked again because their server was lost since the last call."""
        with self._lock:
            moved, self._moved = self._moved, 0
        return {"servers": float(len(self.used)), "prompts_moved": float(moved)} if len(self.servers) > 1 else {}

    def close(self) -> None:
        for server in self.servers:
            server.close()

    def _take(self, prompt: int, samples: int, longest: int) -> tuple[Server, float]:
        with self._lock:
            if not self.used:
                raise ServersLostError(f"no server is left: {self._reasons()}")
            work = prompt + samples * (longest if self._expected is None else self._expected)
            server = min(self.used, key=lambda each: each.load)
            server.load += work
        return server, work

    def _learn(self, responses: Sequence[Response]) -> None:
        mean = sum(len(each.ids) for each in responses) / len(responses)
        with self._lock:
            self._expected = mean if self._expected is None else (1 - RECENT) * self._expected + RECENT * mean

    def _update(self, server: Server, call: Callable[[], None], afterwards: Callable[[], None] = lambda: None) -> None:
        """A part of a weight update of a server, which is lost where it fails."""
        if server.lost:
            return
        try:
            call()
        except Exception as error:
            afterwards()
            self._lose(server, error)

    def _lose(self, server: Server, error: Exception) -> None:
        """Use the server no more; raises if no other is left."""
        with self._lock:
            known, server.lost = bool(server.lost), named(error)
            left = len(self.used)
        if not left and len(self.servers) == 1:
            raise error
        if not left:
            raise ServersLostError(f"no server is left: {self._reasons()}") from error
        if not known:
            self._say(
                f"warning: the rollout server {server.url} is lost ({server.lost}); its prompts go to the "
                f"{left} other{'s' * (left > 1)}, and it is looked for before every rollout"
            )

    def _join(self, server: Server, seconds: float) -> None:
        rank = None if self._adapters is None else self._adapters.rank
        server.join(self._model, self._device, seconds, rank)

    def _look_at(self, server: Server) -> None:
        try:
            server.check_version()
        except RestartedError:
            self._join_again(server)
        except (httpx2.HTTPError, RefusedRequestError) as error:
            with suppress(Exception):  # the caller finds out whether any is left
                self._lose(server, error)

    def _join_again(self, server: Server) -> None:
        was, problem = server.lost, problem_of(server.url, PROBE_SECONDS)
        if problem is None:
            try:
                self._join(server, min(self._start_seconds, REJOIN_SECONDS))
            except Exception as error:
                problem = named(error)
        server.lost = problem or ""
        if problem is None:
            self._say(f"the rollout server {server.url} is back; it is sent the weights")
        elif problem != was:
            self._say(f"warning: the rollout server {server.url} is not used: {problem}")

    def _reasons(self) -> str:
        return "; ".join(f"{server.url}: {server.lost}" for server in self.servers)
