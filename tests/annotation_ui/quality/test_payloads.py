"""Agreement on ratings and orders, against computations of another kind."""

from __future__ import annotations

from itertools import combinations, permutations
from random import Random
from typing import Any

import numpy as np
import pytest

from annotation_ui.quality.payloads import ORDER, agreement, disagreement, same, units


def by_pairs_of_values(units: list[list[int]], distance: Any) -> float:
    """Krippendorff's α from its definition: pairs of values within units over pairs of all values."""
    units = [values for values in units if len(values) > 1]
    everything = [value for values in units for value in values]
    observed = sum(
        distance(a, b, everything) / (len(values) - 1) for values in units for a, b in permutations(values, 2)
    ) / len(everything)
    expected = sum(distance(a, b, everything) for a, b in permutations(everything, 2))
    return float(1 - observed / (expected / (len(everything) * (len(everything) - 1))))


def ordinal(a: int, b: int, everything: list[int]) -> float:
    low, high = min(a, b), max(a, b)
    between = sum(low <= value <= high for value in everything)
    return (between - (everything.count(low) + everything.count(high)) / 2) ** 2 if low != high else 0.0


def nominal(a: int, b: int, _: list[int]) -> float:
    return float(a != b)


def rated(**ratings: int) -> dict[str, Any]:
    return {"ratings": {"a": ratings}}


def test_alpha_of_an_attribute_by_its_definition() -> None:
    draw = Random(4)
    units = []
    votes = []
    for item in range(24):
        true = draw.randrange(5)
        values = [min(4, max(0, true + draw.choice((-1, 0, 0, 1)))) for _ in range(draw.choice((1, 2, 3)))]
        units.append(values)
        votes += [(item, f"person {n}", rated(tone=value, care=4 - value)) for n, value in enumerate(values)]
    tone, care = agreement(votes)
    expected = by_pairs_of_values(units, ordinal)
    assert tone.alpha == pytest.approx(expected, abs=1e-12)
    assert care.alpha == pytest.approx(expected, abs=1e-12)  # the scale turned round
    assert (tone.name, tone.units) == ("tone", sum(len(values) > 1 for values in units))
    assert tone.mean == pytest.approx(np.mean([value for values in units for value in values]))
    assert tone.interval is not None
    assert tone.interval[0] < expected < tone.interval[1]


def test_alpha_of_orders_by_its_definition() -> None:
    draw = Random(5)
    votes, pairs = [], []
    for item in range(11):
        rankings = [dict(zip("abc", draw.choices((1, 2, 3), k=3), strict=True)) for _ in range(3)]
        votes += [(item, f"person {n}", {"ranks": ranks}) for n, ranks in enumerate(rankings)]
        pairs += [[int(np.sign(r[one] - r[other])) for r in rankings] for one, other in combinations("abc", 2)]
    [order] = agreement(votes)
    assert (order.name, order.units, order.mean) == (ORDER, 33, None)
    assert order.alpha == pytest.approx(by_pairs_of_values(pairs, nominal), abs=1e-12)


def test_an_interval_draws_items_and_not_their_units() -> None:
    """Eight equal responses say no more than one: the interval is that of an item with one response."""
    draw = Random(6)
    ones, eights = [], []
    for item in range(20):
        for who in ("ann", "bob"):
            rating = draw.randrange(5)
            ones.append((item, who, {"ratings": {"a": {"tone": rating}}}))
            eights.append((item, who, {"ratings": {slot: {"tone": rating} for slot in "abcdefgh"}}))
    one, eight = agreement(ones)[0].interval, agreement(eights)[0].interval
    assert one is not None
    assert eight is not None
    assert np.allclose(one, eight, atol=0.04)  # α itself differs by the correction for small samples


def test_no_interval_below_ten_items() -> None:
    votes = [(item, who, rated(tone=item % 5)) for item in range(9) for who in ("ann", "bob")]
    [tone] = agreement(votes)
    assert (tone.alpha, tone.interval) == (1.0, None)


def test_the_answers_of_a_verdict() -> None:
    assert list(units({"ratings": {"b": {"tone": 3}}})) == [("tone", "b", "3")]
    assert list(units({"ranks": {"b": 1, "a": 2, "c": 2}})) == [
        (ORDER, "ab", "second"),
        (ORDER, "ac", "tie"),
        (ORDER, "bc", "first"),
    ]
    assert same({"ranks": {"a": 1, "b": 2, "c": 2}}, {"ranks": {"a": 1, "b": 2, "c": 3}}) == (2, 3)


@pytest.mark.parametrize(
    ("payloads", "reason"),
    [
        ([rated(tone=1), rated(tone=2)], None),
        ([rated(tone=1), rated(tone=2), rated(tone=3)], "annotators disagree on tone: 1 to 3"),
        ([{"ranks": {"a": 1, "b": 2}}, {"ranks": {"a": 1, "b": 1}}], None),
        ([{"ranks": {"a": 1, "b": 2}}, {"ranks": {"a": 2, "b": 1}}], "annotators disagree on the order"),
        ([{}], None),
    ],
)
def test_what_a_reviewer_should_look_at(payloads: list[dict[str, Any]], reason: str | None) -> None:
    assert disagreement(payloads) == reason


def test_an_attribute_may_be_called_order() -> None:
    payload = {"ratings": {"a": {"order": 3}, "b": {"order": 1}}, "ranks": {"a": 1, "b": 2}}
    votes = [(1, who, payload) for who in ("ann", "bob")]
    assert [(found.name, found.mean, found.units) for found in agreement(votes)] == [
        ("order", 2.0, 2),
        (ORDER, None, 1),
    ]
