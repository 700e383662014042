"""Everything that a plan assumes and does not read from the configuration. All of it is printed with the plan."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Literal

PUBLIC = "approximate public figure, quoted and not looked up again"
SOURCES = {
    "mfu_update": "share of the peak in updates; 14.8T tokens of 37B active parameters in 2.664M H800 hours, as "
    f"DeepSeek-V3 is said to have been trained (arXiv:2412.19437), are 0.35 ({PUBLIC})",
    "mfu_forward": "share of the peak in passes without gradient and in reading prompts; assumed: that of updates",
    "mfu_decode": "share of the peak that decoding can reach when arithmetic limits it; assumed: that of updates",
    "bandwidth_share": "share of the memory's bandwidth that decoding reaches; assumed",
    "layer_seconds": "fixed time of a layer in a decoding step: launches, and all-reduces within a machine; assumed",
    "layer_seconds_across": "the same where a replica is spread over machines: dispatch and combine of 128 tokens at "
    f"32 ranks in DeepEP, 155 + 273 microseconds ({PUBLIC})",
    "gather_bandwidth": "bytes a second by which a rank of the local engine gathers the weights under ZeRO stage 3, "
    "all of them for each token; assumed: one port of 400 Gb/s, NVLink within a machine gives several times as much",
    "tokens_per_step": "tokens that a decoding step gives; 1.8 with DeepSeek-V3's multi-token prediction "
    f"(arXiv:2412.19437; {PUBLIC})",
    "rollout_weight_bytes": "bytes of a weight in the rollout engine (2: bf16)",
    "cache_bytes": "bytes of a number in the cache of keys and values",
    "cache_share": "share of a rollout device's memory for weights and cache; 0.9 is a usual setting of vLLM",
    "sync_bandwidth": "bytes a second by which new weights reach the rollout engine; assumed: one sender, one "
    "port of 400 Gb/s",
    "evaluation_prompts": "held-out prompts, where the configuration sets no evaluation.limit",
    "prompt_tokens": "mean tokens of a prompt; assumed",
    "length_deviation": "deviation of the logarithm of a response's length, where lengths are drawn from a "
    "log-normal; assumed",
}
NOT_COUNTED = (
    "rule-based rewards and judges (they run beside the passes), loading, checkpoints, failures and restarts",
    "resampling of groups without signal",
    "the exchange between ranks that share the tokens of a micro-batch (engine.sequence_parallel)",
    "where the same GPUs train and sample with vLLM: moving the training away and back, which Keel does not do",
    "uneven work of the ranks in an update; preempted sequences of the rollout engine",
)


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """See :data:`SOURCES` for the meaning and the origin of each."""

    mfu_update: float = 0.35
    mfu_forward: float = 0.35
    mfu_decode: float = 0.35
    bandwidth_share: float = 0.6
    layer_seconds: float = 40e-6
    layer_seconds_across: float = 428e-6
    gather_bandwidth: float = 50e9
    tokens_per_step: float = 1.0
    rollout_weight_bytes: float = 2.0
    cache_bytes: int = 2
    cache_share: float = 0.9
    sync_bandwidth: float = 50e9
    evaluation_prompts: int = 256
    prompt_tokens: float = 200.0
    length_deviation: float = 0.8

    def __post_init__(self) -> None:
        for each in fields(self):
            if not 0 < getattr(self, each.name) < math.inf:
                raise ValueError(f"{each.name}={getattr(self, each.name)} must be positive and finite")
        for name in ("mfu_update", "mfu_forward", "mfu_decode", "bandwidth_share", "cache_share"):
            if getattr(self, name) > 1:
                raise ValueError(f"{name}={getattr(self, name)} is a share of a peak, at most 1")
        if self.tokens_per_step < 1:
            raise ValueError("tokens_per_step must be at least 1")

    def lines(self) -> list[str]:
        """Name, value and origin of each."""
        values = [f"{name} = {getattr(self, name):g}: {text}" for name, text in SOURCES.items()]
        return [*values, *(f"not counted: {text}" for text in NOT_COUNTED)]


def assumptions_for(engine: Literal["local", "vllm", "vllm_colocated"], words: list[str]) -> Assumptions:
    """The defaults, with ``NAME=VALUE`` in ``words`` in their place.

    The local engine drives every layer from Python: its ``layer_seconds`` are 250 microseconds.

    Raises:
        ValueError: no such assumption, or its value is no number; the engine is none that a plan knows.
    """
    if engine == "vllm_colocated":
        raise ValueError(
            "rollout.engine=vllm_colocated: a plan knows engines beside the training and the local one; plan with "
            "rollout.engine=local for the memory of training, or with rollout.engine=vllm"
        )
    base = Assumptions(layer_seconds=250e-6) if engine == "local" else Assumptions()
    types = {each.name: type(getattr(base, each.name)) for each in fields(base)}
    values: dict[str, float | int] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in types:
            raise ValueError(f"--assume {word}: no such assumption; there are {', '.join(types)}")
        try:
            values[name] = types[name](float(value))
        except (ValueError, OverflowError):
            raise ValueError(f"--assume {word}: {value!r} is no number") from None
    return replace(base, **values)  # type: ignore[arg-type]
