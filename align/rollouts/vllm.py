"""Sampling by a vLLM server, on other GPUs or machines, or on the same CPU.

Only the main rank talks to the server: it collects the prompts of all ranks, asks for their responses, and hands them
out. Before a rollout the weights go to the server, one at a time, see :mod:`align.rollouts.transfer`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import httpx2
import numpy as np
import torch
import torch.distributed as dist

from align.rollouts.base import Sampling, check_prompts
from align.rollouts.server import check_server, check_workers
from align.rollouts.transfer import WeightTransfer, open_transfer
from align.rollouts.vllm_client import CONCURRENT, VllmClient, wait_until_up
from align.training.rollout import Rollout, new_rollout
from reward_models.data.trees import TokenIds
from reward_models.runtime.distributed import World

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

    A server that is restarted between two rollouts is joined again and gets the weights anew.

    Args:
        model: the transformers language model in training, or peft's wrapper around one; adapters arrive merged.
        base_url: e.g. ``http://10.0.0.2:8000``.
        group_port: of this machine, where the server's workers meet it.
        start_seconds: how long to wait for the server to be up. ``request_seconds``: for the answer to one request.

    Raises:
        RolloutServerError: on every rank, if the server is not up in time.
        ValueError: on every rank, if weights cannot be sent to this server from here.
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
        self._port, self._start_seconds = group_port, start_seconds
        self._client = VllmClient(self._url, request_seconds)  # only the main rank uses it
        self._transfer: WeightTransfer | None = None  # of the main rank
        self._synced: int | None = None
        self._run, self._version = f"keel-{uuid.uuid4().hex}", ""  # the version: of the weights that were sent last
        self._max_tokens = 0  # of a prompt with its response on the server; of the main rank
        self._on_main("connecting", self._join)

    def _join(self) -> None:
        if self._transfer is not None:
            self._transfer.close()
        wait_until_up(self._url, self._start_seconds)
        settings = self._client.settings()
        self._max_tokens = check_server(settings, self._model)
        check_workers(self._client, self._start_seconds)
        self._transfer = open_transfer(self._client, settings, self._port, self._world.device)

    def sync_weights(self, step: int) -> None:
        """Send the weights to the server, unless it has those of ``step`` already. Every rank must call it."""
        if self._synced is not None and self._on_main("connecting", self._still_joined) and step == self._synced:
            return
        self._on_main("a weight update", self._begin, UPDATE_HINT)
        failure: Exception | None = None  # the other ranks go on gathering, and learn of it in the end
        for name, weight in whole_weights(self._model):
            if self._world.is_main and failure is None:
                try:
                    assert self._transfer is not None
                    self._transfer.send(self._client, name, weight)
                except Exception as error:
                    failure = error
        self._on_main("a weight update", lambda: self._finish(step, failure), UPDATE_HINT)
        self._synced = step

    def _still_joined(self) -> bool:
        """False, and joined again, if the server has been restarted since the last update."""
        try:
            version = self._client.weight_version()
        except httpx2.NetworkError:
            version = "default"
        if version == "default":
            self._join()
            return False
        self._check_version(version)
        return True

    def _check_version(self, version: str | None) -> None:
        if version == "default":
            raise RuntimeError("the server was restarted while it sampled, and has lost the weights")
        if self._version and version not in (None, self._version):
            raise RuntimeError(f"another run has sent its weights to this server (they are called {version})")

    def _begin(self) -> None:
        """Begin an update.

        Requests of others wait meanwhile: vLLM cannot run a model whose weights are being replaced. A run that died
        inside an update has left the server in it, or layers of the model half replaced; that is ended first.
        """
        self._client.post("/pause?mode=wait")
        if self._synced is None:
            self._restore()
        self._client.post("/start_weight_update", again=False)

    def _restore(self) -> None:
        """Give the server a model that works, with the weights that have arrived."""
        with suppress(Exception):  # an update is under way already
            self._client.post("/start_weight_update", again=False)
        self._client.post("/finish_weight_update", again=False)

    def _finish(self, step: int, failure: Exception | None) -> None:
        if failure is not None:
            with suppress(Exception):
                self._restore()
                self._client.post("/resume")
            raise failure
        self._version = f"{self._run}-{step}"
        self._client.post("/finish_weight_update", {"weight_version": self._version}, again=False)
        self._client.reset_prefix_cache()
        self._client.post("/resume")

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
        if self._transfer is not None:
            self._transfer.close()
        self._client.close()

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
            choices = self._client.complete(
                prompts[number],
                wanted,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                top_k=max(sampling.top_k, 0),
                max_tokens=sampling.max_new_tokens,
                **options,
            )
            found = read_choices(choices, prompts[number], wanted, sampling, self._model.config.vocab_size)
            return found * (sampling.samples // wanted)

        with ThreadPoolExecutor(min(CONCURRENT, len(prompts))) as pool:
            answers = list(pool.map(ask, range(len(prompts))))
        if self._version:
            self._check_version(self._client.weight_version())
        return answers

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
            except ImportError as error:
                result[1] = ValueError(
                    f"rollout.engine=vllm: {error}\nOver NCCL vLLM is needed here too: pip install 'keel-align[vllm]'"
                )
            except NotImplementedError as error:
                result[1] = ValueError(f"rollout.engine=vllm: {error}")
            except Exception as error:  # and whatever a wrong answer leads to
                problem = " ".join(f"{type(error).__name__}: {error}".split())[:400]
                result[1] = RolloutServerError(f"rollout server {self._url}: {what} failed: {problem}{hint}")
        if self._world.size > 1:
            dist.broadcast_object_list(result, src=0)
        if result[1] is not None:
            raise result[1]
        return result[0]


def read_choices(
    choices: list[dict[str, Any]], prompt: Sequence[int], wanted: int, sampling: Sampling, vocabulary: int
) -> list[Response]:
    """The ``wanted`` responses in an answer of the server. ``ValueError`` if it answers something else."""
    if len(choices) != wanted:
        raise ValueError(f"{len(choices)} responses instead of {wanted}")
    known = sampling.temperature > 0 and sampling.top_p >= 1 and sampling.top_k <= 0
    found = []
    for choice in choices:
        response, details = choice["token_ids"], choice["logprobs"]
        if choice["prompt_token_ids"] != list(prompt):
            raise ValueError("the answer is to another prompt: does the server run the same model and tokenizer?")
        if details is None:
            raise ValueError("no log-probabilities, which were asked for")
        values = details["token_logprobs"]
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
        if details["tokens"] != [f"token_id:{token}" for token in response]:
            raise ValueError("log-probabilities of other tokens than those of the response")
        unknown = [not known or value is None for value in values]
        found.append(Response(np.array(response, np.int32), np.where(unknown, np.nan, np.array(values, np.float32))))
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
