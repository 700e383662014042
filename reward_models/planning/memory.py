"""Memory that a rank needs, part by part, from the model's shape and the settings; no model is loaded.

Weights, gradients and optimizer states are those of AdamW as DeepSpeed 0.19 keeps them. Activations are those that the
backward pass of a transformers decoder keeps. :data:`OVERHEAD` is added by the runtime (allocator, libraries).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from reward_models.backbone.config import ModelConfig
from reward_models.planning.devices import GIB
from reward_models.planning.shapes import ModelShape
from reward_models.runtime.training_config import EngineConfig

BUCKET = 5e8  # elements of DeepSpeed's buckets of gradients and of gathered weights (reduce_, allgather_bucket_size)
LIVE = 1e9  # elements that stage 3 may have gathered at once (stage3_max_live_parameters)
LOGITS = 1 << 24  # elements of a chunk of logits, as align.objective.logprobs has it
OVERHEAD = 1.5 * GIB  # of a CUDA context, NCCL and cuBLAS
FRAGMENTATION = 0.05  # of the rest: what the allocator holds and cannot give out
# The part of a rank's memory that is largest → what makes it smaller.
ADVICE = {
    "activations": "Lower max_tokens (and max_new_tokens, whose responses must fit into it), set "
    "model.gradient_checkpointing=true and model.mlp_tiles=8, or let ranks share the tokens of a micro-batch: "
    "engine.sequence_parallel=N",
    "logits": "Lower max_tokens (and max_new_tokens, whose responses must fit into it)",
    "cache": "Lower rollout.max_rows or max_new_tokens, or sample with rollout.engine=vllm",
    "teacher": "Take GPUs with more memory, or a smaller teacher",
    "reward models": "Serve the reward models elsewhere (arguments: {urls: [...]}), or offload them",
    "reference": "Set ref_offload=true",
    "weights": "Train on more ranks with engine.zero_stage=3, offload (engine.offload_optimizer, "
    "engine.offload_params), or train adapters (model.lora)",
}
ADVICE |= dict.fromkeys(("gradients in a layer", "exchange"), ADVICE["activations"])


@dataclass(frozen=True, kw_only=True)
class TrainingMemory:
    """The settings that decide on the memory of a rank.

    Attributes:
        ranks: over which ZeRO partitions. ``zero_stage``, ``offload_optimizer``, ``offload_params``, ``bf16``: see
            :class:`reward_models.runtime.training_config.EngineConfig`.
        checkpointing: activations of a layer are computed again in the backward pass.
        tokens: of a micro-batch, at most. ``sequence_parallel``: ranks that share them.
        mlp_tiles: parts in which the MLP of a layer computes its tokens in training.
        trained: parameters that are trained; ``None``: all.
        scalar_head: one score takes the place of the output layer.
        on_cpu: there is no context of a GPU, and what is offloaded stays in the same memory.
    """

    ranks: int = 1
    zero_stage: int = 0
    bf16: bool = True
    offload_optimizer: bool = False
    offload_params: bool = False
    checkpointing: bool = False
    tokens: int = 16384
    sequence_parallel: int = 1
    mlp_tiles: int = 1
    trained: int | None = None
    scalar_head: bool = False
    on_cpu: bool = False

    @property
    def stretch(self) -> int:
        """Tokens of a micro-batch that one rank computes."""
        return math.ceil(self.tokens / self.sequence_parallel)


@dataclass(frozen=True)
class Memory:
    """Bytes by part. ``device``: on the accelerator; ``host``: in the memory of the machine, for one rank."""

    device: dict[str, float] = field(default_factory=dict)
    host: dict[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        return sum(self.device.values())

    def with_parts(self, **parts: float) -> Memory:
        return Memory({**self.device, **{name: value for name, value in parts.items() if value}}, self.host)


def parameters_of(shape: ModelShape, settings: TrainingMemory) -> int:
    """Parameters of the model in training: a reward model has a row of ``hidden`` weights as its output layer."""
    return shape.backbone + shape.hidden if settings.scalar_head else shape.parameters


def model_states(shape: ModelShape, settings: TrainingMemory) -> Memory:
    """Weights, gradients and optimizer states of a rank, and the buffers of ZeRO."""
    count = parameters_of(shape, settings)
    trained = count if settings.trained is None else settings.trained
    stage, ranks, width = settings.zero_stage, settings.ranks, 2 if settings.bf16 else 4
    device: dict[str, float] = {}
    host: dict[str, float] = {}
    weights = count * width / (ranks if stage == 3 else 1)
    (host if settings.offload_params and not settings.on_cpu else device)["weights"] = weights
    device["gradients"] = _gradients(trained, settings)
    share = trained / (ranks if stage else 1)
    # Two moments of Adam in fp32; and the fp32 weights where those of the computation are other tensors.
    states = 8 * share + (4 * share if settings.bf16 or stage else 0)
    (host if settings.offload_optimizer and not settings.on_cpu else device)["optimizer"] = states
    if stage == 3:
        device["gathered weights"] = min(LIVE, float(count)) * width if ranks > 1 else 0.0
    if stage and ranks > 1:
        device["communication"] = 2 * min(BUCKET, float(trained)) * width
    return Memory({k: v for k, v in device.items() if v}, {k: v for k, v in host.items() if v})


def _gradients(trained: int, settings: TrainingMemory) -> float:
    """In bf16 under ZeRO they are summed in fp32; stage 1 keeps all of the sums, stages 2 and 3 a partition.

    Stage 0 in bf16 makes an fp32 copy when the optimizer steps.
    """
    if not settings.bf16:
        return 4.0 * trained / (settings.ranks if settings.zero_stage >= 2 else 1)
    if settings.zero_stage <= 1:
        return (2 + 4) * float(trained)
    # The gradients of the layers that are under way are whole.
    return 4.0 * trained / settings.ranks + 2 * min(BUCKET, float(trained))


def activations(shape: ModelShape, settings: TrainingMemory) -> dict[str, float]:
    """The numbers that the update of a micro-batch needs, in bytes, when there are most of them.

    That is while the output layer computes a chunk of logits, when the layers have kept what their backward pass needs;
    or while the backward pass is inside the last layer, when the logits are gone.
    """
    width, tokens = 2 if settings.bf16 else 4, settings.stretch
    mlp = tokens * inner_elements(shape) * width
    one = tokens * layer_elements(shape) * width - mlp + tokens * shape.hidden * 4 * (2 if settings.bf16 else 0)
    one += tokens * repeated_elements(shape, settings.sequence_parallel) * width
    if settings.checkpointing:
        kept, inside = tokens * shape.hidden * width * shape.layers, one + mlp / settings.mlp_tiles
    elif settings.mlp_tiles == 1:
        kept, inside = (one + mlp) * shape.layers, 0.0
    else:  # the inside of a tile is there while it is computed again
        kept, inside = one * shape.layers, mlp / settings.mlp_tiles
    layer = {"activations": float(kept + inside)}
    layer["gradients in a layer"] = tokens * gradient_elements(shape, settings) * width
    if settings.sequence_parallel > 1:
        layer["exchange"] = float(2 * tokens * exchanged_elements(shape, settings.sequence_parallel) * width)
    if settings.scalar_head:
        return layer
    # The last norm keeps its input and two more; and there are the states that predict a token.
    output = {"activations": float(kept + 4 * tokens * shape.hidden * width)}
    # Two chunks in fp32; and the output layer's gradient, summed in fp32.
    output["logits"] = 2 * 4.0 * min(LOGITS, tokens * shape.vocabulary) + 4.0 * shape.embedding
    return max(layer, output, key=lambda parts: sum(parts.values()))


def inner_elements(shape: ModelShape) -> int:
    """Numbers inside the MLP of a layer for each token: gate, its activation, the other half and their product."""
    experts = shape.experts
    return 4 * (shape.inner if experts is None else experts.width * (experts.active + experts.shared))


def gradient_elements(shape: ModelShape, settings: TrainingMemory) -> float:
    """Gradients for each token that exist at once while the backward pass is inside a layer.

    Those of the hidden states and of the normalised ones; and in turn those of the MLP's gate, other half and product,
    of a tile at a time, or those of query, key, value and output of the attention. While the first three exist the
    product itself is gone, and in the attention all of a tile. Tiles have gradients of their own inputs, which are put
    together when all are there.
    """
    tiles = settings.mlp_tiles
    mlp = (3 - 1) / 4 * inner_elements(shape) / tiles + (shape.hidden if tiles > 1 else 0)
    attention = attention_elements(shape) + repeated_elements(shape, settings.sequence_parallel)
    return 2 * shape.hidden + max(mlp, attention - inner_elements(shape) / tiles)


def repeated_elements(shape: ModelShape, ranks: int) -> int:
    """Keys and values for each token that exist more than once, because ``ranks`` ranks do not divide their heads."""
    times = ranks // math.gcd(ranks, shape.key_value_heads)
    return 2 * (times - 1) * shape.key_value_heads * shape.head


def exchanged_elements(shape: ModelShape, ranks: int) -> int:
    """Query, key and value for each token, which a rank sends from a buffer of their own and receives into another."""
    return (shape.heads + 2 * shape.key_value_heads) * shape.head + repeated_elements(shape, ranks)


def layer_elements(shape: ModelShape) -> int:
    """Numbers that a layer of a transformers decoder keeps for each token, when nothing is computed again.

    Two norms keep their input and the normalised input; the matrices their inputs; attention its queries, keys, values
    and output; the gated MLP the gate, its activation, the other half and their product.
    """
    routed = 0 if shape.experts is None else shape.hidden * shape.experts.active
    return 6 * shape.hidden + 2 * attention_elements(shape) + inner_elements(shape) + routed


def attention_elements(shape: ModelShape) -> int:
    """Numbers of query, key, value and output of a layer's attention for each token."""
    latent = shape.latent
    if latent is not None:
        queries = shape.heads * (latent.plain + latent.rotary)
        return 2 * queries + 2 * shape.heads * latent.value + latent.query_rank + latent.key_value_rank
    return 2 * shape.heads * shape.head + 2 * shape.key_value_heads * shape.head


