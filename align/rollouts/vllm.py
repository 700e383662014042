"""Sampling by a vLLM server, on other GPUs or machines, through TRL's client.

Only the main rank talks to the server: it collects the prompts of all ranks, asks for their responses, and hands them
out. Before a rollout the weights go to the server over NCCL, one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from align.rollouts.base import Sampling, check_prompts
from align.rollouts.server import check_server, check_workers, reset_prefix_cache, retries_of_requests, wait_until_up
from align.training.rollout import Rollout, new_rollout
from reward_models.data.trees import TokenIds
from reward_models.runtime.distributed import World

CONCURRENT = 64  # requests under way, one per prompt; as many as TRL's client keeps connections
UPDATE_HINT = ". Its model must be of the same architecture as the run's; restart it if that is so"


class RolloutServerError(OSError):
    """The server cannot be reached, takes too long, or answers something else than it was asked for."""


@dataclass(frozen=True, slots=True)
class Response:
    """One response as it came from the server: int32 ids and float32 log-probabilities."""

    ids: TokenIds
    logprobs: np.ndarray


class VllmRollout:
    """Samples with the vLLM server at ``base_url``.

    A group's seeds are derived from that of its first sample. vLLM does not promise that a response is the same
    whatever it is batched with, so a run that is resumed samples other responses. Log-probabilities are those of the
    sampling temperature; with top-k or top-p, and for temperature 0, they are nan. The server's settings are compared
    with the run's at the start, see :func:`align.rollouts.server.check_server`.

    Args:
        model: the transformers language model in training, or peft's wrapper around one; adapters arrive merged.
        base_url: e.g. ``http://10.0.0.2:8000``.
        group_port: of this machine, for NCCL to meet the server's workers.
        start_seconds: how long to wait for the server to be up. ``request_seconds``: for the answer to one request.

    Raises:
        RolloutServerError: on every rank, if the server is not up in time.
        ValueError: on every rank, if vLLM is not installed here or cannot receive weights from this device.
    """

    def __init__(
        self,
        model: Any,
        world: World,
        *,
        base_url: str,
        group_port: int = 51216,
        start_seconds: float = 600.0,
        request_seconds: float = 1800.0,
    ) -> None:
        self._model, self._world, self._url = model, world, base_url.rstrip("/")
        self._client: Any = None  # of the main rank
        self._synced: int | None = None
        self._max_tokens = 0  # of a prompt with its response on the server; of the main rank

        def connect() -> None:
            self._client = _connect(self._url, group_port, start_seconds, request_seconds)
            self._max_tokens = check_server(self._client.get_server_info(), model)
            check_workers(self._client, start_seconds)
            self._client.init_communicator(device=world.device)

        self._on_main("connecting", connect)

    def sync_weights(self, step: int) -> None:
        """Send the weights to the server, unless it has those of ``step`` already. Every rank must call it."""
        if step == self._synced:
            return
        update = ExitStack()
        self._on_main("a weight update", lambda: self._begin(update), UPDATE_HINT)
        failure: Exception | None = None  # the other ranks go on gathering, and learn of it in the end
        for name, weight in whole_weights(self._model):
            if self._world.is_main and failure is None:
                try:
                    self._client.update_named_param(name, weight)
                except Exception as error:
                    failure = error

        def finish() -> None:
            if failure is not None:
                with suppress(Exception):
                    update.close()
                raise failure
            update.close()
            reset_prefix_cache(self._client)

        self._on_main("a weight update", finish, UPDATE_HINT)
        self._synced = step

    def _begin(self, update: ExitStack) -> None:
        """Begin an update, whose end is that of ``update``.

        A run that dies between the weights of an update leaves the server in it, and the server then begins no other.
        Such an update is ended first: the server may hold half of the weights, and now receives all of them.
        """
        try:
            update.enter_context(self._client.weight_update())
        except Exception:
            if self._synced is not None:  # no other run has used the server since this one's last update
                raise
            with suppress(Exception):
                self._client._finish_weight_update()
            update.enter_context(self._client.weight_update())

    @torch.no_grad()
    def generate(self, prompts: Sequence[TokenIds], sampling: Sampling) -> Rollout:
        """See :class:`align.rollouts.base.RolloutEngine`."""
        check_prompts(prompts)
        seeds = list(sampling.seeds[:: sampling.samples])
        asked = self._gather(([prompt.tolist() for prompt in prompts], seeds))
        every = [prompt for part, _ in asked for prompt in part]
        firsts = [seed for _, part in asked for seed in part]
        answers = self._on_main("sampling", lambda: self._ask(every, firsts, sampling))
        before = sum(len(part) for part, _ in asked[: self._world.rank])
        mine = [response for group in answers[before : before + len(prompts)] for response in group]
        return new_rollout(
            prompts,
            sampling.samples,
            np.concatenate([r.ids for r in mine]),
            np.concatenate([r.logprobs for r in mine]),
            np.array([len(r.ids) for r in mine]),
            np.array([int(r.ids[-1]) in sampling.end_ids for r in mine]),
        )

    def shutdown(self) -> None:
        if self._client is not None:
            self._client.close_communicator()

    def _ask(self, prompts: list[list[int]], seeds: list[int], sampling: Sampling) -> list[list[Response]]:
        """Responses to each prompt, a request per prompt."""

        longest = max(len(prompt) for prompt in prompts) + sampling.max_new_tokens
        if longest > self._max_tokens:
            raise ValueError(
                f"the longest prompt with max_new_tokens={sampling.max_new_tokens} has {longest} tokens, and the "
                f"server takes {self._max_tokens}; start it with --max-model-len {longest}"
            )

        # The likeliest tokens are those of every sample, and vLLM refuses to compute them more than once.
        wanted = sampling.samples if sampling.temperature > 0 else 1

        def ask(number: int) -> list[Response]:
            # Without ``ignore_eos`` a response also ends with the end tokens that the server's model names.
            options: dict[str, Any] = {"stop_token_ids": list(sampling.end_ids), "ignore_eos": True}
            if seeds:
                options["seed"] = seeds[number] % 2**62  # vLLM counts a group's seeds up from it, in 64 bits
            answer = self._client.generate(
                [prompts[number]],
                n=wanted,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                top_k=max(sampling.top_k, 0),
                max_tokens=sampling.max_new_tokens,
                generation_kwargs=options,
            )
            found = read_answer(answer, prompts[number], wanted, sampling, self._model.config.vocab_size)
            return found * (sampling.samples // wanted)

        with ThreadPoolExecutor(min(CONCURRENT, len(prompts))) as pool:
            return list(pool.map(ask, range(len(prompts))))

    def _gather(self, mine: Any) -> list[Any]:
        """The values of all ranks, on every rank."""
        if self._world.size == 1:
            return [mine]
        found: list[Any] = [None] * self._world.size
        dist.all_gather_object(found, mine)
        return found

    def _on_main(self, what: str, call: Callable[[], Any], hint: str = "") -> Any:
        """Run ``call`` on the main rank and return its result on every rank; where it fails, every rank raises."""
        result: list[Any] = [None, None]
        if self._world.is_main:
            try:
                result[0] = call()
            except (ImportError, NotImplementedError) as error:
                result[1] = ValueError(f"rollout.engine=vllm: {error}\n(pip install 'keel-align[vllm]', on a GPU)")
            except Exception as error:  # TRL's client raises plain exceptions, and whatever a wrong answer leads to
                problem = " ".join(f"{type(error).__name__}: {error}".split())[:400]
                result[1] = RolloutServerError(f"rollout server {self._url}: {what} failed: {problem}{hint}")
        if self._world.size > 1:
            dist.broadcast_object_list(result, src=0)
        if result[1] is not None:
            raise result[1]
        return result[0]


def _connect(url: str, group_port: int, start_seconds: float, request_seconds: float) -> Any:
    """TRL's client, with time limits, which its own has not. It is not yet in the server's NCCL group."""
    from requests.adapters import HTTPAdapter
    from trl.generation.vllm_client import VLLMClient

    wait_until_up(url, start_seconds)
    client = VLLMClient(base_url=url, group_port=group_port)
    client.session.request = partial(client.session.request, timeout=request_seconds)  # type: ignore[method-assign]
    retries = retries_of_requests()
    for scheme in ("http://", "https://"):
        client.session.mount(scheme, HTTPAdapter(max_retries=retries, pool_maxsize=CONCURRENT))
    return client


def read_answer(
    answer: dict[str, Any], prompt: Sequence[int], wanted: int, sampling: Sampling, vocabulary: int
) -> list[Response]:
    """The ``wanted`` responses in an answer of TRL's client. ``ValueError`` if it answers something else."""
    groups, ids, logprobs, tokens = (
        answer[name] for name in ("prompt_ids", "completion_ids", "logprobs", "logprob_token_ids")
    )
    if len(ids) != wanted:
        raise ValueError(f"{len(ids)} responses instead of {wanted}")
    if groups != [list(prompt)]:
        raise ValueError("the answer is to another prompt: does the server run the same model and tokenizer?")
    if logprobs is None:
        raise ValueError("no log-probabilities, which were asked for")
    known = sampling.temperature > 0 and sampling.top_p >= 1 and sampling.top_k <= 0
    found = []
    for response, values, names in zip(ids, logprobs, tokens, strict=True):
        if not 1 <= len(response) <= sampling.max_new_tokens or len(values) != len(response):
            raise ValueError(
                f"a response of {len(response)} tokens with {len(values)} log-probabilities, where 1 to "
                f"{sampling.max_new_tokens} tokens were asked for"
            )
        if len(response) < sampling.max_new_tokens and response[-1] not in sampling.end_ids:
            raise ValueError(
                f"a response of {len(response)} tokens without an end token, where {sampling.max_new_tokens} were "
                "asked for: the server cuts responses short; start it with a larger --max-model-len"
            )
        if not all(0 <= token < vocabulary for token in response):
            raise ValueError(f"a token outside the vocabulary of {vocabulary}: does the server run another model?")
        # At every place the server names the token drawn, and may name others.
        drawn = [row[of.index(token)] for row, of, token in zip(values, names, response, strict=True)]
        unknown = [not known or value is None for value in drawn]
        logprobs_T = np.where(unknown, np.nan, np.array(drawn, np.float32))
        found.append(Response(np.array(response, np.int32), logprobs_T))
    return found


def whole_weights(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Every weight by its name in the plain transformers model, adapters added to what they adapt.

    Under ZeRO stage 3 every rank must run through all of them; a weight is whole until the next is asked for. The
    training weights stay as they are: merging and unmerging adapters in place would round bf16 weights at every step.
    """
    import deepspeed

    adapted = hasattr(model, "peft_config")
    base = model.get_base_model() if adapted else model
    parameters = dict(base.named_parameters())
    for name, parameter in parameters.items():
        if adapted and ".lora_" in name:
            continue
        owner, _, leaf = name.rpartition(".")
        inside = owner.removesuffix(".base_layer")
        wrapper = base.get_submodule(inside) if inside != owner else None
        needed = [parameter, *(p for n, p in parameters.items() if wrapper and n.startswith(f"{inside}.lora_"))]
        partitioned = hasattr(parameter, "ds_id")
        with deepspeed.zero.GatheredParameters(needed) if partitioned else nullcontext(), torch.no_grad():
            weight = parameter.data
            if wrapper is not None and leaf == "weight":
                for adapter in wrapper.active_adapters:
                    weight = weight + wrapper.get_delta_weight(adapter).to(weight.dtype)
            yield f"{inside}.{leaf}" if inside else leaf, weight
