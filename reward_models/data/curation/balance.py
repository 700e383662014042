"""Length balance: over the whole set, the length of a response must not tell whether it was chosen.

The method, *mirrored bands*: pairs are sorted into bands by how much longer one response is than the other, each band
twice as wide as the one before (1, 2–3, 4–7, … characters). In every band, as many pairs are kept whose chosen response
is the longer one as pairs whose rejected response is; of the side with too many, the most decided are kept. Pairs of
equal length stay. It has no parameters, and is exact in what it promises: whatever the band, "longer wins" is right for
half of the pairs.

Why not simply remove pairs until the mean lengths agree: a few pairs with very long rejected responses can even out
the means of a set in which the longer response still wins nearly always, and a model would learn just that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Lengths = tuple[int, int]  # chosen, rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthReport:
    """Dependence of verdicts on lengths in a set of pairs; all figures but ``pairs`` are ``None`` without pairs.

    Args:
        chosen_mean, rejected_mean: mean lengths in characters.
        chosen_longer: share of pairs whose chosen response is longer, equal lengths counting half.
        length_only_accuracy: the best that a rule can do which sees nothing but which response is longer and by which
            band: 0.5 means that lengths tell nothing.
    """

    pairs: int
    chosen_mean: float | None
    rejected_mean: float | None
    chosen_longer: float | None
    length_only_accuracy: float | None

    @classmethod
    def of(cls, lengths: Sequence[Lengths]) -> LengthReport:
        """The report on pairs of these lengths."""
        n = len(lengths)
        if not n:
            return cls(pairs=0, chosen_mean=None, rejected_mean=None, chosen_longer=None, length_only_accuracy=None)
        sides = Counter(side_and_band(pair) for pair in lengths)
        longer = sum(count for (side, _), count in sides.items() if side > 0)
        equal = sides[0, 0]
        best = sum(max(sides[1, band], sides[-1, band]) for band in {band for side, band in sides if side})
        return cls(
            pairs=n,
            chosen_mean=sum(chosen for chosen, _ in lengths) / n,
            rejected_mean=sum(rejected for _, rejected in lengths) / n,
            chosen_longer=(longer + equal / 2) / n,
            length_only_accuracy=(best + equal / 2) / n,
        )


def side_and_band(lengths: Lengths) -> tuple[int, int]:
    """``(side, band)``: 1 if chosen is longer, −1 if rejected is, 0 if neither; band b holds gaps of 2ᵇ⁻¹ … 2ᵇ − 1."""
    gap = lengths[0] - lengths[1]
    return (gap > 0) - (gap < 0), abs(gap).bit_length()


def balance(lengths: Sequence[Lengths], preference: Sequence[Any]) -> list[int]:
    """The positions, in order, of the pairs that a length-balanced set keeps.

    Args:
        preference: one key for each pair, all different; where a side of a band has too many, those with the greatest
            keys stay. With keys that depend on the pairs' contents, so does the result, and not on their order.
    """
    members: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for position, pair in enumerate(lengths):
        members[side_and_band(pair)].append(position)
    kept = list(members[0, 0])
    for side, band in list(members):
        if side:
            quota = min(len(members[side, band]), len(members[-side, band]))
            ranked = sorted(members[side, band], key=lambda position: preference[position], reverse=True)
            kept += ranked[:quota]
    return sorted(kept)
