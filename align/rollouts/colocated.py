"""Sampling by vLLM inside the training process: every rank has an engine of its own on its own device.

Training and sampling take turns. On a GPU the engine sleeps while the policy is updated: its weights and its cache of
keys and values are discarded, and the memory is free for training. Nothing goes through the network.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from align.rollouts.base import Sampling, check_prompts
from align.rollouts.choices import Response, read_choices, rollout_of
from align.rollouts.weights import whole_weights
from align.training.rollout import Rollout
from reward_models.data.trees import TokenIds
from reward_models.runtime.distributed import World

DISCARD = 2  # vLLM's level of sleep that keeps no copy of the weights: they are sent again
CPU_CACHE = "VLLM_CPU_KVCACHE_SPACE"  # GiB
CPU_CACHE_GIB = 1


class ColocatedRollout:
    """Samples with a vLLM engine in this process. All ranks must call each method together.

    A rank answers its own prompts. A group's seeds are derived from that of its first sample; vLLM does not promise
    that a response is the same whatever it is batched with. Log-probabilities are those of the sampling temperature;
    with top-k or top-p, and for temperature 0, they are nan.

    Args:
        model: the transformers language model in training, or peft's wrapper around one; adapters are merged into the
            engine's copy.
        max_tokens: of the longest prompt with a whole response.
        max_rows: sequences sampled at once.
        memory: share of the GPU's memory that the engine takes while it is awake. On a CPU the cache of keys and values
            has ``VLLM_CPU_KVCACHE_SPACE`` GiB, by default 1.

    Raises:
        ValueError: vLLM is not installed here, or cannot start; the message says why.
    """

    def __init__(self, model: Any, world: World, *, max_tokens: int, max_rows: int = 256, memory: float = 0.4) -> None:
        self._model, self._sleeps = model, world.device.type == "cuda"
        self._vocabulary = int(model.config.vocab_size)
        self._step: int | None = None
        self._ready = False  # the engine holds the weights of that step
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # else the engine is another process
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # it warns of layers without weights at every update
        try:
            import vllm
        except ImportError as error:
            raise ValueError(
                f"rollout.engine=vllm_colocated needs vLLM in this environment ({error}): pip install "
                "'keel-align[vllm]', or set rollout.engine=vllm for a server in another one"
            ) from error
        self._vllm = vllm
        with TemporaryDirectory(prefix="keel-policy-") as folder, random_state_kept():
            self._save_config(Path(folder))
            options = self._options(world, max_tokens, max_rows, memory)
            try:
                self._engine = vllm.LLM(model=folder, **options)
            except (ValueError, RuntimeError) as error:
                raise ValueError(f"rollout.engine=vllm_colocated: vLLM does not start: {error}") from error
        if self._sleeps:
            self._engine.sleep(level=DISCARD)

    def sync_weights(self, step: int) -> None:
        """Give the engine the weights, if it does not have those of ``step``."""
        if self._ready and self._step == step:
            return
        if self._sleeps:
            self._engine.wake_up(tags=["weights"])
        self._ready, self._step = False, step
        self._engine.collective_rpc("reload_weights", kwargs={"weights_iterator": whole_weights(self._model)})
        if self._sleeps:
            self._engine.wake_up(tags=["kv_cache"])
        else:
            self._engine.apply_model(pack_head)
        self._engine.reset_prefix_cache()
        self._ready = True

    @torch.no_grad()
    def generate(self, prompts: Sequence[TokenIds], sampling: Sampling) -> Rollout:
        """See :class:`align.rollouts.base.RolloutEngine`. Afterwards the engine sleeps.

        Raises:
            RuntimeError: no weights were given to the engine before.
        """
        check_prompts(prompts)
        if self._step is None:
            raise RuntimeError("sync_weights was not called")
        self.sync_weights(self._step)
        # The likeliest tokens are those of every sample, and vLLM refuses to compute them more than once.
        wanted = sampling.samples if sampling.temperature > 0 else 1
        asked = [{"prompt_token_ids": prompt.tolist()} for prompt in prompts]
        seeds: list[int | None] = [int(seed) % 2**62 for seed in sampling.seeds[:: sampling.samples]]
        seeds = seeds or [None] * len(prompts)
        settings = [self._settings(sampling, wanted, seed) for seed in seeds]
        answers = self._engine.generate(asked, settings, use_tqdm=False)
        groups: list[list[Response]] = []
        for prompt, answer in zip(prompts, answers, strict=True):
            ids = prompt.tolist()
            choices = [as_choice(ids, output) for output in answer.outputs]
            responses = read_choices(choices, ids, wanted, sampling, self._vocabulary)
            groups.append(responses * (sampling.samples // wanted))
        if self._sleeps:
            self._engine.sleep(level=DISCARD)
            self._ready = False
        return rollout_of(prompts, groups, sampling)

    def shutdown(self) -> None:
        """End the engine; the process goes on."""
        self._engine.llm_engine.engine_core.shutdown()

    def _save_config(self, folder: Path) -> None:
        """The policy's shape, from which vLLM builds a model without weights."""
        base = self._model.get_base_model() if hasattr(self._model, "peft_config") else self._model
        base.config.architectures = [type(base).__name__]
        base.config.save_pretrained(folder)

    def _options(self, world: World, max_tokens: int, max_rows: int, memory: float) -> dict[str, Any]:
        options = {
            "load_format": "dummy",
            "skip_tokenizer_init": True,
            "generation_config": "vllm",  # the model's own would change what is sampled
            "dtype": str(next(self._model.parameters()).dtype).removeprefix("torch."),
            "max_model_len": max_tokens,
            "max_num_seqs": max_rows,
            "logprobs_mode": "processed_logprobs",
            "distributed_executor_backend": "external_launcher",  # in this process, beside its job's other ranks
            "tensor_parallel_size": 1,
            "disable_log_stats": True,
        }
        if world.device.type == "cuda":
            return options | {"enable_sleep_mode": True, "gpu_memory_utilization": memory}
        cache = int(os.environ.get(CPU_CACHE) or CPU_CACHE_GIB) * 2**30
        # A seed with chunked prefill ends the CPU engine of vLLM 0.32.
        chunks = {"enable_chunked_prefill": False, "max_num_batched_tokens": max(4096, max_tokens)}
        return options | chunks | {"enforce_eager": True, "kv_cache_memory_bytes": cache}

    def _settings(self, sampling: Sampling, wanted: int, seed: int | None) -> Any:
        return self._vllm.SamplingParams(
            n=wanted,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=max(sampling.top_k, 0),
            seed=seed,
            max_tokens=sampling.max_new_tokens,
            stop_token_ids=list(sampling.end_ids),
            ignore_eos=True,  # a response ends with the run's end tokens alone
            logprobs=0,
            detokenize=False,
        )


def as_choice(prompt: list[int], output: Any) -> dict[str, Any]:
    """One of vLLM's outputs as its server would answer it."""
    tokens = [int(token) for token in output.token_ids]
    held = output.logprobs
    values = None if held is None else [place[token].logprob for token, place in zip(tokens, held, strict=True)]
    details = values and {"tokens": [f"token_id:{token}" for token in tokens], "token_logprobs": values}
    return {"prompt_token_ids": prompt, "token_ids": tokens, "logprobs": details}


def pack_head(model: Any) -> None:
    """Renew the packed copy of a tied output head, which vLLM's reload leaves as it was on a CPU."""
    head: Any = getattr(model, "lm_head", None)
    if hasattr(head, "quant_method"):
        head.quant_method.process_weights_after_loading(head)


@contextmanager
def random_state_kept() -> Iterator[None]:
    """vLLM seeds every generator of random numbers in the process; training goes on with those that it had."""
    python, numpy, threads = random.getstate(), np.random.get_state(), torch.set_num_threads
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_num_threads = threads  # vLLM's workers on a CPU replace the function
