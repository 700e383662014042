"""Samples of a prompt, and the division of samples that keeps them together."""

from __future__ import annotations

from collections.abc import Sequence

from align.rewards.terms import Sample


def places_by_group(samples: Sequence[Sample]) -> list[list[int]]:
    """The places of each group's samples, in the order of their first one; a sample without a group stands alone."""
    groups: dict[int | tuple[str, int], list[int]] = {}
    for place, sample in enumerate(samples):
        groups.setdefault(("alone", place) if sample.group is None else sample.group, []).append(place)
    return list(groups.values())


def whole_batches(samples: Sequence[Sample], size: int) -> list[list[int]]:
    """The places of the samples in batches of at most ``size``; a group stays whole, and may be larger."""
    batches: list[list[int]] = []
    for group in places_by_group(samples):
        if batches and len(batches[-1]) + len(group) <= size:
            batches[-1] += group
        else:
            batches.append(list(group))
    return batches


def whole_halves(samples: Sequence[Sample]) -> tuple[list[int], list[int]] | None:
    """Two parts of about equal size that divide no group; ``None`` for a single group."""
    groups = places_by_group(samples)
    if len(groups) < 2:
        return None
    middle = len(groups) // 2
    one, other = ([place for group in part for place in group] for part in (groups[:middle], groups[middle:]))
    return one, other