def forward_bytes(shape: ModelShape, settings: TrainingMemory) -> float:
    """The largest working set of a pass without gradients: one layer of the micro-batch, and a chunk of logits."""
    width, tokens = 2 if settings.bf16 else 4, settings.stretch
    logits = 0.0 if settings.scalar_head else 4.0 * min(LOGITS, tokens * shape.vocabulary) * 2.5
    return tokens * layer_elements(shape) * width + logits


def overhead(parts: Memory, *, on_cpu: bool) -> Memory:
    """``parts`` and what the runtime adds."""
    if on_cpu:
        return parts
    return parts.with_parts(overhead=OVERHEAD + FRAGMENTATION * parts.total)


def training_memory(shape: ModelShape, settings: TrainingMemory) -> Memory:
    """The peak of an update: model states, activations and overhead of one rank."""
    states = model_states(shape, settings)
    return overhead(states.with_parts(**activations(shape, settings)), on_cpu=settings.on_cpu)


def settings_of(
    engine: EngineConfig,
    model: ModelConfig,
    shape: ModelShape,
    *,
    ranks: int,
    tokens: int,
    scalar_head: bool = False,
    on_cpu: bool = False,
) -> TrainingMemory:
    """The settings of a configuration, as far as they decide on memory."""
    return TrainingMemory(
        ranks=ranks,
        zero_stage=engine.zero_stage,
        bf16=engine.dtype == "bf16",
        offload_optimizer=engine.offload_optimizer,
        offload_params=engine.offload_params,
        checkpointing=model.gradient_checkpointing,
        tokens=tokens,
        # latent attention cannot be exchanged: the plan of such a model is one without
        sequence_parallel=engine.sequence_parallel if shape.latent is None else 1,
        mlp_tiles=model.mlp_tiles,
        trained=trained_parameters(shape, model, scalar_head=scalar_head),
        scalar_head=scalar_head,
        on_cpu=on_cpu,
    )


