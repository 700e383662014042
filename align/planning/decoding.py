"""The time of a rollout: continuous batching on replicas of a model, event by event.

A decoding step gives every sequence that is under way one token. It reads the weights that its tokens pass once, and
the keys and values of every sequence; its time is that of reading or of arithmetic, whichever is longer, and a fixed
time per layer. When sequences end, waiting ones take their place, as far as the cache of keys and values has room.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from align.planning.assumptions import Assumptions
from reward_models.planning.devices import Device
from reward_models.planning.shapes import ModelShape

PARTS = ("gathering weights", "reading weights", "reading keys and values", "arithmetic", "time per layer")
TAIL = 0.1  # share of the sequences under way at first, below which a replica waits for the longest


@dataclass(frozen=True)
class Replica:
    """One copy of the model in the rollout engine.

    Attributes:
        devices: over which it is spread. ``across``: they are of several machines.
        slots: sequences at once. ``cache``: tokens whose keys and values it can hold.
        gathered: bytes of weights that each step gathers from other ranks (the local engine under ZeRO stage 3).
    """

    shape: ModelShape
    device: Device
    assumptions: Assumptions
    devices: int
    across: bool
    slots: int
    cache: float
    gathered: float = 0.0

    def step(self, sequences: int, context: float) -> dict[str, float]:
        """Seconds of one decoding step by :data:`PARTS`; ``context``: mean tokens that a sequence has so far."""
        given, shape = self.assumptions, self.shape
        bandwidth = self.devices * self.device.bandwidth * given.bandwidth_share
        weights = shape.weights_touched(sequences * given.tokens_per_step) * given.rollout_weight_bytes / bandwidth
        cache = sequences * context * shape.cache_bytes(given.cache_bytes) / bandwidth
        flops = sequences * given.tokens_per_step * shape.forward_flops(context)
        arithmetic = flops / (self.devices * self.device.flops * given.mfu_decode)
        layer = given.layer_seconds_across if self.across else given.layer_seconds
        reading = weights + cache
        limited = arithmetic > reading
        seconds = {
            "gathering weights": self.gathered / given.gather_bandwidth,
            "reading weights": 0.0 if limited else weights,
            "reading keys and values": 0.0 if limited else cache,
            "arithmetic": arithmetic if limited else 0.0,
            "time per layer": layer * shape.layers,
        }
        return {part: value / given.tokens_per_step for part, value in seconds.items()}


@dataclass
class Decoding:
    """The course of one replica's work.

    Attributes:
        parts: seconds by :data:`PARTS`. ``tail``: seconds with few sequences left, see :data:`TAIL`.
        course: (seconds, sequences under way) at each change. ``waited``: sequences that had to wait for room.
    """

    seconds: float = 0.0
    parts: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    tail: float = 0.0
    course: list[tuple[float, int]] = field(default_factory=list)
    waited: int = 0


def decode(replica: Replica, lengths: Sequence[int], prompt: float) -> Decoding:
    """Decode responses of these lengths to prompts of ``prompt`` tokens; the order is that of arrival."""
    waiting, ends = deque(lengths), list[int]()  # ends: the decoding step after which each sequence under way ends
    now, held, found = 0, 0.0, Decoding()  # held: tokens in the cache
    started: dict[int, list[int]] = {}  # end → the steps at which those that end then began
    first = 0
    while waiting or ends:
        while waiting and len(ends) < replica.slots and (not ends or held + prompt + waiting[0] / 2 <= replica.cache):
            end = now + waiting.popleft()
            heapq.heappush(ends, end)
            started.setdefault(end, []).append(now)
            held += prompt
        if not first:
            first, found.waited = len(ends), len(waiting)
        steps, under_way = ends[0] - now, len(ends)
        step = replica.step(under_way, (held + under_way * steps / 2) / under_way)
        seconds = steps * sum(step.values())
        found.course.append((found.seconds, under_way))
        found.seconds += seconds
        for part, value in step.items():
            found.parts[part] += steps * value
        if not waiting and under_way <= max(1, TAIL * first):
            found.tail += seconds
        held += under_way * steps
        now = ends[0]
        while ends and ends[0] == now:
            heapq.heappop(ends)
        held -= sum(prompt + now - began for began in started.pop(now))
    found.course.append((found.seconds, 0))
    return found


def rollout(replica: Replica, lengths: Sequence[int], replicas: int, prompt: float, samples: int) -> Decoding:
    """The slowest of ``replicas``, among which whole prompts of ``samples`` responses are dealt in turn."""
    groups = [lengths[at : at + samples] for at in range(0, len(lengths), samples)]
    shares = [[n for group in groups[number::replicas] for n in group] for number in range(replicas)]
    busy = [share for share in shares if share]
    # The longest response or the most tokens decide; the others are done before.
    slowest = {max(range(len(busy)), key=lambda i: sum(busy[i])), max(range(len(busy)), key=lambda i: max(busy[i]))}
    return max((decode(replica, busy[i], prompt) for i in sorted(slowest)), key=lambda each: each.seconds)
