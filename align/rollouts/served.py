"""Sampling by vLLM servers that hold the policy already: no weights are sent, and several servers share the prompts.

The servers need no development mode and no GPU on this side: ``vllm serve MODEL``. For a policy in training, whose
weights the server has to receive, see :mod:`align.rollouts.vllm`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice

import httpx2

from align.rollouts.base import Sampling, check_prompts
from align.rollouts.choices import Response, read_choices, rollout_of
from align.rollouts.vllm_client import CONCURRENT, RefusedRequestError, VllmClient, wait_until_up
from align.training.rollout import Rollout
from reward_models.data.trees import TokenIds
from reward_models.http_retry import named


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
            models = VllmClient(url, start_seconds).get("/v1/models")["data"]
            (model,) = [each for each in models if each.get("parent") is None]
            served = Served(url, model["id"], str(model.get("root") or model["id"]), int(model["max_model_len"]))
        except (TimeoutError, httpx2.HTTPError, RefusedRequestError) as error:
            raise ServedError(f"server {url}: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise ServedError(f"server {url}: /v1/models does not list one model, as vLLM's does: {error}") from error
        if found and (served.name, served.root) != (found[0].name, found[0].root):
            raise ServedError(f"{url} serves {served.root} ({served.name}), and {found[0].url} serves {found[0].root}")
        found.append(served)
    return found


class ServedRollout:
    """Samples with the servers. Prompts go to them in turn, and to another one where a server does not answer.

    A group's seeds are derived from that of its first sample. vLLM does not promise that a response is the same
    whatever it is batched with. Log-probabilities are as in :class:`align.rollouts.vllm.VllmRollout`.

    Args:
        vocabulary: number of token ids of the tokenizer.
        request_seconds: longest time for the responses to one prompt.
    """

    def __init__(self, servers: Sequence[Served], vocabulary: int, *, request_seconds: float) -> None:
        self._clients = [VllmClient(each.url, request_seconds) for each in servers]
        self._max_tokens, self._vocabulary = min(each.max_tokens for each in servers), vocabulary

    def sync_weights(self, step: int) -> None:
        """Do nothing: the servers hold the weights."""

    def shutdown(self) -> None:
        for client in self._clients:
            client.close()

    def generate(self, prompts: Sequence[TokenIds], sampling: Sampling) -> Rollout:
        """See :class:`align.rollouts.base.RolloutEngine`.

        Raises:
            ServedError: no server answers a request, or one answers something else.
            ValueError: a prompt with a whole response does not fit.
        """
        check_prompts(prompts)
        longest = max(len(prompt) for prompt in prompts) + sampling.max_new_tokens
        if longest > self._max_tokens:
            raise ValueError(
                f"the longest prompt with max_new_tokens={sampling.max_new_tokens} has {longest} tokens, and a server "
                f"takes {self._max_tokens}; start it with --max-model-len {longest}, or lower max_new_tokens"
            )
        with ThreadPoolExecutor(min(CONCURRENT * len(self._clients), len(prompts))) as pool:
            groups = list(pool.map(lambda number: self._ask(number, prompts[number], sampling), range(len(prompts))))
        return rollout_of(prompts, groups, sampling)

    def _ask(self, number: int, prompt: TokenIds, sampling: Sampling) -> list[Response]:
        """The responses to one prompt, of the first server that answers."""
        ids = prompt.tolist()
        # Without ``ignore_eos`` a response also ends with the end tokens that the server's model names.
        options: dict[str, object] = {"stop_token_ids": list(sampling.end_ids), "ignore_eos": True}
        if sampling.seeds:  # vLLM counts a group's seeds up from it, in 64 bits
            options["seed"] = int(sampling.seeds[number * sampling.samples]) % 2**62
        problems = []
        for client in islice(cycle(self._clients), number % len(self._clients), None):
            try:
                choices = client.complete(
                    ids,
                    sampling.samples,
                    temperature=sampling.temperature,
                    top_p=sampling.top_p,
                    top_k=max(sampling.top_k, 0),
                    max_tokens=sampling.max_new_tokens,
                    **options,
                )
                return read_choices(choices, ids, sampling.samples, sampling, self._vocabulary)
            except (httpx2.HTTPError, RefusedRequestError) as error:
                problems.append(f"{client.url}: {named(error)}")
                if len(problems) == len(self._clients):
                    raise ServedError(f"no server answers a request: {'; '.join(problems)}") from error
            except (KeyError, TypeError, ValueError) as error:
                raise ServedError(f"server {client.url}: {named(error)}") from error
        raise AssertionError("unreachable")
