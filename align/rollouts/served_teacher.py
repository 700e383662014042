"""A teacher of on-policy distillation behind a vLLM server: the log-probabilities of tokens that the policy wrote.

A server tells the log-probability of each token of a prompt (``prompt_logprobs``), not those of the whole vocabulary.
The divergence is estimated from them, see :func:`align.objective.distillation.sampled_reverse_kl`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx2
import torch
from transformers import PreTrainedTokenizerBase

from align.rollouts.served import Served, ServedError, find_models
from align.rollouts.vllm_client import CONCURRENT, RefusedRequestError, VllmClient
from reward_models.backbone.pretrained import Layout
from reward_models.data.trees import PromptTree, TokenIds
from reward_models.http_retry import named

PROBE = "Compare 12.5% of 80 with <b>3²</b>; straße, 你好."  # texts that tokenizers split in different ways


class ServedTeacher:
    """The model at ``url``, which every rank asks about its own samples.

    Args:
        tokenizer: of policy and teacher. ``longest``: tokens of the longest prompt with a whole response.
        start_seconds: how long to wait for the server to be up. ``request_seconds``: for the answer about one sample.

    Raises:
        ServedError: the server is not up in time, or answers something else than it was asked for.
        ValueError: its tokenizer splits a text in another way, or it takes fewer tokens than ``longest``.
    """

    layout: Layout = "tree"  # nothing is computed here, so the policy's layout decides

    def __init__(
        self,
        url: str,
        tokenizer: PreTrainedTokenizerBase,
        longest: int,
        *,
        start_seconds: float,
        request_seconds: float,
    ) -> None:
        (self._served,) = find_models([url], start_seconds)
        self._client = VllmClient(url, request_seconds)
        check_served(self._served, self._client, tokenizer, longest)
        self._pool = ThreadPoolExecutor(CONCURRENT, thread_name_prefix="teacher")

    def ask(self, trees: Sequence[PromptTree]) -> list[Future[list[float]]]:
        """Ask for the log-probabilities of every response of the trees, one after the other, without waiting."""
        sequences = [(tree.prompt, response) for tree in trees for response in tree.branches]
        return [self._pool.submit(self._logprobs, *each) for each in sequences]

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _logprobs(self, prompt: TokenIds, response: TokenIds) -> list[float]:
        ids = [*prompt.tolist(), *response.tolist()]
        body = {"model": self._served.name, "prompt": [ids], "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
        try:
            (choice,) = self._client.post("/v1/completions", body | {"add_special_tokens": False})["choices"]
            return read_prompt_logprobs(choice["prompt_logprobs"], ids, len(prompt))
        except (httpx2.HTTPError, RefusedRequestError, KeyError, TypeError, ValueError) as error:
            raise ServedError(f"teacher.url={self._served.url}: {named(error)}") from error


def answered(requests: Sequence[Future[list[float]]], device: torch.device) -> torch.Tensor:
    """The answers to :meth:`ServedTeacher.ask`, float32 ``[T]``; waits for them."""
    return torch.tensor([value for request in requests for value in request.result()], device=device)


def read_prompt_logprobs(places: Sequence[Any], ids: Sequence[int], prompt: int) -> list[float]:
    """The log-probabilities of the tokens after the first ``prompt``. ``ValueError`` if they are those of others."""
    if len(places) != len(ids):
        raise ValueError(f"log-probabilities of {len(places)} tokens, where {len(ids)} were sent")
    found = []
    for token, place in zip(ids[prompt:], places[prompt:], strict=True):
        if place is None or str(token) not in place:
            raise ValueError(f"no log-probability of token {token}")
        found.append(float(place[str(token)]["logprob"]))
    return found


def check_served(served: Served, client: VllmClient, tokenizer: PreTrainedTokenizerBase, longest: int) -> None:
    """``ValueError`` if the server's tokenizer is another one, or it takes too few tokens."""
    body = {"model": served.name, "prompt": PROBE, "add_special_tokens": False}
    theirs = client.post("/tokenize", body)["tokens"]
    ours = tokenizer(PROBE, add_special_tokens=False)["input_ids"]
    if list(theirs) != list(ours):
        raise ValueError(
            f"teacher.url={served.url} serves {served.root}, whose tokenizer splits a text in another way than the "
            "policy's: distillation compares probabilities of the same tokens"
        )
    if served.max_tokens <= longest:  # one is generated beyond the prompt
        raise ValueError(
            f"teacher.url={served.url} takes {served.max_tokens} tokens, and the longest prompt with its response has "
            f"{longest}; start it with --max-model-len {longest + 1}"
        )
