"""The dashboard's figures against votes counted by hand, and against real votes counted another way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from annotation_ui.exchange.importing import import_items
from annotation_ui.labelling.dwell import along, outlying_times, times_of
from annotation_ui.quality.statistics import GAPS, Vote, assess, longer_by_gap, quality
from annotation_ui.store.database import Database
from annotation_ui.store.projects import Settings, create_project, find_project
from reward_models.data.files import read_rows

NOW = 1_700_000_000.0
Fill = Callable[..., Database]


def vote(item: int, who: str, label: str, **other: object) -> Vote:
    left = "a"
    values: dict[str, object] = {
        "strength": None,
        "side": {"a": "left", "b": "right"}.get(label, label),
        "gold": None,
        "round": 0,
        "dwell_ms": 10_000,
        "lengths": (100, 400),
        "characters": 600,
        "day": 1,
        "guideline": 1,
        "shown": bool(left),
    }
    return Vote(item=item, who=who, label=label, **(values | other))  # type: ignore[arg-type]


VOTES = [
    vote(1, "ann", "a", strength=3),
    vote(1, "bob", "a", strength=1),
    vote(2, "ann", "b", strength=2, lengths=(100, 120)),
    vote(2, "bob", "b", strength=2, lengths=(100, 120)),
    vote(3, "ann", "a", dwell_ms=1000),
    vote(3, "bob", "b"),
    vote(4, "ann", "skip"),
    vote(1, "ann", "b", round=1),
    vote(9, "ann", "a", gold="a"),
    vote(8, "ann", "b", gold="a"),
]


def test_figures_by_hand() -> None:
    figures = assess(VOTES, {"rm": {1: -1.0, 2: 0.5, 3: 0.0}}, "preference")
    assert (figures.votes, figures.checks, figures.items) == (6, 3, 3)
    # Items 1 and 2 agree, 3 does not: o = (2, 2 | 1, 1), n = 3 + 3, so α = 1 − (2 / 6) / (18 / 30) = 4 / 9.
    assert figures.alpha.value == pytest.approx(4 / 9)
    assert figures.kappa.value == pytest.approx(cohen_kappa_score([0, 1, 0], [0, 1, 1]))
    assert figures.alpha.interval is None  # three items are too few for one
    assert (figures.left.of, figures.left.n) == (4, 9)
    ann, bob = figures.people
    assert (ann.name, ann.votes, ann.skips) == ("ann", 6, 1)
    assert (ann.gold.of, ann.gold.n) == (1, 2)
    assert (ann.consistent.of, ann.consistent.n) == (0, 1)
    assert bob.gold.value is None
    assert bob.consistent.interval is None
    assert (ann.hasty.of, ann.hasty.n) == (1, 6)  # 600 characters in a second
    assert (bob.longer.of, bob.longer.n) == (2, 3)
    assert dict(figures.strengths) == {3: 1, 2: 2, 1: 1, "tie": 0, "none": 2}
    assert dict(figures.labels) == {"a": 3, "b": 3, "skip": 1}
    # The model prefers b, the longer by 300, on item 1; a, the shorter by 20, on item 2; it says nothing of item 3.
    assert [(share.of, share.n) for share in figures.longer["rm"]] == [(0, 1), (0, 0), (1, 1), (0, 0), (0, 0)]
    assert [(share.of, share.n) for share in figures.longer["people"]] == [(2, 2), (0, 0), (1, 4), (0, 0), (0, 0)]


def test_the_longer_share_by_gap() -> None:
    said = [("a", (10 + gap, 10)) for gap in GAPS[1:]] + [("b", (30, 10)), ("tie", (30, 10)), ("a", (10, 10))]
    assert [(share.of, share.n) for share in longer_by_gap(said)] == [(0, 1), (1, 1), (1, 1), (1, 1), (1, 1)]


def test_times_far_from_the_usual_are_counted() -> None:
    # The median is 10 s and the middle deviation from it log 1.1: the border is 10 s · 1.1^(3.5 · 1.4826) = 16.4 s.
    usual = [9_000, 9_091, 10_000, 11_000, 12_000]
    assert outlying_times(usual) == []
    assert outlying_times([*usual, 9_100, 10_900, 16_000]) == []
    assert outlying_times([*usual, 500, 600_000]) == [500, 600_000]
    times = times_of([*usual, 500, 600_000])
    assert times is not None
    assert (times.n, times.low, times.median, times.high) == (7, 9.0455, 10.0, 11.5)
    assert times.outliers == (0.5, 600.0)
    assert times_of([]) is None
    assert (
        outlying_times([]) == outlying_times([5, 5, 5, 900]) == []
    )  # without any spread there is nothing to measure by


def test_reliability_needs_items_that_several_judged() -> None:
    alone = assess([vote(n, "ann", "a") for n in range(5)], {}, "preference")
    assert alone.people[0].reliability is None
    labels = {"ann": "ababababab", "bob": "ababababab", "cyd": "bababababa"}
    votes = [vote(n, who, label) for who, said in labels.items() for n, label in enumerate(said)]
    known = {person.name: person.reliability for person in assess(votes, {}, "preference").people}
    assert known["ann"] == known["bob"]
    assert known["ann"] is not None
    assert known["cyd"] is not None
    assert known["ann"] > 0.85
    assert known["cyd"] < 0.15


def test_nothing_judged_is_undefined_not_zero() -> None:
    figures = assess([], {}, "safety")
    assert [e.value for e in (figures.alpha, figures.kappa, figures.fleiss, figures.left)] == [None] * 4


def test_agreement_of_real_votes(sqlite: Database, keel_data: Path) -> None:
    """PandaLM's three annotators; Fleiss's kappa counted here straight from the file."""
    file = keel_data / "annotations" / "pandalm_human.test.jsonl.gz"
    with sqlite.write() as session:
        create_project(session, "p", "preference", Settings(), author="root", now=NOW)
    done = import_items(sqlite, "p", [str(file)], max_bad=10, author="root", now=NOW)
    left_out = {row.line for row in done.bad}
    every = [item[1] for item in read_rows(file) if isinstance(item, tuple) and item[0] not in left_out]
    by_content: dict[object, dict[str, Any]] = {}
    for row in every:  # a pair that occurs twice is one item, and the votes read first count
        texts = (row["response_a"][0]["content"], row["response_b"][0]["content"])
        by_content.setdefault((row["prompt"][0]["content"], frozenset(texts)), row)
    rows = list(by_content.values())
    counts = np.array(
        [[[v["label"] for v in row["annotations"]].count(label) for label in ("a", "b", "tie")] for row in rows]
    )
    assert done.added.known == len(every) - len(rows) == 1
    observed = ((counts * (counts - 1)).sum(axis=1) / 6).mean()
    expected = ((counts.sum(axis=0) / counts.sum()) ** 2).sum()
    with sqlite.read() as session:
        figures = quality(session, find_project(session, "p"))
    assert figures.votes == counts.sum()
    assert figures.fleiss.value == pytest.approx((observed - expected) / (1 - expected))
    assert figures.left.n == 0  # imported votes do not say what was on the left
    by_name = {tuple(v["annotator"] for v in row["annotations"]) for row in rows}
    assert by_name == {("annotator1", "annotator2", "annotator3")}
    columns = list(zip(*([v["label"] for v in row["annotations"]] for row in rows), strict=True))
    pairwise = [cohen_kappa_score(columns[i], columns[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert figures.kappa.value == pytest.approx(np.mean(pairwise))  # all pairs share all items
    assert sum(count for _, count in figures.strengths) == counts.sum()  # imported votes are in the picture


def test_the_axis_of_times_is_logarithmic_and_ends_at_an_hour() -> None:
    assert [along(seconds) for seconds in (0.2, 1, 60, 3600, 90_000)] == [0.0, 0.0, 50.0, 100.0, 100.0]