def trained_parameters(shape: ModelShape, model: ModelConfig, *, scalar_head: bool) -> int:
    """Parameters that are trained: of adapters on every linear layer, of the layers above the frozen ones, or all."""
    head = shape.hidden if scalar_head else 0
    frozen = min(model.freeze_layers, shape.layers)
    if model.lora is not None:
        queries, keys = shape.heads * shape.head, shape.key_value_heads * shape.head
        sides = {  # of each matrix: its inputs and outputs
            "q_proj": shape.hidden + queries,
            "k_proj": shape.hidden + keys,
            "v_proj": shape.hidden + keys,
            "o_proj": queries + shape.hidden,
            "gate_proj": shape.hidden + shape.inner,
            "up_proj": shape.hidden + shape.inner,
            "down_proj": shape.inner + shape.hidden,
        }
        targets = model.lora.target_modules
        chosen = [size for name, size in sides.items() if targets in (None, ["all-linear"]) or name in (targets or ())]
        return model.lora.r * sum(chosen) * (shape.layers - frozen) + head
    if not frozen:
        return shape.backbone + head if scalar_head else shape.parameters
    matrices = sum(shape.attention_matrices + shape.mlp_matrices(layer) for layer in range(frozen, shape.layers))
    output = head if scalar_head else (0 if shape.tied else shape.embedding)
    return matrices + shape.vectors * (shape.layers - frozen) // shape.layers + shape.hidden + output


def memory_table(parts: Mapping[str, Memory], available: float, unit: float = GIB) -> Iterator[str]:
    """One row for each part of the memory, a column for each part of a step.

    Args:
        available: bytes. ``unit``: bytes that the figures count in: GiB, or 10^9 beside the sizes of data sheets.
    """
    name = "GiB" if unit == GIB else "GB"
    rows = list(dict.fromkeys(row for memory in parts.values() for row in memory.device))
    yield f"  {'':<22}" + "".join(f"{name:>19}" for name in parts)
    for row in rows:
        cells = "".join(f"{memory.device.get(row, 0) / unit:>19,.2f}" for memory in parts.values())
        yield f"  {row:<22}{cells}"
    totals = "".join(f"{memory.total / unit:>19,.2f}" for memory in parts.values())
    yield f"  {'total':<22}{totals}   of {available / unit:,.1f}"
    host = max(sum(memory.host.values()) for memory in parts.values())
    if host:
        yield f"  and {host / unit:,.2f} {name} of the machine's memory for what is offloaded"
