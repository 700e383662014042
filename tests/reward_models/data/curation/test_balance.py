from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward_models.data.curation.balance import LengthReport, Lengths, balance, side_and_band
from reward_models.data.sources import load

PAIRS = st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000)), max_size=60)


def test_bands_by_hand() -> None:
    assert [side_and_band((10 + gap, 10)) for gap in (0, 1, 2, 3, 4, 7, 8)] == [
        *((0, 0), (1, 1), (1, 2), (1, 2), (1, 3), (1, 3), (1, 4)),
    ]
    assert side_and_band((10, 13)) == (-1, 2)


def test_balance_by_hand() -> None:
    lengths = [(13, 10), (12, 10), (13, 10), (10, 12), (5, 5), (100, 10), (10, 11)]
    # Band 2 holds 0, 1, 2 (chosen longer) and 3; the most decided of the three stays. Band 0 stays as it is. Chosen
    # is longer in pair 5 and rejected in pair 6, and nothing mirrors either of them.
    assert balance(lengths, [1, 3, 2, 0, 0, 9, 9]) == [1, 3, 4]
    assert balance(lengths, [3, 1, 2, 0, 0, 9, 9]) == [0, 3, 4]
    assert balance([], []) == []


def test_report_by_hand() -> None:
    report = LengthReport.of([(13, 10), (12, 10), (10, 12), (5, 5), (100, 10)])
    assert report.pairs == 5
    assert report.chosen_mean == (13 + 12 + 10 + 5 + 100) / 5
    assert report.rejected_mean == (10 + 10 + 12 + 5 + 10) / 5
    assert report.chosen_longer == (3 + 0.5) / 5
    # Right about two of the three in band 2, about the one in band 7, and about half of the equal one.
    assert report.length_only_accuracy == (2 + 1 + 0.5) / 5
    assert LengthReport.of([]) == LengthReport(
        pairs=0, chosen_mean=None, rejected_mean=None, chosen_longer=None, length_only_accuracy=None
    )


def kept(lengths: list[Lengths], preference: list[int] | None = None) -> list[Lengths]:
    return [lengths[i] for i in balance(lengths, list(range(len(lengths))) if preference is None else preference)]


@given(PAIRS)
def test_afterwards_lengths_tell_nothing(lengths: list[Lengths]) -> None:
    before, after = LengthReport.of(lengths), LengthReport.of(kept(lengths))
    if after.pairs:
        assert after.length_only_accuracy == 0.5
        assert after.chosen_longer == 0.5
        assert before.length_only_accuracy is not None
        assert before.length_only_accuracy >= 0.5  # so the gap never grows
        # Mirrored pairs differ by less than their band is wide.
        assert after.chosen_mean is not None
        assert after.rejected_mean is not None
        assert abs(after.chosen_mean - after.rejected_mean) < max(2 ** max(side_and_band(p)[1] - 1, 0) for p in lengths)


@given(PAIRS)
def test_a_balanced_set_stays_as_it_is(lengths: list[Lengths]) -> None:
    once = kept(lengths)
    assert kept(once) == once


@given(PAIRS, st.randoms())
def test_the_order_of_the_pairs_does_not_matter(lengths: list[Lengths], random: Random) -> None:
    order = list(range(len(lengths)))
    random.shuffle(order)
    plain = {(lengths[i], i) for i in balance(lengths, list(range(len(lengths))))}
    shuffled = balance([lengths[i] for i in order], order)
    assert {(lengths[order[i]], order[i]) for i in shuffled} == plain


@given(PAIRS)
def test_chosen_and_rejected_are_treated_alike(lengths: list[Lengths]) -> None:
    swapped = [(rejected, chosen) for chosen, rejected in lengths]
    preference = list(range(len(lengths)))
    assert balance(lengths, preference) == balance(swapped, preference)


@given(PAIRS)
def test_nothing_is_left_out_that_has_a_mirror(lengths: list[Lengths]) -> None:
    left_out = [p for i, p in enumerate(lengths) if i not in set(balance(lengths, list(range(len(lengths)))))]
    sides = {side_and_band(p) for p in left_out}
    assert not any((-side, band) in sides for side, band in sides)


@pytest.mark.parametrize(("name", "longer"), [("qlora_vicuna_gpt4_judged", 0.86), ("tulu_human", 0.72)])
def test_real_length_bias_is_gone(keel_data: Path, name: str, longer: float) -> None:
    records = load(str(keel_data / "helpful" / f"{name}.train.jsonl.gz"), "comparison").records
    lengths: list[Lengths] = []
    for record in records:
        a, b = len(record.response_a[-1].content), len(record.response_b[-1].content)
        lengths.append((a, b) if record.label == "a" else (b, a))
    before, after = LengthReport.of(lengths), LengthReport.of(kept(lengths))
    assert before.chosen_longer == pytest.approx(longer, abs=0.005)
    assert after.chosen_longer == 0.5
    assert after.pairs > 150
    gaps = [(r.chosen_mean or 0) - (r.rejected_mean or 0) for r in (before, after)]
    assert abs(gaps[1]) < gaps[0] / 20
