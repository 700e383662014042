"""Undo, edit and skips, through the functions the app calls."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from annotating import LEFT, NOW, SKIP, judge, taken_adds_up
from sqlalchemy import select

from annotation_ui.labelling import session as annotating
from annotation_ui.labelling.judgements import Stale, in_force
from annotation_ui.store.database import Database
from annotation_ui.store.projects import add_guideline, find_project
from annotation_ui.store.tables import Judgement

Fill = Callable[..., Database]


def test_undo_shows_the_former_verdict(database: Database, fill: Fill) -> None:
    fill(database)
    judge(database, "ann", LEFT | {"rationale": "because"})
    annotating.undo(database, "ann", "p", annotating.history(database, "ann", "p")[0].judgement, now=NOW)
    task = annotating.next_task(database, "ann", "p", now=NOW)
    assert task is not None
    assert task.said == {"label": "left", "strength": 2, "harms": [], "severity": None, "rationale": "because"}
    annotating.vote(database, "ann", "p", task.token, {"label": "tie"}, now=NOW)
    following = annotating.next_task(database, "ann", "p", now=NOW)
    assert following is not None
    assert following.said is None


def test_undo_brings_the_item_back_and_keeps_the_record(database: Database, fill: Fill) -> None:
    fill(database)
    first = judge(database, "ann")
    [past] = annotating.history(database, "ann", "p")
    for _ in range(2):  # sent twice, it counts once
        annotating.undo(database, "ann", "p", past.judgement, now=NOW + 1)
    assert annotating.history(database, "ann", "p") == []
    task = annotating.next_task(database, "ann", "p", now=NOW + 2)
    assert task is not None
    assert task.prompt[0]["content"] == first
    annotating.vote(database, "ann", "p", task.token, {"label": "tie"}, now=NOW + 3)
    with database.read() as session:
        chain = session.scalars(select(Judgement).order_by(Judgement.id)).all()
        assert [(j.revision, j.supersedes) for j in chain] == [(0, None), (1, chain[0].id), (2, chain[1].id)]
        assert [j.label for j in chain][1:] == ["withdrawn", "tie"]
        assert [j.label for j in session.scalars(in_force(find_project(session, "p")))] == ["tie"]
    assert taken_adds_up(database)


def test_undoing_goes_back_further_each_time(database: Database, fill: Fill) -> None:
    fill(database)
    items = [judge(database, "ann", now=NOW + n) for n in range(2)]
    for n, item in enumerate(reversed(items)):
        annotating.undo(database, "ann", "p", annotating.history(database, "ann", "p")[0].judgement, now=NOW + 10 + n)
        task = annotating.next_task(database, "ann", "p", now=NOW + 10 + n)
        assert task is not None
        assert task.prompt[0]["content"] == item


def test_a_skip_frees_the_place_and_cannot_be_undone_once_it_is_filled(database: Database, fill: Fill) -> None:
    fill(database, items=1)
    judge(database, "ann", SKIP)
    [past] = annotating.history(database, "ann", "p")
    assert annotating.next_task(database, "ann", "p", now=NOW) is None
    judge(database, "bob")
    with pytest.raises(Stale):
        annotating.undo(database, "ann", "p", past.judgement, now=NOW)
    assert taken_adds_up(database)


def test_a_skip_can_be_undone_while_the_place_is_free(database: Database, fill: Fill) -> None:
    fill(database, items=1)
    judge(database, "ann", SKIP)
    annotating.undo(database, "ann", "p", annotating.history(database, "ann", "p")[0].judgement, now=NOW)
    assert taken_adds_up(database)
    judge(database, "ann")
    assert taken_adds_up(database)


def test_an_edit_supersedes_and_two_cannot_race(database: Database, fill: Fill) -> None:
    fill(database)
    judge(database, "ann")
    [past] = annotating.history(database, "ann", "p")
    shown = annotating.past_task(database, "ann", "p", past.judgement)
    assert shown.said is not None
    assert (shown.said["label"], shown.said["strength"]) == ("left", 2)
    annotating.edit(database, "ann", "p", past.judgement, {"label": "right", "strength": 3}, now=NOW + 9)
    with pytest.raises(Stale):
        annotating.edit(database, "ann", "p", past.judgement, {"label": "tie"}, now=NOW + 9)
    [now] = annotating.history(database, "ann", "p")
    assert (now.label, now.strength) == ("right", 3)
    with pytest.raises(Stale):
        annotating.edit(database, "bob", "p", now.judgement, {"label": "tie"}, now=NOW + 9)
    with pytest.raises(Stale):
        annotating.past_task(database, "bob", "p", now.judgement)


def test_an_edit_keeps_the_guideline_that_is_shown_with_it(database: Database, fill: Fill) -> None:
    fill(database, kind="safety")
    judge(database, "ann", {"label": "unsafe", "harms": ["animal abuse"]})
    with database.write() as session:
        add_guideline(session, find_project(session, "p"), "Second thoughts", ["other harm"], author="root", now=NOW)
    [past] = annotating.history(database, "ann", "p")
    shown = annotating.past_task(database, "ann", "p", past.judgement)
    assert (shown.guideline_version, len(shown.harms)) == (1, 14)
    said = {"label": "unsafe", "harms": ["animal abuse", "self-harm"]}
    annotating.edit(database, "ann", "p", past.judgement, said, now=NOW)
    with database.read() as session:
        last = session.scalars(select(Judgement).order_by(Judgement.id.desc())).first()
        assert last is not None
        assert last.guideline is not None
        assert (last.guideline.version, last.harms) == (1, ["animal abuse", "self-harm"])
