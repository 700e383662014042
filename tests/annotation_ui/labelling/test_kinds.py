"""Ratings and rankings: the order drawn for every person, what is stored, refused, undone and edited."""

from __future__ import annotations

from collections import Counter

import pytest
from annotating import NOW, taken_adds_up
from kinds import ATTRIBUTES, fill_kind, rank, rate, texts
from sqlalchemy import select

from annotation_ui.labelling import session as annotating
from annotation_ui.labelling.judgements import Contradiction
from annotation_ui.store.database import Database
from annotation_ui.store.forms import Form
from annotation_ui.store.projects import Settings
from annotation_ui.store.tables import Judgement
from annotation_ui.store.verdicts import VerdictError, slots_shown, turned


def stored(database: Database) -> list[Judgement]:
    with database.read() as session:
        return list(session.scalars(select(Judgement).order_by(Judgement.id)))


def test_the_order_is_drawn_anew_for_every_person_and_item(database: Database) -> None:
    fill_kind(
        database, "ranking", items=30, responses=4, settings=Settings(votes_per_item=2, gold_rate=0, repeat_rate=0)
    )
    seen = Counter()
    for who in ("ann", "bob"):
        for _ in range(30):
            task = annotating.next_task(database, who, "p", now=NOW)
            assert task is not None
            assert sorted(text[0] for text in texts(task)) == list("abcd")
            again = annotating.next_task(database, who, "p", now=NOW)
            assert again is not None
            assert again.shown == task.shown  # the same after a reload
            seen["".join(text[0] for text in texts(task))] += 1
            rank(database, who, "abcd")
    assert len(seen) > 15  # of 24 orders, in 60 draws
    for place in range(4):  # every response comes first, second, … : 15 times of 60 in the mean, deviation 3.4
        assert all(3 <= sum(n for order, n in seen.items() if order[place] == slot) <= 27 for slot in "abcd")


def test_ranks_are_stored_for_the_responses_whatever_the_order_of_the_screen(database: Database) -> None:
    fill_kind(database, "ranking", items=8, responses=3)
    for _ in range(8):
        rank(database, "ann", "ca=b")
    found = stored(database)
    assert [j.payload for j in found] == [{"ranks": {"a": 2, "b": 2, "c": 1}}] * 8
    assert len({j.left for j in found}) > 1
    assert {j.label for j in found} == {"ranked"}
    assert taken_adds_up(database)


def test_ranks_leave_no_number_out(sqlite: Database) -> None:
    fill_kind(sqlite, "ranking", items=1, responses=3)
    task = annotating.next_task(sqlite, "ann", "p", now=NOW)
    assert task is not None
    annotating.vote(sqlite, "ann", "p", task.token, {"label": "ranked", "ranks": [3, 1, 3]}, now=NOW)
    [judgement] = stored(sqlite)
    assert judgement.payload is not None
    assert sorted(judgement.payload["ranks"].values()) == [1, 2, 2]


def test_ratings_are_stored_for_the_responses_whatever_the_order_of_the_screen(database: Database) -> None:
    fill_kind(database, "attributes", items=6, responses=2)
    for _ in range(6):
        rate(database, "ann", {"a": [4, 4, 4, 1, 2], "b": [0, 1, 3, 2, 4]})
    found = stored(database)
    assert {j.left for j in found} == {"a", "b"}
    expected = {"a": [4, 4, 4, 1, 2], "b": [0, 1, 3, 2, 4]}
    for judgement in found:
        assert judgement.payload == {
            "ratings": {slot: dict(zip(ATTRIBUTES, given, strict=True)) for slot, given in expected.items()}
        }


