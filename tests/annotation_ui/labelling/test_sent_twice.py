"""The same request sent twice, by a double press or a repetition after a lost answer, counts once, in every kind.

Two people at once on one item, and a lease that ends while a verdict is written, are tried in every kind as well.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from annotating import NOW, taken_adds_up
from kinds import PLAIN, fill_kind
from sqlalchemy import select

from annotation_ui.actions import review, rewrites
from annotation_ui.actions.administration import release_leases
from annotation_ui.labelling import session as annotating
from annotation_ui.labelling.judgements import Contradiction, LeaseLost, Stale
from annotation_ui.labelling.screens import Task
from annotation_ui.store.database import Database
from annotation_ui.store.forms import KINDS, Kind
from annotation_ui.store.projects import Settings
from annotation_ui.store.tables import Event, Judgement

RATED = dict.fromkeys(("helpfulness", "correctness", "coherence", "complexity", "verbosity"), 3)
SAID: dict[Kind, dict[str, Any]] = {
    "preference": {"label": "tie"},
    "safety": {"label": "unsafe", "harms": ["self-harm"], "severity": 3},
    "ranking": {"label": "ranked", "ranks": [2, 1]},
    "attributes": {"label": "rated", "ratings": [RATED, RATED | {"verbosity": 0}]},
    "rewrite": {"label": "written", "text": "a text"},
}
OTHER: dict[Kind, dict[str, Any]] = {
    "preference": {"label": "both_bad"},
    "safety": {"label": "safe"},
    "ranking": {"label": "ranked", "ranks": [1, 2]},
    "attributes": {"label": "rated", "ratings": [RATED, RATED]},
    "rewrite": {"label": "written", "text": "another text"},
}
RESPONSES = {"preference": 2, "safety": 1, "ranking": 2, "attributes": 2, "rewrite": 0}
RETURN = {"label": "returned", "rationale": "say why"}
ACCEPT = {"label": "accepted", "rationale": ""}


def fill(database: Database, kind: Kind, *, items: int = 2, settings: Settings = PLAIN) -> None:
    row = {2: {"response_a": "a", "response_b": "b"}, 1: {"response": "a"}, 0: {}}[RESPONSES[kind]]
    rows = [{"prompt": f"question {n}", **row} for n in range(items)]
    fill_kind(database, kind, rows=rows, settings=settings)


def task_of(database: Database, who: str, now: float = NOW) -> Task:
    task = annotating.next_task(database, who, "p", now=now)
    assert task is not None
    return task


def labels(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(Judgement.label).order_by(Judgement.id)))


def last(database: Database, who: str) -> int:
    return annotating.history(database, who, "p")[0].judgement


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_of_an_annotator(database: Database, kind: Kind) -> None:
    fill(database, kind)
    token = task_of(database, "ann").token
    for _ in range(2):
        annotating.vote(database, "ann", "p", token, SAID[kind], now=NOW)
    with pytest.raises(Contradiction):
        annotating.vote(database, "ann", "p", token, OTHER[kind], now=NOW)
    first = last(database, "ann")
    for _ in range(2):
        annotating.edit(database, "ann", "p", first, OTHER[kind], now=NOW)
    with pytest.raises(Stale):
        annotating.edit(database, "ann", "p", first, SAID[kind], now=NOW)
    edited = last(database, "ann")
    for _ in range(2):
        annotating.undo(database, "ann", "p", edited, now=NOW)
    assert labels(database) == [SAID[kind]["label"], OTHER[kind]["label"], "withdrawn"]
    with pytest.raises(Stale):
        annotating.edit(database, "ann", "p", first, OTHER[kind], now=NOW)
    again = task_of(database, "ann")
    assert again.prompt[0]["content"] == "question 0"
    annotating.vote(database, "ann", "p", again.token, SAID[kind], now=NOW)
    with pytest.raises(Stale):  # an undo that comes late undoes no later verdict
        annotating.undo(database, "ann", "p", edited, now=NOW)
    with database.read() as session:
        kinds = list(session.scalars(select(Event.kind).where(Event.kind.in_(("judged", "edited", "undone")))))
    assert sorted(kinds) == ["edited", "judged", "judged", "undone"]
    assert taken_adds_up(database)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "rewrite"])
def test_a_decision_on_an_item(database: Database, kind: Kind) -> None:
    fill(database, kind)
    annotating.vote(database, "ann", "p", task_of(database, "ann").token, SAID[kind], now=NOW)
    for _ in range(2):
        review.decide(database, "rev", "p", 1, SAID[kind], seen=None, now=NOW)
    seen = review.case(database, "rev", "p", 1).seen
    for who, said in (("rev", OTHER[kind]), ("root", SAID[kind])):
        with pytest.raises(Stale, match="another reviewer"):
            review.decide(database, who, "p", 1, said, seen=None, now=NOW)
    for _ in range(2):
        review.decide(database, "rev", "p", 1, OTHER[kind], seen=seen, now=NOW)
    assert len(labels(database)) == 3


def test_a_decision_on_a_text(database: Database) -> None:
    fill(database, "rewrite")
    annotating.vote(database, "ann", "p", task_of(database, "ann").token, SAID["rewrite"], now=NOW)
    text = last(database, "ann")
    for _ in range(2):
        assert rewrites.decide(database, "rev", "p", text, RETURN, seen=None, now=NOW) == "returned"
    for who, said in (("rev", ACCEPT), ("root", RETURN)):
        with pytest.raises(Stale, match="another reviewer"):
            rewrites.decide(database, who, "p", text, said, seen=None, now=NOW)
    assert labels(database) == ["written", "returned"]
    assert taken_adds_up(database)


@pytest.mark.parametrize("kind", KINDS)
def test_two_people_at_once_on_one_item(database: Database, kind: Kind) -> None:
    """One vote is wanted: one of them gets the item, and the other one nothing."""
    fill(database, kind, items=1)
    got: list[str] = []

    def work(who: str) -> None:
        task = annotating.next_task(database, who, "p", now=NOW)
        if task is not None:
            annotating.vote(database, who, "p", task.token, SAID[kind], now=NOW)
            got.append(who)

    together([lambda who=who: work(who) for who in ("ann", "bob", "cyd")])  # type: ignore[misc]
    assert len(got) == 1
    assert labels(database) == [SAID[kind]["label"]]
    assert taken_adds_up(database)


@pytest.mark.parametrize("kind", KINDS)
def test_a_lease_that_ends_while_a_verdict_is_given(database: Database, kind: Kind) -> None:
    fill(database, kind, items=1)
    token = task_of(database, "ann").token
    release_leases(database, "root", "p", "ann", now=NOW)
    with pytest.raises(LeaseLost):
        annotating.vote(database, "ann", "p", token, SAID[kind], now=NOW)
    late = task_of(database, "ann")
    other = task_of(database, "bob", NOW + 901)
    for _ in range(2):
        with pytest.raises(LeaseLost):
            annotating.vote(database, "ann", "p", late.token, SAID[kind], now=NOW + 902)
    annotating.vote(database, "bob", "p", other.token, SAID[kind], now=NOW + 903)
    assert labels(database) == [SAID[kind]["label"]]
    assert taken_adds_up(database)


def together(calls: list[Callable[[], None]]) -> list[BaseException]:
    """Run all at once; the errors."""
    errors: list[BaseException] = []
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], None]) -> None:
        start.wait()
        try:
            call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_a_text_is_accepted_or_taken_back_but_not_both(database: Database) -> None:
    fill(database, "rewrite", items=6)
    for _ in range(6):
        annotating.vote(database, "ann", "p", task_of(database, "ann").token, SAID["rewrite"], now=NOW)
        text = last(database, "ann")
        errors = together(
            [
                lambda: annotating.undo(database, "ann", "p", text, now=NOW),  # noqa: B023
                lambda: rewrites.decide(database, "rev", "p", text, ACCEPT, seen=None, now=NOW) and None,  # noqa: B023
            ]
        )
        assert [type(error) for error in errors] == [Stale]
        if "withdrawn" in labels(database)[-1:]:
            annotating.vote(database, "ann", "p", task_of(database, "ann").token, SAID["rewrite"], now=NOW)
    said = labels(database)
    assert said.count("accepted") + said.count("withdrawn") == 6
    assert taken_adds_up(database)


def test_a_text_that_was_sent_back_stays_its_writers_when_an_admin_releases_the_lease(database: Database) -> None:
    fill(database, "rewrite", items=1)
    annotating.vote(database, "ann", "p", task_of(database, "ann").token, SAID["rewrite"], now=NOW)
    rewrites.decide(database, "rev", "p", last(database, "ann"), RETURN, seen=None, now=NOW)
    task_of(database, "ann")
    assert release_leases(database, "root", "p", now=NOW) == 1
    assert taken_adds_up(database)
    assert annotating.next_task(database, "bob", "p", now=NOW) is None
    assert task_of(database, "ann").note == "say why"
