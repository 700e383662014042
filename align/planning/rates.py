"""Rates measured in a run, from its ``metrics.jsonl``: for plans of the same model on the same devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from reward_models.runtime.metrics import read_metrics


@dataclass(frozen=True)
class Rates:
    """Rates of a run.

    Attributes:
        source: the run's directory.
        decoding_step: seconds of a rollout for each token of its longest response: batches of the run's own size.
        update_tokens, pass_tokens: tokens of responses a second, in updates and in one pass for log-probabilities.
    """

    source: str
    decoding_step: float
    update_tokens: float
    pass_tokens: float


def measured_rates(directory: Path, responses: int, passes: int, steps_per_rollout: int) -> Rates:
    """The rates of the run in ``directory``, medians over its rollouts.

    Args:
        responses: of one of its rollouts. ``passes``: for log-probabilities that each rollout takes.
        steps_per_rollout: updates of each rollout.

    Raises:
        ValueError: its log has no rollout with times.
    """
    lines = read_metrics(directory / "metrics.jsonl")
    return rates_of(lines, str(directory), responses, passes, steps_per_rollout)


def rates_of(
    lines: Sequence[dict[str, Any]], source: str, responses: int, passes: int, steps_per_rollout: int
) -> Rates:
    """The same of the lines of a log."""
    rollouts = [line for line in lines if "seconds/rollout" in line and "response_length" in line]
    rollouts = rollouts[1:] if len(rollouts) > 2 else rollouts  # the first one also warms up
    if not rollouts:
        raise ValueError(f"{source}: metrics.jsonl has no rollout with times")
    updates = {line["step"]: float(line["seconds/update"]) for line in lines if "seconds/update" in line}

    def update_seconds(line: dict[str, Any]) -> float:
        return sum(updates.get(line["step"] + number, updates[line["step"]]) for number in range(steps_per_rollout))

    tokens = {line["step"]: line["response_length"] * responses for line in rollouts}
    update = median(tokens[line["step"]] / update_seconds(line) for line in rollouts)
    passed = [tokens[line["step"]] * passes / line["seconds/logprobs"] for line in rollouts if passes]
    return Rates(
        source=source,
        decoding_step=median(line["seconds/rollout"] / line["response_length_max"] for line in rollouts),
        update_tokens=update,
        pass_tokens=median(passed) if passed else 3 * update,
    )