def test_undo_edit_and_a_second_sending(database: Database) -> None:
    fill_kind(database, "ranking", items=1, responses=3)
    task = annotating.next_task(database, "ann", "p", now=NOW)
    assert task is not None
    said = {"label": "ranked", "ranks": [1, 2, 3]}
    for _ in range(2):
        annotating.vote(database, "ann", "p", task.token, said, now=NOW)
    with pytest.raises(Contradiction):
        annotating.vote(database, "ann", "p", task.token, {"label": "ranked", "ranks": [2, 1, 3]}, now=NOW)
    [past] = annotating.history(database, "ann", "p")
    shown = annotating.past_task(database, "ann", "p", past.judgement)
    assert shown.said is not None
    assert (shown.said["ranks"], shown.shown) == ([1, 2, 3], task.shown)
    annotating.edit(database, "ann", "p", past.judgement, {"label": "ranked", "ranks": [1, 1, 2]}, now=NOW)
    [past] = annotating.history(database, "ann", "p")
    annotating.undo(database, "ann", "p", past.judgement, now=NOW)
    again = annotating.next_task(database, "ann", "p", now=NOW)
    assert again is not None
    assert again.said is not None
    assert (again.said["ranks"], again.shown) == ([1, 1, 2], task.shown)
    assert [j.label for j in stored(database)] == ["ranked", "ranked", "withdrawn"]


def test_a_repeat_is_shown_in_the_opposite_order() -> None:
    assert (turned("a"), turned("b"), turned("cab")) == ("b", "a", "bac")
    assert slots_shown("cab", 3) == ("c", "a", "b")
    assert (slots_shown("b", 2), slots_shown("a", 2), slots_shown(None, 3)) == (("b", "a"), ("a", "b"), ("a", "b", "c"))
    assert slots_shown("<b>", 3) == ("a", "b", "c")  # no order of these responses


@pytest.mark.parametrize(
    "said",
    [
        {"label": "ranked"},
        {"label": "ranked", "ranks": [1, 2]},
        {"label": "ranked", "ranks": [1, 2, None]},
        {"label": "ranked", "ranks": [1, 2, 4]},
        {"label": "ranked", "ranks": [1, 2, 0]},
        {"label": "ranked", "ranks": [1, 2, True]},
        {"label": "ranked", "ranks": [1, 2, "3"]},
        {"label": "ranked", "ranks": {"a": 1, "b": 2, "c": 3}},
        {"label": "ranked", "ranks": [1, 1, 2]},
        {"label": "ranked", "ranks": [1, 2, 3], "strength": 1},
        {"label": "rated", "ratings": [{}, {}, {}]},
        {"label": "a", "ranks": [1, 2, 3]},
    ],
)
def test_ranks_from_a_browser_are_checked(sqlite: Database, said: dict[str, object]) -> None:
    fill_kind(sqlite, "ranking", items=1, responses=3, form=Form(ties=False))
    task = annotating.next_task(sqlite, "ann", "p", now=NOW)
    assert task is not None
    with pytest.raises(VerdictError):
        annotating.vote(sqlite, "ann", "p", task.token, said, now=NOW)
    assert stored(sqlite) == []


@pytest.mark.parametrize(
    "ratings",
    [
        None,
        [],
        [{"tone": 1, "care": 2}],
        [{"tone": 1, "care": 2}, {"tone": 1}],
        [{"tone": 1, "care": 2}, {"tone": 1, "care": 6}],
        [{"tone": 1, "care": 2}, {"tone": 0, "care": 1}],
        [{"tone": 1, "care": 2}, {"tone": 1, "care": 2.5}],
        [{"tone": 1, "care": 2}, {"tone": 1, "care": True}],
        [{"tone": 1, "care": 2}, {"tone": 1, "care": 2, "<img src=x>": 1}],
        [{"tone": 1, "care": 2}, "tone"],
    ],
)
def test_ratings_from_a_browser_are_checked(sqlite: Database, ratings: object) -> None:
    form = Form(attributes={"tone": "", "care": ""}, scale=(1, 5))
    fill_kind(sqlite, "attributes", items=1, responses=2, form=form)
    task = annotating.next_task(sqlite, "ann", "p", now=NOW)
    assert task is not None
    with pytest.raises(VerdictError):
        annotating.vote(sqlite, "ann", "p", task.token, {"label": "rated", "ratings": ratings}, now=NOW)
    assert stored(sqlite) == []
