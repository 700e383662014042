"""Agreement on ratings and ranks: the figures of projects whose verdicts are more than one label.

A unit is what two people must agree on: a response's rating of one attribute, or the order of two responses. An item
has several units; intervals are of resampled items, since the units of an item are not independent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from annotation_ui.quality.agreement import Level, krippendorff_alpha, label_matrix
from annotation_ui.quality.intervals import Interval, alpha_interval

Payload = Mapping[str, Any]
# Two people's ratings of one response are a disagreement from this distance on.
FAR = 2
ORDER = "order of two"  # the question that ranks answer; no attribute has such a name
ORDERS = ("first", "second", "tie")  # of two responses by their slots
TURNS = "assistant turns"  # no attribute has this name: those have no spaces


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """One question of a project.

    Args:
        name: the attribute, :data:`ORDER`, or :data:`TURNS`.
        alpha, interval: Krippendorff's α, ordinal for ratings and else nominal, with its interval at 95 %.
        units: rated responses, pairs of responses, or turns, that two people or more judged.
        mean: of all ratings; ``None`` of anything else.
        shares: answer → how many gave it.
    """

    name: str
    alpha: float | None
    interval: Interval | None
    units: int
    mean: float | None
    shares: list[tuple[str, int]]


def agreement(votes: Sequence[tuple[int, str, Payload]]) -> list[Agreed]:
    """The agreement on every question of ``(item, annotator, payload)`` votes."""
    answers: dict[str, list[tuple[int, str, str, str]]] = {}
    for item, who, payload in votes:
        for question, unit, answer in units(payload):
            answers.setdefault(question, []).append((item, who, unit, answer))
    return [_agreed(question, given) for question, given in answers.items()]


def units(payload: Payload) -> Iterable[tuple[str, str, str]]:
    """``(question, unit, answer)`` of everything that a verdict says."""
    for slot, ratings in payload.get("ratings", {}).items():
        for name, rating in ratings.items():
            yield name, slot, str(rating)
    for (one, rank), (other, behind) in combinations(sorted(payload.get("ranks", {}).items()), 2):
        yield ORDER, one + other, ORDERS[0] if rank < behind else ORDERS[1] if rank > behind else ORDERS[2]
    for turn, label in payload.get("turns", {}).items():
        yield TURNS, turn, label


def _agreed(question: str, given: Sequence[tuple[int, str, str, str]]) -> Agreed:
    ordered = question == ORDER
    turns = question == TURNS
    level: Level = "nominal" if ordered or turns else "ordinal"
    labels = ORDERS if ordered else tuple(str(n) for n in range(10))
    if turns:
        labels = tuple(dict.fromkeys(answer for *_, answer in given))
    matrix_NA, rows, _ = label_matrix([((item, unit), who, answer) for item, who, unit, answer in given], labels)
    counts = [(label, sum(answer == label for *_, answer in given)) for label in labels]
    used = [place for place, (_, count) in enumerate(counts) if count]
    return Agreed(
        name=question,
        alpha=krippendorff_alpha(matrix_NA, level),
        interval=alpha_interval(matrix_NA, level, [row[0] for row in rows]),
        units=int(np.sum(np.sum(matrix_NA >= 0, axis=1) >= 2)),
        mean=None if level == "nominal" else float(np.mean([int(answer) for *_, answer in given])),
        shares=counts if level == "nominal" else counts[used[0] : used[-1] + 1],
    )


def same(one: Payload, other: Payload) -> tuple[int, int]:
    """``(equal, all)`` answers of two verdicts on one item."""
    first = {(question, unit): answer for question, unit, answer in units(one)}
    second = {(question, unit): answer for question, unit, answer in units(other)}
    shared = first.keys() & second.keys()
    return sum(first[key] == second[key] for key in shared), len(shared)


def disagreement(payloads: Sequence[Payload]) -> str | None:
    """A reason for a reviewer to look at an item, in words; ``None`` where its annotators agree well enough.

    They do not where two ratings of one attribute differ by :data:`FAR`, or one puts first what another puts behind.
    """
    said: dict[tuple[str, str], set[str]] = {}
    for payload in payloads:
        for question, unit, answer in units(payload):
            said.setdefault((question, unit), set()).add(answer)
    for (question, _), answers in said.items():
        if question == TURNS:
            if len(answers) > 1:
                return "annotators disagree on a turn of the conversation"
            continue
        if {"first", "second"} <= answers:
            return "annotators disagree on the order"
        numbers = [int(answer) for answer in answers if answer.isdigit()]
        if numbers and max(numbers) - min(numbers) >= FAR:
            return f"annotators disagree on {question}: {min(numbers)} to {max(numbers)}"
    return None
