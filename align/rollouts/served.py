"""Sampling by vLLM servers that hold the policy already: no weights are sent, and several servers share the prompts.

The servers need no development mode and no GPU on this side: ``vllm serve MODEL``. For a policy in training, whose
weights the server has to receive, see :mod:`align.rollouts.vllm`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx2
import numpy as np

from align.rollouts.base import Sampling, check_prompts
from align.rollouts.server import wait_until_up
from align.training.rollout import Rollout, new_rollout
from reward_models.data.trees import TokenIds
from reward_models.http_retry import RequestFailedError, TemporaryError, named, quoted, retry_after, with_retries

CONCURRENT = 64  # requests under way at one server, one per prompt
TRIES = 6  # of one request, each at the next server
WAIT = (0.5, 20.0)  # seconds before a second try, and at most


class ServedError(OSError):
    """A server cannot be used, or answers something else than it was asked for."""


@dataclass(frozen=True, slots=True)
class Served:
    """A model at a server.

    Attributes:
        name: its name in requests. ``root``: the directory or hub name it was loaded from, as the server tells it.
        max_tokens: most tokens of a prompt with its response.
    """

    url: str
    name: str
    root: str
    max_tokens: int


def find_models(urls: Sequence[str], start_seconds: float) -> list[Served]:
    """The model that each server holds.

    Raises:
        ServedError: a server is not up in time, serves several models, or another model than the first one does.
    """
    found: list[Served] = []
    for url in (each.rstrip("/") for each in urls):
        try:
            wait_until_up(url, start_seconds)
            answer = httpx2.get(f"{url}/v1/models", timeout=start_seconds)
            models = answer.raise_for_status().json()["data"]
            (model,) = [each for each in models if each.get("parent") is None]
            served = Served(url, model["id"], str(model.get("root") or model["id"]), int(model["max_model_len"]))
        except (TimeoutError, httpx2.HTTPError) as error:
            raise ServedError(f"server {url}: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise ServedError(
                f"server {url}: it does not list one model at /v1/models, as vLLM does: {error}"
            ) from error
        if found and (served.name, served.root) != (found[0].name, found[0].root):
            raise ServedError(f"{url} serves {served.root} ({served.name}), and {found[0].url} serves {found[0].root}")
        found.append(served)
    return found


class ServedRollout:
    """Samples with the servers; prompt after prompt goes to the next of them, and to another one if a server fails.

    A group's seeds are derived from that of its first sample. vLLM does not promise that a response is the same
    whatever it is batched with. Log-probabilities are not asked for, and are nan.

    Args:
        vocabulary: number of token ids of the tokenizer.
        request_seconds: longest time for the responses to one prompt.
    """

    def __init__(self, servers: Sequence[Served], vocabulary: int, *, request_seconds: float) -> None:
        self._servers, self._vocabulary, self._seconds = list(servers), vocabulary, request_seconds

    def sync_weights(self, step: int) -> None:
        """Do nothing: the servers hold the weights."""

    def shutdown(self) -> None:
        """Do nothing: the servers belong to somebody else."""

    def generate(self, prompts: Sequence[TokenIds], sampling: Sampling) -> Rollout:
        """See :class:`align.rollouts.base.RolloutEngine`.

        Raises:
            ServedError: a request has no answer after all its tries, or a wrong one.
            ValueError: a prompt with a whole response does not fit.
        """
        check_prompts(prompts)
        longest = max(len(prompt) for prompt in prompts) + sampling.max_new_tokens
        if longest > (limit := min(each.max_tokens for each in self._servers)):
            raise ValueError(
                f"the longest prompt with max_new_tokens={sampling.max_new_tokens} has {longest} tokens, and a server "
                f"takes {limit}; start it with --max-model-len {longest}, or lower max_new_tokens"
            )
        responses = asyncio.run(self._ask_all(prompts, sampling))
        return new_rollout(
            prompts,
            sampling.samples,
            np.concatenate(responses),
            np.full(sum(map(len, responses)), np.nan, np.float32),
            np.array([len(each) for each in responses]),
            np.array([each[-1] in sampling.end_ids for each in responses]),
        )

    async def _ask_all(self, prompts: Sequence[TokenIds], sampling: Sampling) -> list[list[int]]:
        places = asyncio.Semaphore(CONCURRENT * len(self._servers))
        async with httpx2.AsyncClient(timeout=self._seconds, limits=httpx2.Limits(max_connections=None)) as client:

            async def ask(number: int) -> list[list[int]]:
                seed = int(sampling.seeds[number * sampling.samples]) if sampling.seeds else None
                async with places:
                    return await self._ask(client, number, prompts[number].tolist(), seed, sampling)

            tasks = [asyncio.ensure_future(ask(number)) for number in range(len(prompts))]
            try:
                found = await asyncio.gather(*tasks)
            except RequestFailedError as error:
                raise ServedError(f"no answer from {self._servers[0].url} and others: {error}") from error
            finally:
                for task in tasks:
                    task.cancel()
        return [response for group in found for response in group]

    async def _ask(
        self, client: Any, number: int, prompt: list[int], seed: int | None, sampling: Sampling
    ) -> list[list[int]]:
        """The responses to one prompt."""
        payload: dict[str, Any] = {
            "prompt": [prompt],
            "n": sampling.samples,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": max(sampling.top_k, 0),
            "max_tokens": sampling.max_new_tokens,
            # Without ``ignore_eos`` a response also ends with the end tokens that the server's model names.
            "stop_token_ids": list(sampling.end_ids),
            "ignore_eos": True,
            "return_token_ids": True,
        }
        if seed is not None:
            payload["seed"] = seed % 2**62  # vLLM counts a group's seeds up from it, in 64 bits
        servers = itertools.cycle(self._servers[number % len(self._servers) :] + self._servers)

        async def attempt() -> list[list[int]]:
            server = next(servers)
            try:
                answer = await client.post(f"{server.url}/v1/completions", json={"model": server.name} | payload)
            except httpx2.HTTPError as error:
                raise TemporaryError(f"{server.url}: {named(error)}") from error
            if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
                raise TemporaryError(f"{server.url}: {quoted(answer)}", retry_after(answer) or 0.0)
            if answer.status_code != 200:
                raise ServedError(f"server {server.url} refuses a request: {quoted(answer)}")
            try:
                return read_choices(answer.json()["choices"], prompt, sampling, self._vocabulary)
            except (KeyError, TypeError, ValueError) as error:
                raise ServedError(f"server {server.url}: {named(error)}") from error

        return await with_retries(attempt, first_wait=WAIT[0], longest_wait=WAIT[1], tries=TRIES)


def read_choices(
    choices: Sequence[dict[str, Any]], prompt: Sequence[int], sampling: Sampling, vocabulary: int
) -> list[list[int]]:
    """The responses in an answer. ``ValueError`` if it answers something else."""
    if len(choices) != sampling.samples:
        raise ValueError(f"{len(choices)} responses instead of {sampling.samples}")
    found = []
    for choice in sorted(choices, key=lambda each: each.get("index", 0)):
        tokens = choice.get("token_ids")
        if not isinstance(tokens, list):
            raise ValueError("no token ids in the answer: vLLM 0.10.2 or later gives them")
        if choice.get("prompt_token_ids", prompt) != list(prompt):
            raise ValueError("the answer is to another prompt: does the server run the same model and tokenizer?")
        if not 1 <= len(tokens) <= sampling.max_new_tokens:
            raise ValueError(f"a response of {len(tokens)} tokens, where 1 to {sampling.max_new_tokens} were asked for")
        if len(tokens) < sampling.max_new_tokens and tokens[-1] not in sampling.end_ids:
            raise ValueError(
                f"a response of {len(tokens)} tokens without an end token, where {sampling.max_new_tokens} were asked "
                "for: the server cuts responses short; start it with a larger --max-model-len"
            )
        if not all(isinstance(token, int) and 0 <= token < vocabulary for token in tokens):
            raise ValueError(f"a token outside the vocabulary of {vocabulary}: does the server run another model?")
        found.append(tokens)
    return found
