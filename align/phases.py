"""A run in phases: which prompts, rewards and settings hold from which step on.

A rollout belongs to the phase of its first step, for its responses were sampled under that phase. Where a phase ends
inside a rollout, the next one therefore begins with the next rollout: DeepSeek-R1's switch at step 1,300 takes effect
at 1,312, the first multiple of 16 from there on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from align.schedule import parse_schedule, stretched, value_at
from reward_models.data.records import DOMAINS

if TYPE_CHECKING:
    from align.config import AlignConfig


@dataclass(frozen=True, kw_only=True)
class PhaseConfig:
    """What holds until a step. What is not given is as in the rest of the configuration.

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


def phases_of(config: AlignConfig) -> list[Phase]:
    """The phases of a run; without any in the configuration it is all one.

    Raises:
        ValueError: they do not follow one another up to the last step, or one would never begin.
    """
    given = config.phases or [PhaseConfig(until=config.steps, name="all")]
    untils = [phase.until for phase in given]
    if untils != sorted(set(untils)) or untils[-1] != config.steps:
        raise ValueError(f"phases: until must rise to steps={config.steps}, not {', '.join(map(str, untils))}")
    found, start = [], 0
    for number, phase in enumerate(given):
        end = min(config.steps, -(-phase.until // config.steps_per_rollout) * config.steps_per_rollout)
        if end <= start:
            raise ValueError(
                f"phases: the one until step {phase.until} would never begin: a phase begins with a rollout, of "
                f"steps_per_rollout={config.steps_per_rollout} steps"
            )
        found.append(
            Phase(
                number=number,
                name=phase.name or f"phase {number + 1}",
                start=start,
                end=end,
                mix=phase.mix,
                weights={term: parse_schedule(weight, f"weights.{term}") for term, weight in phase.weights.items()},
                temperature=phase.temperature or config.temperature,
                max_new_tokens=phase.max_new_tokens or config.max_new_tokens,
                lr=phase.lr or config.engine.lr,
            )
        )
        start = end
    return found


def scheduled(config: AlignConfig) -> str | None:
    """An entry of the rewards whose weight is not the same at every step, if there is one."""
    for each in config.rewards:
        own = parse_schedule(each.weight, each.term)
        weights = [phase.weights.get(each.term, own) for phase in phases_of(config)]
        if any(isinstance(weight, list) or weight != weights[0] for weight in weights):
            return each.term
    return None


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


def shortened(config: AlignConfig, steps: int) -> AlignConfig:
    """The same run in fewer (or more) steps: phases, schedules, reference updates and evaluations in proportion.

    Raises:
        ValueError: a phase would become too short to begin.
    """
    factor, rollout = steps / config.steps, config.steps_per_rollout

    def scaled(number: int, multiple: int = 1) -> int:
        """0, which says never, stays."""
        return number and max(multiple, round(number * factor / multiple) * multiple)

    def stretched_weight(weight: Any) -> Any:
        schedule = stretched(parse_schedule(weight, "weight"), factor)
        return [list(point) for point in schedule] if isinstance(schedule, list) else schedule

    return replace(
        config,
        steps=steps,
        ref_update_steps=scaled(config.ref_update_steps, rollout),
        rewards=[replace(each, weight=stretched_weight(each.weight)) for each in config.rewards],
        phases=[
            replace(
                phase,
                until=scaled(phase.until),
                weights={term: stretched_weight(weight) for term, weight in phase.weights.items()},
            )
            for phase in config.phases
        ],
        evaluation=replace(config.evaluation, every=scaled(config.evaluation.every)),
    )


def changes(config: AlignConfig) -> list[tuple[int, str]]:
    """(step, what changes there) in order, for people who want to see a schedule before it runs."""
    return sorted(_changes(config), key=lambda change: change[0])


def _changes(config: AlignConfig) -> Iterator[tuple[int, str]]:
    phases = phases_of(config)
    for phase in phases:
        mix = ", ".join(f"{domain} {number}" for domain, number in shares(phase.mix, config.prompts_per_step).items())
        yield (
            phase.start,
            f"{phase.name} until {phase.end}: prompts {mix or 'all alike'} of {config.prompts_per_step} a step, "
            f"temperature {phase.temperature:g}, max_new_tokens {phase.max_new_tokens:,}, lr {phase.lr:g}",
        )
    schedules = {each.term: parse_schedule(each.weight, each.term) for each in config.rewards}
    before: dict[str, float] = {}
    for step in range(config.steps):
        phase = phase_at(phases, step)
        if step % config.steps_per_rollout == 0:
            now = {term: value_at(phase.weights.get(term, own), step) for term, own in schedules.items()}
            moved = [f"{term} {weight:g}" for term, weight in now.items() if weight != before.get(term)]
            if moved:
                yield step, f"weights: {', '.join(moved)}"
            before = now
        if config.loss.beta and config.ref_update_steps and (step + 1) % config.ref_update_steps == 0:
            yield step + 1, "reference model: replaced by the policy"
        if config.evaluation.data and config.evaluation.every and (step + 1) % config.evaluation.every == 0:
            yield step + 1, "evaluation"
    yield config.steps, "end"
