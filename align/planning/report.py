"""The forms of a plan: a table for the terminal, JSON, and what binds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from align.planning.plan import Plan
from reward_models.planning.memory import ADVICE, memory_table

GB = 1e9
# Part of a step → what would have to be more for it to take less time.
LIMITS = {
    "weights to the engine": "the network",
    "reading prompts": "arithmetic (FLOPs)",
    "old log-probabilities": "arithmetic (FLOPs)",
    "reference": "arithmetic (FLOPs)",
    "divergence from the first policy": "arithmetic (FLOPs)",
    "reward models": "arithmetic (FLOPs)",
    "teacher": "arithmetic (FLOPs)",
    "updates": "arithmetic (FLOPs)",
    "evaluation": "evaluation",
    "decoding, the longest responses": "the longest responses (tail)",
}
DECODING = {
    "gathering weights": "gathering weights (ZeRO stage 3)",
    "reading weights": "memory bandwidth (decoding)",
    "reading keys and values": "memory bandwidth (decoding)",
    "arithmetic": "arithmetic (FLOPs)",
    "time per layer": "time per layer (decoding)",
}


def binding(plan: Plan) -> dict[str, float]:
    """Share of the run's time by the limit that it waits for, largest first; with overlap shares of the sum of parts.

    Decoding is divided by what its steps wait for; the time in which few sequences are left is the tail's.
    """
    seconds: dict[str, float] = {}

    def add(limit: str, value: float) -> None:
        seconds[limit] = seconds.get(limit, 0.0) + value

    for part, value in plan.parts.items():
        if part != "decoding":
            add(LIMITS[part], value)
    for turn in plan.turns:
        spread = turn.seconds["decoding"] * turn.stands_for
        whole = sum(turn.decoding.parts.values())
        if not whole:  # a measured rate says nothing of what it waits for
            add("decoding, as measured", spread)
            continue
        for part, value in turn.decoding.parts.items():
            add(DECODING[part], spread * value / whole)
    total = sum(seconds.values())
    ordered = sorted(seconds.items(), key=lambda each: -each[1])
    return {limit: value / total for limit, value in ordered if value}


def memory_binds(plan: Plan) -> str | None:
    """The sentence about memory that does not suffice, else ``None``."""
    available = plan.cluster.device.memory
    name, peak = max(plan.memory.parts.items(), key=lambda each: each[1].total)
    if peak.total > available:
        largest = max(peak.device, key=lambda part: peak.device[part])
        return (
            f"memory: a rank needs {peak.total / GB:,.1f} GB ({name}; most of it {largest}: "
            f"{peak.device[largest] / GB:,.1f} GB) and a {plan.cluster.device.name} has {available / GB:,.0f} GB. "
            f"{ADVICE.get(largest, ADVICE['weights'])}"
        )
    waiting = sum(turn.decoding.waited * turn.stands_for for turn in plan.turns)
    if waiting:
        return "memory: sequences wait for a place in the rollout engine's cache of keys and values"
    return None


def as_json(plan: Plan) -> dict[str, Any]:
    """All figures of a plan."""
    cluster, shape = plan.cluster, plan.shape
    return {
        "hours": plan.seconds / 3600,
        "device_hours": plan.device_hours,
        "cost": plan.cost,
        "steps": plan.steps,
        "tokens": {"responses": plan.tokens, "mean_response": plan.tokens / _responses(plan)},
        "binds": binding(plan),
        "memory_binds": memory_binds(plan),
        "parts_hours": {part: seconds / 3600 for part, seconds in plan.parts.items()},
        "memory_bytes": {name: {"device": m.device, "host": m.host} for name, m in plan.memory.parts.items()},
        "model": {
            "name": shape.name,
            "source": shape.source,
            "parameters": shape.parameters,
            "active": shape.active,
            "cache_bytes_of_a_token": shape.cache_bytes(plan.assumptions.cache_bytes),
        },
        "cluster": {
            "device": asdict(cluster.device),
            "nodes": cluster.nodes,
            "devices_of_a_node": cluster.per_node,
            "rollout_devices": cluster.rollout_devices,
            "devices_of_a_replica": plan.replica.devices,
            "overlap": cluster.overlap,
            "price_of_a_device_hour": cluster.price,
        },
        "measured": asdict(plan.measured) if plan.measured is not None else None,
        "assumptions": asdict(plan.assumptions),
        "assumptions_explained": plan.assumptions.lines(),
        "notes": plan.notes,
        "rollouts": [
            {
                "step": turn.step,
                "phase": turn.phase,
                "stands_for": turn.stands_for,
                "seconds": turn.total,
                "parts": turn.seconds,
                "decoding": turn.decoding.parts,
                "evaluation": turn.evaluation,
                "response_tokens": turn.tokens,
                "longest": turn.longest,
                "waited": turn.decoding.waited,
            }
            for turn in plan.turns
        ],
    }


def _responses(plan: Plan) -> float:
    return plan.responses * sum(turn.stands_for for turn in plan.turns)


def lines(plan: Plan) -> Iterator[str]:
    """The table for the terminal."""
    cluster, shape, device = plan.cluster, plan.shape, plan.cluster.device
    yield f"model     {shape.name}: {shape.parameters / 1e9:,.3g}B parameters, {shape.active / 1e9:,.3g}B active"
    yield f"          ({shape.source})"
    roles = f"{cluster.training} train, {cluster.rollout_devices} sample" if cluster.rollout_devices else "all do both"
    yield f"cluster   {cluster.nodes} × {cluster.per_node} {device.name} ({roles}); {device.source}"
    yield (
        f"          {device.memory / GB:,.4g} GB, {device.flops / 1e12:,.4g} TFLOP/s, "
        f"{device.bandwidth / 1e9:,.4g} GB/s; {plan.replica.devices} for a copy of the model that samples"
    )
    yield ""
    yield "memory of a training rank, GB"
    yield from memory_table(plan.memory.parts, device.memory, GB)
    yield ""
    yield (
        f"time      {plan.seconds / 3600:,.1f} h; {plan.device_hours:,.0f} device hours; at {cluster.price:g} an hour "
        f"{plan.cost:,.0f}"
    )
    yield (
        f"          {plan.steps:,} steps, {sum(turn.stands_for for turn in plan.turns):,.0f} rollouts of "
        f"{plan.responses:,} responses; {plan.tokens / 1e9:,.3g}B tokens of responses, "
        f"{plan.tokens / _responses(plan):,.0f} each"
    )
    total = sum(plan.parts.values())
    for part, seconds in plan.parts.items():
        if seconds:
            yield f"  {part:<34}{seconds / 3600:>10,.2f} h {seconds / total:>6.0%}"
    yield ""
    yield "binds"
    if (sentence := memory_binds(plan)) is not None:
        yield f"  {sentence}"
    for limit, share in binding(plan).items():
        if share >= 0.01:
            yield f"  {limit:<34}{share:>19.0%}"
    if plan.measured is not None:
        yield f"\nrates of rollouts and updates are those measured in {plan.measured.source}"
    yield ""
    yield "assumed"
    yield from (f"  {line}" for line in [*plan.notes, *plan.assumptions.lines()])
