"""The forecast: by hand where the pace is even, with an interval that holds as often as it says, and its cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from annotating import NOW
from kinds import PLAIN, fill_kind

from annotation_ui.actions.administration import progress_of
from annotation_ui.labelling import session as annotating
from annotation_ui.labelling.forecast import DAY, HOUR, Range, end_of
from annotation_ui.store.accounts import Forbidden
from annotation_ui.store.database import Database
from annotation_ui.web import pages


def evenly(per_day: int, days: int) -> list[float]:
    """Votes in the middle of equal parts of every day before now."""
    return [NOW - (n + 0.5) / per_day * DAY for n in range(per_day * days)]


def end_after(created: Sequence[float], left: int) -> Range | None:
    hours = Counter(math.floor((NOW - time) / HOUR) for time in created)
    return end_of(hours, min(created, default=NOW), left, NOW)


def test_an_even_pace_goes_on() -> None:
    found = end_after([NOW - 6 * DAY, *evenly(10, 6)], 30)
    assert found is not None
    assert found.value == pytest.approx(NOW + 3 * DAY)
    assert (found.low, found.high) == pytest.approx((found.value, found.value))


def test_a_short_record_is_counted_by_the_hour() -> None:
    created = [NOW - 8 * HOUR, *(NOW - (n + 0.5) * HOUR / 5 for n in range(40))]
    found = end_after(created, 10)
    assert found is not None
    assert found.value == pytest.approx(NOW + 2 * HOUR)


def test_too_little_for_an_interval_or_for_anything() -> None:
    assert end_after([], 5) is None
    assert end_after([NOW - 60], 0) is None
    found = end_after([NOW - 2 * HOUR, NOW - HOUR / 2], 1)
    assert found is not None
    assert found.low is None
    stopped = end_after([NOW - 1.2 * HOUR] * 3, 3)  # three votes in the two hours since the first
    assert stopped is not None
    assert stopped.value == pytest.approx(NOW + 2 * HOUR)
    assert end_after([NOW - 10 * DAY, NOW - 9 * DAY], 10**9) is None  # in millions of years


def test_days_off_have_no_upper_end() -> None:
    found = end_after([NOW - 7 * DAY - 1, *[NOW - 6.5 * DAY] * 20], 1000)
    assert found is not None
    assert found.low is not None
    assert found.high is None  # many of the resampled weeks are without a vote


def test_the_interval_holds_about_as_often_as_it_says() -> None:
    """Days of a mean of 20 votes; the true end is drawn from the same days."""
    draw, held, trials = np.random.default_rng(1), 0, 150
    for _ in range(trials):
        counts = draw.negative_binomial(4, 4 / 24, size=14)
        created = [NOW - 14 * DAY, *(NOW - (day + 0.5) * DAY for day, count in enumerate(counts) for _ in range(count))]
        found = end_after(created, 400)
        assert found is not None
        days = 1 + int(np.argmax(draw.negative_binomial(4, 4 / 24, size=200).cumsum() >= 400))
        high = np.inf if found.high is None else found.high
        held += found.low is not None and found.low - DAY <= NOW + days * DAY <= high + DAY
    assert 0.88 <= held / trials <= 1


@pytest.fixture
def judged(database: Database) -> Callable[..., Database]:
    def fill(hourly_rate: float = 0.0, skips: int = 0) -> Database:
        settings = replace(PLAIN, hourly_rate=hourly_rate)
        fill_kind(database, "ranking", items=40, responses=2, settings=settings)
        for n in range(24):
            task = annotating.next_task(database, "ann", "p", now=NOW)
            assert task is not None
            said = {"label": "ranked", "ranks": [1, 2]}
            if n < skips:
                said = {"label": "skip", "skip_reason": "I cannot tell"}
            annotating.vote(database, "ann", "p", task.token, said, dwell_ms=36_000, now=NOW + 600 * n)
        return database

    return fill


def test_the_work_that_is_left(judged: Callable[..., Database]) -> None:
    database = judged(hourly_rate=20.0)
    progress, found = progress_of(database, "rev", "p", now=NOW + 4 * HOUR)
    assert (progress.votes, found.items, found.votes) == (24, 16, 16)
    assert found.per_hour == pytest.approx(100)  # 36 s each
    assert found.hours == Range(value=pytest.approx(0.16), low=pytest.approx(0.16), high=pytest.approx(0.16))
    assert found.spent == pytest.approx(4.8)
    assert found.rest is not None
    assert found.rest.value == pytest.approx(3.2)
    assert found.end is not None
    assert found.end.value == pytest.approx(NOW + 4 * HOUR + 16 / 6 * HOUR)  # six an hour
    with pytest.raises(Forbidden):
        progress_of(database, "ann", "p", now=NOW)


def test_skips_are_work(judged: Callable[..., Database]) -> None:
    database = judged(skips=12)
    _, found = progress_of(database, "rev", "p", now=NOW + 4 * HOUR)
    assert (found.votes, found.per_hour, found.spent, found.rest) == (28, pytest.approx(50), None, None)
    assert found.hours is not None
    assert found.hours.value == pytest.approx(0.56)
    html = pages.act(database, "rev", {"action": "dashboard", "project": "p"}, now=NOW + 4 * HOUR)["html"]
    assert "votes an hour of work" in html
    assert "done at this pace" in html
    assert "cost so far" not in html


def test_votes_without_a_time_beside_a_skip_with_one(database: Database) -> None:
    fill_kind(database, "ranking", items=4, responses=2, settings=PLAIN)
    for n, said in enumerate(({"label": "skip", "skip_reason": "I cannot tell"}, {"label": "ranked", "ranks": [1, 2]})):
        task = annotating.next_task(database, "ann", "p", now=NOW)
        assert task is not None
        annotating.vote(database, "ann", "p", task.token, said, dwell_ms=0 if n else 1000, now=NOW)
    _, found = progress_of(database, "rev", "p", now=NOW + HOUR)
    assert (found.votes, found.hours) == (3, None)
