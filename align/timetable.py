"""The changes that a run's schedule makes, and the same schedule over another number of steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from align.config import AlignConfig, phases_of
from align.phases import phase_at, shares
from align.rollouts.config import RolloutConfig
from align.schedule import parse_schedule, stretched, value_at

if TYPE_CHECKING:
    from align.rollouts.prompts import PromptSet


def scheduled(config: AlignConfig) -> str | None:
    """The first entry of the rewards whose weight is not the same at every step; ``None`` if all are constant."""
    for each in config.rewards:
        own = parse_schedule(each.weight, each.term)
        weights = [phase.weights.get(each.term, own) for phase in phases_of(config)]
        if any(isinstance(weight, list) or weight != weights[0] for weight in weights):
            return each.term
    return None


def shortened(config: AlignConfig, steps: int) -> AlignConfig:
    """The same run in fewer (or more) steps: phases, schedules, reference updates and evaluations in proportion.

    Raises:
        ValueError: a phase would become too short to begin.
    """
    factor, rollout = steps / config.steps, config.steps_per_rollout

    def scaled(number: int, multiple: int = 1) -> int:
        """Scale a step count; 0 means never and is unchanged."""
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


def described(config: AlignConfig, prompts: PromptSet, held_out: PromptSet | None) -> list[str]:
    """Sentences about the prompts that were read, those that were left out, the size of the run, and its engines."""
    out = "".join(f"; {number:,} left out ({reason})" for reason, number in prompts.dropped.items())
    held = f"; {len(held_out):,} held out for evaluation" if held_out is not None else ""
    rollouts = -(-config.steps // config.steps_per_rollout)
    return [
        f"{len(prompts):,} prompts{out}{held}",
        f"{config.steps:,} steps of {config.prompts_per_step} × {config.samples_per_prompt} responses, out of "
        f"{rollouts:,} rollouts of {config.prompts_per_rollout * config.samples_per_prompt:,}",
        *engines_of(config),
    ]


def engines_of(config: AlignConfig) -> list[str]:
    """Sentences about the engines of the rollouts, and about what happens at the same time."""
    rollout = config.rollout
    if rollout.engine == "local":
        return ["rollouts: sampled by the training model, one thing after the other"]
    if rollout.engine == "vllm_colocated":
        return [
            "rollouts: sampled by vLLM in the training processes, one thing after the other; on a GPU it takes "
            f"{rollout.vllm_memory:.0%} of the memory while it samples (rollout.vllm_memory)"
        ]
    count, reason = len(rollout.urls), config.needs_whole_rollout
    found = [f"rollouts: sampled by {count} vLLM server{'s' * (count > 1)}: {', '.join(rollout.urls)}"]
    if rollout.max_rows != RolloutConfig.max_rows:
        found[0] += "; rollout.max_rows has no effect (rollout.engine=vllm)"
    if config.model.lora is not None:
        found.append(
            "adapters: sent as they are, the frozen weights once (rollout.adapters=sent)"
            if rollout.adapters == "sent"
            else "adapters: sent merged, with all weights (rollout.adapters=merged)"
        )
    if not rollout.overlap:
        found.append("overlap: none; a rollout is sampled, then scored, then learnt from (rollout.overlap=false)")
    elif reason:
        found.append(f"overlap: sampling and scoring; the updates wait for the whole rollout, for {reason}")
    else:
        found.append("overlap: a step is made when its own prompts are answered and scored")
    if rollout.ahead:
        steps = config.steps_per_rollout
        found.append(
            f"ahead: rollouts are sampled {rollout.ahead} ahead, with weights that are {steps} to {2 * steps - 1} "
            "updates old when they are learnt from (staleness)"
        )
    return found


def changes(config: AlignConfig) -> list[tuple[int, str]]:
    """(step, description of the change) in order, to show a schedule before it runs."""
    return sorted(_changes(config), key=lambda change: change[0])


def _changes(config: AlignConfig) -> Iterator[tuple[int, str]]:
    phases = phases_of(config)
    for phase in phases:
        mix = ", ".join(f"{domain} {number}" for domain, number in shares(phase.mix, config.prompts_per_step).items())
        yield (
            phase.start,
            f"{phase.name} until {phase.end}: "
            f"{config.prompts_per_step} prompts a step ({mix or 'of all domains, as drawn'}), "
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
