"""A run in phases: which prompts, rewards and settings hold from which step on.

A rollout belongs to the phase of its first step, for its responses were sampled under that phase. Where a phase ends
inside a rollout, the next one therefore begins with the next rollout: DeepSeek-R1's switch at step 1,300 takes effect
at 1,312, the first multiple of 16 from there on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from align.schedule import parse_schedule
from reward_models.data.records import DOMAINS


@dataclass(frozen=True, kw_only=True)
class PhaseConfig:
    """Settings that hold until a step. Those that are not given are as in the rest of the configuration.

    Attributes:
        name: in logs and reports; default: ``phase 1`` and so on.
        until: the first step that no longer belongs to it.
        mix: share of the prompts of each domain, e.g. ``{reasoning: 0.5, helpfulness: 0.4, safety: 0.1}``; default: all
            prompts alike.
        weights: of terms by name, in place of their own; numbers or schedules.
        temperature, max_new_tokens: of sampling. ``lr``: peak learning rate.
    """

    until: int
    name: str = ""
    mix: dict[str, float] = field(default_factory=dict)
    weights: dict[str, Any] = field(default_factory=dict)
    temperature: float | None = None
    max_new_tokens: int | None = None
    lr: float | None = None

    def __post_init__(self) -> None:
        if self.until < 1:
            raise ValueError(f"phases: until={self.until} must be at least 1")
        if unknown := sorted(self.mix.keys() - set(DOMAINS)):
            raise ValueError(f"phases: mix names {', '.join(unknown)}; prompts are {', '.join(DOMAINS)}")
        if self.mix and (min(self.mix.values()) < 0 or sum(self.mix.values()) <= 0):
            raise ValueError("phases: the shares of mix must not be negative, and one must be positive")
        for term, weight in self.weights.items():
            parse_schedule(weight, f"phases: weights.{term}")
        for name in ("temperature", "max_new_tokens", "lr"):
            if (value := getattr(self, name)) is not None and value <= 0:
                raise ValueError(f"phases: {name}={value} must be positive")


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase with everything filled in; it holds for the rollouts that begin at ``start`` ≤ step < ``end``."""

    number: int
    name: str
    start: int
    end: int
    mix: dict[str, float]
    weights: dict[str, Any]
    temperature: float
    max_new_tokens: int
    lr: float


def resolve_phases(
    given: Sequence[PhaseConfig],
    *,
    steps: int,
    steps_per_rollout: int,
    temperature: float,
    max_new_tokens: int,
    lr: float,
) -> list[Phase]:
    """The phases of a run with everything filled in; without any given, the run is one phase.

    Args:
        temperature, max_new_tokens, lr: of phases that give none of their own.

    Raises:
        ValueError: they do not follow one another up to the last step, or one would never begin.
    """
    given = given or [PhaseConfig(until=steps, name="all")]
    untils = [phase.until for phase in given]
    if untils != sorted(set(untils)) or untils[-1] != steps:
        raise ValueError(f"phases: until must rise to steps={steps}, not {', '.join(map(str, untils))}")
    found, start = [], 0
    for number, phase in enumerate(given):
        end = min(steps, -(-phase.until // steps_per_rollout) * steps_per_rollout)
        if end <= start:
            raise ValueError(
                f"phases: the one until step {phase.until} would never begin: a phase begins with a rollout, of "
                f"steps_per_rollout={steps_per_rollout} steps"
            )
        found.append(
            Phase(
                number=number,
                name=phase.name or f"phase {number + 1}",
                start=start,
                end=end,
                mix=phase.mix,
                weights={term: parse_schedule(weight, f"weights.{term}") for term, weight in phase.weights.items()},
                temperature=phase.temperature or temperature,
                max_new_tokens=phase.max_new_tokens or max_new_tokens,
                lr=phase.lr or lr,
            )
        )
        start = end
    return found


def phase_at(phases: list[Phase], step: int) -> Phase:
    """The phase in whose rollout this step lies."""
    return next(phase for phase in phases if step < phase.end)


def shares(mix: dict[str, float], count: int) -> dict[str, int]:
    """``count`` prompts divided as ``mix`` says, by largest remainder."""
    total = sum(mix.values())
    exact = {domain: count * share / total for domain, share in mix.items()}
    whole = {domain: int(value) for domain, value in exact.items()}
    for domain in sorted(exact, key=lambda k: (whole[k] - exact[k], k))[: count - sum(whole.values())]:
        whole[domain] += 1
    return whole
