"""Leases and the queue: who gets which item, through the functions the app calls."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import pytest
from annotating import LEFT, NOW, SKIP, in_hands, judge, taken_adds_up
from sqlalchemy import func, select

from annotation_ui.labelling import session as annotating
from annotation_ui.labelling.judgements import LeaseLost, first_votes
from annotation_ui.store.database import Database
from annotation_ui.store.projects import Settings, find_project
from annotation_ui.store.tables import Assignment, Judgement

Fill = Callable[..., Database]


def test_everyone_gets_different_items_until_each_has_its_votes(database: Database, fill: Fill) -> None:
    fill(database, items=3, settings=Settings(votes_per_item=2, gold_rate=0, repeat_rate=0))
    seen: dict[str, list[str]] = {name: [] for name in ("ann", "bob", "cyd")}
    for _ in range(2):
        for name, items in seen.items():
            items.append(judge(database, name))
    assert all(annotating.next_task(database, name, "p", now=NOW) is None for name in seen)
    assert all(len(set(items)) == len(items) for items in seen.values())
    assert set(Counter(item for items in seen.values() for item in items).values()) == {2}
    assert taken_adds_up(database)


def test_reloading_shows_the_item_in_hand(database: Database, fill: Fill) -> None:
    fill(database)
    first = annotating.next_task(database, "ann", "p", now=NOW)
    assert first == annotating.next_task(database, "ann", "p", now=NOW + 5)
    other = annotating.next_task(database, "bob", "p", now=NOW)
    assert first is not None
    assert other is not None
    assert first.prompt != other.prompt


def test_a_clock_that_is_set_back_holds_no_item(database: Database, fill: Fill) -> None:
    fill(database, items=1)
    two_days = 2 * 86400.0
    assert annotating.next_task(database, "ann", "p", now=NOW + two_days) is not None  # the clock was wrong
    assert annotating.next_task(database, "bob", "p", now=NOW) is not None
    assert annotating.next_task(database, "ann", "p", now=NOW) is None
    assert taken_adds_up(database)


def test_a_vote_that_goes_on_leases_the_next_item_with_it(database: Database, fill: Fill) -> None:
    fill(database, items=4)
    first = annotating.next_task(database, "ann", "p", now=NOW)
    assert first is not None
    for _ in range(2):  # the second one is a repetition of the first, and takes nothing
        annotating.vote(database, "ann", "p", first.token, LEFT, go_on=True, now=NOW)
        with database.read() as session:
            assert session.scalars(select(Assignment.state).order_by(Assignment.id)).all() == ["done", "leased"]
    second = annotating.next_task(database, "ann", "p", now=NOW + 1)
    assert second is not None
    assert second.expires == NOW + 900  # leased by the vote, not by asking
    annotating.vote(database, "ann", "p", second.token, SKIP, go_on=True, now=NOW)
    assert in_hands(database) == 0
    assert taken_adds_up(database)


def test_what_was_left_alone_comes_before_what_a_vote_would_go_on_to(database: Database, fill: Fill) -> None:
    fill(database, items=3)
    left_alone = annotating.next_task(database, "ann", "p", now=NOW)
    mine = annotating.next_task(database, "bob", "p", now=NOW + 800)
    assert left_alone is not None
    assert mine is not None
    annotating.vote(database, "bob", "p", mine.token, LEFT, go_on=True, now=NOW + 901)
    after = annotating.next_task(database, "bob", "p", now=NOW + 901)
    assert after is not None
    assert after.prompt == left_alone.prompt


def test_the_progress_counts_the_votes_in_force(database: Database, fill: Fill) -> None:
    fill(database, items=40, gold=10, settings=Settings(votes_per_item=2, gold_rate=0.2, repeat_rate=0.2))
    for n in range(30):
        judge(database, ("ann", "bob")[n % 2], SKIP if n % 7 == 0 else LEFT)
    annotating.undo(database, "bob", "p", annotating.history(database, "bob", "p")[1].judgement, now=NOW)
    annotating.next_task(database, "cyd", "p", now=NOW)
    with database.read() as session:
        votes = first_votes(find_project(session, "p")).where(Judgement.label != "skip").order_by(None)
        counted = session.scalar(select(func.count()).select_from(votes.subquery()))
    assert annotating.progress(database, "ann", "p", now=NOW).votes == counted
    assert counted is not None
    assert 0 < counted < 29


def test_what_comes_next_is_known_beforehand_and_stays_in_the_queue(database: Database, fill: Fill) -> None:
    fill(database, items=30, gold=10, settings=Settings(gold_rate=0.2, repeat_rate=0.0))
    for _ in range(30):
        task = annotating.next_task(database, "ann", "p", now=NOW)
        assert task is not None
        expected, responses = annotating.upcoming_texts(database, "ann", "p")
        assert in_hands(database) == 1
        annotating.vote(database, "ann", "p", task.token, LEFT, now=NOW)
        following = annotating.next_task(database, "ann", "p", now=NOW)
        assert following is not None
        assert following.prompt == expected
        assert sorted(map(str, following.shown)) == sorted(map(str, responses))


def test_an_expired_lease_goes_to_somebody_else_and_the_late_vote_is_refused(database: Database, fill: Fill) -> None:
    fill(database, items=1)
    task = annotating.next_task(database, "ann", "p", now=NOW)
    assert task is not None
    assert annotating.next_task(database, "bob", "p", now=NOW + 899) is None
    waiting = annotating.progress(database, "bob", "p", now=NOW).queue
    assert (waiting.leased, waiting.complete, waiting.open, waiting.next_free) == (1, 0, 0, NOW + 900)
    late = annotating.next_task(database, "bob", "p", now=NOW + 901)
    assert late is not None
    with pytest.raises(LeaseLost):
        annotating.vote(database, "ann", "p", task.token, LEFT, now=NOW + 902)
    assert annotating.next_task(database, "ann", "p", now=NOW + 902) is None
    annotating.vote(database, "bob", "p", late.token, LEFT, now=NOW + 903)
    done = annotating.progress(database, "ann", "p", now=NOW).queue
    assert (done.complete, done.leased, done.open) == (1, 0, 0)
    assert taken_adds_up(database)


def test_a_lease_that_nobody_else_took_still_holds(database: Database, fill: Fill) -> None:
    fill(database, items=1)
    task = annotating.next_task(database, "ann", "p", now=NOW)
    assert task is not None
    annotating.vote(database, "ann", "p", task.token, LEFT, now=NOW + 5000)
    assert annotating.progress(database, "ann", "p", now=NOW).mine == 1


def test_gold_items_and_repeats_are_mixed_in_and_do_not_count(database: Database, fill: Fill) -> None:
    fill(database, items=60, gold=30, settings=Settings(gold_rate=0.2, repeat_rate=0.2))
    seen: Counter[str] = Counter()
    sides: dict[str, list[str]] = {}
    for _ in range(60):
        task = annotating.next_task(database, "ann", "p", now=NOW)
        if task is None:
            break
        item = task.prompt[0]["content"]
        seen[item] += 1
        sides.setdefault(item, []).append(task.shown[0][0]["content"])
        annotating.vote(database, "ann", "p", task.token, LEFT, now=NOW)
    repeated = [item for item, count in seen.items() if count == 2]
    gold = [item for item in seen if int(item.split()[1]) >= 1000]
    assert max(seen.values()) == 2
    assert 5 <= len(repeated) <= 20
    assert 5 <= len(gold) <= 20
    assert not set(repeated) & set(gold)
    assert all(sides[item][0] != sides[item][1] for item in repeated)  # shown the other way round
    assert taken_adds_up(database)
    assert annotating.progress(database, "ann", "p", now=NOW).queue.total == 60


@pytest.mark.parametrize("go_on", [False, True])
def test_many_at_once_neither_lose_nor_double_anything(database: Database, fill: Fill, go_on: bool) -> None:
    people = tuple(f"user{n}" for n in range(8))
    fill(database, items=20, people=people, settings=Settings(votes_per_item=3, gold_rate=0, repeat_rate=0))
    acknowledged: list[str] = []
    errors: list[BaseException] = []

    def work(who: str) -> None:
        try:
            while (task := annotating.next_task(database, who, "p", now=NOW)) is not None:
                annotating.vote(database, who, "p", task.token, LEFT, go_on=go_on, now=NOW)
                acknowledged.append(task.token)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(who,)) for who in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with database.read() as session:
        stored = session.scalars(select(Judgement)).all()
        assert {j.key for j in stored} == set(acknowledged)
        assert len({(j.item_id, j.user_id) for j in stored}) == len(stored) == 60
        assert set(Counter(j.item_id for j in stored).values()) == {3}
    assert taken_adds_up(database)


def test_two_tabs_of_one_person_hold_one_item(database: Database, fill: Fill) -> None:
    fill(database, items=10, people=("ann",))
    tokens: list[str] = []

    def open_tab() -> None:
        task = annotating.next_task(database, "ann", "p", now=NOW)
        assert task is not None
        tokens.append(task.token)

    threads = [threading.Thread(target=open_tab) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == 4
    assert len(set(tokens)) == 1


def test_settings_that_make_no_sense_are_refused() -> None:
    for wrong in ({"votes_per_item": 0}, {"gold_rate": 0.4, "repeat_rate": 0.2}, {"lease_seconds": 1}):
        with pytest.raises(ValueError, match=r"must|at least"):
            Settings(**wrong)  # type: ignore[arg-type]
