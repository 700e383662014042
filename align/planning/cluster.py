"""The machines of a run, and a copy of the model in the rollout engine on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from align.config import AlignConfig, phases_of
from align.planning.assumptions import Assumptions
from align.planning.decoding import Replica
from align.planning.memory import RunMemory
from reward_models.planning.devices import Device
from reward_models.planning.memory import FRAGMENTATION
from reward_models.planning.shapes import ModelShape

SLOTS = 1024  # sequences of a vLLM replica at once, its default on GPUs of 70 GiB or more


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The machines of a run.

    Attributes:
        rollout_devices: those that only sample; 0: the training devices sample too, in turn.
        replica: devices of one copy of the model in the rollout engine; 0: the fewest that hold it.
        overlap: the next rollout is sampled while the updates of this one are made.
        price: of an hour of a device.
    """

    device: Device
    nodes: int = 1
    per_node: int = 8
    rollout_devices: int = 0
    replica: int = 0
    overlap: bool = False
    price: float = 2.0

    def __post_init__(self) -> None:
        if min(self.nodes, self.per_node) < 1 or self.price < 0:
            raise ValueError("nodes and GPUs of a node must be at least 1, the price not negative")
        if not 0 <= self.rollout_devices < self.devices:
            raise ValueError(f"{self.rollout_devices} of {self.devices} devices for rollouts leave none to train")
        if not 0 <= self.replica <= self.sampling:
            raise ValueError(f"a copy of the model on {self.replica} of {self.sampling} devices that sample")
        if self.overlap and not self.rollout_devices:
            raise ValueError("overlap needs devices that only sample (--rollout-gpus)")

    @property
    def devices(self) -> int:
        return self.nodes * self.per_node

    @property
    def training(self) -> int:
        return self.devices - self.rollout_devices

    @property
    def sampling(self) -> int:
        return self.rollout_devices or self.devices


def replica_for(
    config: AlignConfig, shape: ModelShape, cluster: Cluster, assumptions: Assumptions, memory: RunMemory
) -> Replica:
    """A copy of the model in the rollout engine. The local engine has one on each rank, within what training leaves.

    Raises:
        ValueError: no copy fits the devices that sample; the message says what to set.
    """
    device = cluster.device
    weights = shape.parameters * assumptions.rollout_weight_bytes
    token = shape.cache_bytes(assumptions.cache_bytes)
    longest = max(phase.max_new_tokens for phase in phases_of(config)) + assumptions.prompt_tokens
    if config.rollout.engine == "local":
        return _local(config, shape, cluster, assumptions, memory)
    size = cluster.replica or 1
    fits = partial(_fits, weights, token * longest, cluster=cluster, assumptions=assumptions)
    while not cluster.replica and size * 2 <= cluster.sampling and not fits(size):
        size *= 2
    if not fits(size):
        raise ValueError(
            f"the rollout engine holds {weights / 1e9:,.0f} GB of weights and the cache of a response of "
            f"{longest:,.0f} tokens ({token * longest / 1e9:,.1f} GB). That does not fit on {size} devices of "
            f"{device.memory / 1e9:,.0f} GB: give more (--rollout-gpus, --replica-gpus), or fewer bytes of a weight "
            "(--assume rollout_weight_bytes=1)"
        )
    room = (size * device.memory * assumptions.cache_share - weights) / token
    return Replica(shape, device, assumptions, size, size > cluster.per_node, SLOTS, room)


def _local(
    config: AlignConfig, shape: ModelShape, cluster: Cluster, assumptions: Assumptions, memory: RunMemory
) -> Replica:
    """The local engine on a rank. Under ZeRO stage 3 a rank gathers all weights once for each token that it decodes."""
    device = cluster.device
    weights = shape.parameters * assumptions.rollout_weight_bytes
    if weights > device.memory:
        raise ValueError(
            f"rollout.engine=local samples on each rank, and {weights / 1e9:,.3g} GB of weights are more than a "
            f"{device.name} has ({device.memory / 1e9:,.3g} GB): ZeRO stage 3 would gather all of them for every "
            "token. Set rollout.engine=vllm, whose copies span several GPUs (--replica-gpus; --rollout-gpus N "
            "for GPUs that only sample)"
        )
    assert memory.rollout is not None
    cache = memory.rollout.device.get("cache", 0.0)
    held = memory.rollout.total - cache * (1 + FRAGMENTATION)
    room = max(0.0, device.memory - held) / (1 + FRAGMENTATION) / shape.cache_bytes(assumptions.cache_bytes)
    longest = max(phase.max_new_tokens for phase in phases_of(config)) + assumptions.prompt_tokens
    if room < longest:
        raise ValueError(
            f"rollout.engine=local: beside what training keeps there ({held / 1e9:,.0f} GB) a {device.name} of "
            f"{device.memory / 1e9:,.0f} GB has no room for the cache of one response of {longest:,.0f} tokens. Train "
            "on more GPUs with engine.zero_stage=3, lower max_tokens or max_new_tokens, or set rollout.engine=vllm "
            "with --rollout-gpus N"
        )
    divided = config.engine.zero_stage == 3 and cluster.training > 1
    gathered = weights * (1 - 1 / cluster.training) if divided else 0.0
    responses = -(-config.prompts_per_rollout * config.samples_per_prompt // cluster.training)
    rows = min(config.rollout.max_rows, responses)
    return Replica(shape, device, assumptions, 1, False, rows, room, gathered)


def _fits(weights: float, longest: float, size: int, cluster: Cluster, assumptions: Assumptions) -> bool:
    """A fifth of the memory at least is for the cache: a replica without room decodes few sequences at a time."""
    memory = size * cluster.device.memory * assumptions.cache_share
    return weights + longest <= memory and weights <= 0.8 * memory
