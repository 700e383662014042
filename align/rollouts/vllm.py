"""Sampling by vLLM servers, on other GPUs or machines, or on the same CPU.

Only the main rank talks to the servers: it collects the prompts of all ranks, asks for their responses, and hands them
out. Before a rollout the weights go to every server, one at a time, see :mod:`align.rollouts.transfer`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import torch
import torch.distributed as dist

from align.rollouts.adapters import AdapterFolder
from align.rollouts.base import Sampling, check_prompts
from align.rollouts.choices import rollout_of
from align.rollouts.fleet import Answer, Fleet
from align.rollouts.vllm_client import CONCURRENT
from align.rollouts.weights import whole_weights
from align.training.rollout import Rollout
from reward_models.data.trees import TokenIds
from reward_models.runtime.distributed import World

UPDATE_HINT = ". Its model must be of the same architecture as the run's; restart it if that is so"


class RolloutServerError(OSError):
    """The servers cannot be reached, take too long, or answer something else than they were asked for."""


class VllmRollout:
    """Samples with the vLLM servers at ``urls``, which share the prompts.

    A group's seeds are derived from that of its first sample. vLLM does not promise that a response is the same
    whatever it is batched with, so a run that is resumed samples other responses. Log-probabilities are those of the
    sampling temperature; with top-k or top-p, and for temperature 0, they are nan. The servers' settings are compared
    with the run's at the start, see :func:`align.rollouts.server.check_server`.

    A prompt goes to the server with the least work. The prompts of a server that is lost go to the others, with the
    same seeds. A lost server is looked for before every rollout, and one that is there again, or was restarted, gets
    the weights before it is used.

    Args:
        model: the transformers language model in training, or peft's wrapper around one.
        urls: e.g. ``http://10.0.0.2:8000``.
        group_port: of this machine, where the first server's workers meet it; the n-th server's meet it n - 1 further.
        start_seconds: how long to wait for the servers to be up. ``request_seconds``: for the answer to one request.
        adapters: a folder that the servers can read under the same path, to send adapters as adapters, and the frozen
            weights once. ``None``: adapters arrive merged, and all weights each time.
        say: reports servers that are lost, and that are back.

    Raises:
        RolloutServerError: on every rank, if a server is not up in time.
        ValueError: on every rank, if weights cannot be sent to a server from here, or a server takes no adapters.
    """

    def __init__(
        self,
        model: Any,
        world: World,
        *,
        urls: Sequence[str],
        group_port: int = 51216,
        start_seconds: float = 600.0,
        request_seconds: float = 1800.0,
        adapters: Path | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self._model, self._world = model, world
        self._adapters = None if adapters is None else AdapterFolder(adapters, model, world)
        urls = [url.rstrip("/") for url in urls]
        self._name = f"rollout server{'s' * (len(urls) > 1)} {', '.join(urls)}"
        self._fleet = Fleet(  # only the main rank uses it
            model,
            urls,
            world.device,
            group_port=group_port,
            start_seconds=start_seconds,
            request_seconds=request_seconds,
            adapters=self._adapters,
            say=say,
        )
        self._requests = _Requests(CONCURRENT * len(urls))
        self._figures: dict[str, float] = {}
        self._on_main("connecting", self._fleet.join)

    def sync_weights(self, step: int) -> None:
        """Send the weights to the servers that do not have those of ``step`` already. Every rank must call it.

        It waits for the responses that were requested before: they are sampled with the weights that the servers have.
        """
        if not self._on_main("connecting", lambda: self._find(step)):
            return
        # False if every server has the weights, and lacks an adapter at most.
        if self._on_main("a weight update", lambda: self._fleet.begin_update(step), UPDATE_HINT):
            self._send_weights(step)
        if self._adapters is not None:
            folder = self._adapters.write(step)
            self._on_main("sending the adapter", lambda: self._fleet.load_adapter(folder))

    def _send_weights(self, step: int) -> None:
        failure: Exception | None = None  # the other ranks go on gathering, and learn of it in the end
        for name, weight in whole_weights(self._model, merged=self._adapters is None):
            if self._world.is_main and failure is None:
                try:
                    self._fleet.send(name, weight)
                except Exception as error:
                    failure = error
        self._on_main("a weight update", lambda: self._finish(step, failure), UPDATE_HINT)

    def _find(self, step: int) -> bool:
        self._requests.wait()  # first: a server that is back would answer them with the weights that it began with
        return self._fleet.find(step)

    def _finish(self, step: int, failure: Exception | None) -> None:
        if failure is not None:
            raise failure
        self._fleet.finish_update(step)

    @torch.no_grad()
    def generate(self, prompts: Sequence[TokenIds], sampling: Sampling) -> Rollout:
        """See :class:`align.rollouts.base.RolloutEngine`."""
        check_prompts(prompts)
        asked = self._gather(([prompt.tolist() for prompt in prompts], list(sampling.seeds[:: sampling.samples])))
        every = [prompt for part, _ in asked for prompt in part]
        firsts = [seed for _, part in asked for seed in part]

        def answers() -> list[Answer]:
            requests = self.request(every, firsts, sampling)
            wait(requests, return_when="FIRST_EXCEPTION")
            for request in requests:
                request.cancel()
            wait(requests)
            for request in requests:  # not the error of a cancelled one
                if not request.cancelled() and (error := request.exception()) is not None:
                    raise error
            return [request.result() for request in requests]

        groups = [answer.responses for answer in self._on_main("sampling", answers)]
        self.share_figures()
        before = sum(len(part) for part, _ in asked[: self._world.rank])
        return rollout_of(prompts, groups[before : before + len(prompts)], sampling)

    def request(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], sampling: Sampling
    ) -> list[Future[Answer]]:
        """Ask for responses to each prompt, in this order, without waiting for them. Only the main rank may call it.

        Args:
            seeds: of each prompt's first response; empty: as the servers like. Those of ``sampling`` are not looked at.

        Raises:
            ValueError: a prompt with a whole response does not fit; the futures raise :class:`RolloutServerError`.
        """
        longest = max(len(prompt) for prompt in prompts) + sampling.max_new_tokens
        if longest > self._fleet.max_tokens:
            raise RolloutServerError(
                f"{self._name}: sampling failed: the longest prompt with max_new_tokens={sampling.max_new_tokens} has "
                f"{longest} tokens, and the server takes {self._fleet.max_tokens}; start it with --max-model-len "
                f"{longest}"
            )
        vocabulary = self._model.config.vocab_size

        firsts: Sequence[int | None] = seeds or [None] * len(prompts)

        def ask(prompt: Sequence[int], seed: int | None) -> Answer:
            try:
                return self._fleet.ask(
                    [int(token) for token in prompt], None if seed is None else int(seed), sampling, vocabulary
                )
            except Exception as error:
                raise self._failure("sampling", error) from error

        return [self._requests.submit(partial(ask, prompt, seed)) for prompt, seed in zip(prompts, firsts, strict=True)]

    def share_figures(self) -> None:
        """Tell every rank what has happened to the servers. Every rank must call it."""
        for name, value in self._on_main("sampling", self._fleet.figures).items():
            summed = name == "prompts_moved"
            self._figures[name] = value + (self._figures.get(name, 0.0) if summed else 0.0)

    def figures(self) -> dict[str, float]:
        """Figures of the sampling since the last call, for the metrics; of several servers only."""
        found, self._figures = self._figures, {}
        return found

    def shutdown(self) -> None:
        self._requests.end()
        self._fleet.close()
        if self._adapters is not None:
            self._adapters.clear()

    def _gather(self, mine: Any) -> list[Any]:
        """The values of all ranks, on every rank."""
        if self._world.size == 1:
            return [mine]
        found: list[Any] = [None] * self._world.size
        dist.all_gather_object(found, mine)
        return found

    def _on_main(self, what: str, call: Callable[[], Any], hint: str = "") -> Any:
        """Run ``call`` on the main rank and return its result on every rank; where it fails, every rank raises."""

        def told() -> Any:
            try:
                return call()
            except Exception as error:  # and whatever a wrong answer leads to
                failure = self._failure(what, error, hint)
                raise failure from (None if failure is error else error)

        return self._world.on_main(told)

    def _failure(self, what: str, error: Exception, hint: str = "") -> Exception:
        """The error that stops the run."""
        if isinstance(error, RolloutServerError):
            return error
        if isinstance(error, ImportError):
            return ValueError(
                f"rollout.engine=vllm: {error}\nOver NCCL vLLM is needed here too: pip install 'keel-align[vllm]'"
            )
        if isinstance(error, NotImplementedError):
            return ValueError(f"rollout.engine=vllm: {error}")
        problem = " ".join(f"{type(error).__name__}: {error}".split())[:400]
        return RolloutServerError(f"{self._name}: {what} failed: {problem}{hint}")


class _Requests:
    """Requests under way, in threads that the end of the program does not wait for, as it would for an executor's."""

    def __init__(self, threads: int) -> None:
        self._limit, self._threads = threads, 0
        self._waiting: deque[tuple[Future[Answer], Callable[[], Answer]]] = deque()
        self._under_way: set[Future[Answer]] = set()
        self._lock = Lock()

    def submit(self, call: Callable[[], Answer]) -> Future[Answer]:
        future: Future[Answer] = Future()
        with self._lock:
            self._under_way.add(future)
            self._waiting.append((future, call))
            if self._threads < self._limit:
                self._threads += 1
                Thread(target=self._work, name="rollout", daemon=True).start()
        return future

    def wait(self) -> None:
        with self._lock:
            left = list(self._under_way)
        wait(left)

    def end(self) -> None:
        """Begin no more requests."""
        with self._lock:
            for future, _ in self._waiting:
                future.cancel()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads -= 1
                    return
                future, call = self._waiting.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:
                    future.set_exception(error)
            with self._lock:
                self._under_way.discard(future)
