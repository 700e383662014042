"""Verdicts: what is stored, refused and shown, through the functions the app calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from annotating import LEFT, NOW, SKIP, judge
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from annotation_ui.labelling import session as annotating
from annotation_ui.labelling.judgements import Contradiction, LeaseLost, Stale
from annotation_ui.store.accounts import Forbidden
from annotation_ui.store.database import Database
from annotation_ui.store.projects import Settings, add_guideline, find_project
from annotation_ui.store.tables import Event, Item, Judgement, Score
from annotation_ui.store.verdicts import VerdictError

Fill = Callable[..., Database]


def test_a_vote_sent_twice_counts_once(database: Database, fill: Fill) -> None:
    fill(database)
    task = annotating.next_task(database, "ann", "p", now=NOW)
    assert task is not None
    for _ in range(2):
        annotating.vote(database, "ann", "p", task.token, LEFT, now=NOW)
    with database.read() as session:
        judged = session.scalars(select(Judgement)).all()
    assert [(j.label, j.strength) for j in judged] == [("a" if judged[0].left == "a" else "b", 2)]


@pytest.mark.parametrize(
    "other", [{"label": "tie"}, {"label": "right", "strength": 2}, LEFT | {"strength": 3}, LEFT | {"rationale": "why"}]
)
@pytest.mark.parametrize("undone", [False, True])
def test_another_verdict_under_the_same_lease_is_refused_aloud(
    database: Database, fill: Fill, other: dict[str, object], undone: bool
) -> None:
    fill(database)
    task = annotating.next_task(database, "ann", "p", now=NOW)
    assert task is not None
    annotating.vote(database, "ann", "p", task.token, LEFT, now=NOW)
    if undone:
        annotating.undo(database, "ann", "p", annotating.history(database, "ann", "p")[0].judgement, now=NOW)
    with pytest.raises(Contradiction, match="that one stays"):
        annotating.vote(database, "ann", "p", task.token, other, now=NOW)
    annotating.vote(database, "ann", "p", task.token, LEFT, now=NOW)  # a repetition is no contradiction
    with database.read() as session:
        assert session.scalar(select(func.count(Judgement.id))) == (2 if undone else 1)


def test_scores_are_shown_only_where_the_project_says_so_and_make_the_vote_final(
    database: Database, fill: Fill
) -> None:
    fill(database, items=3, gold=1, settings=Settings(gold_rate=0, repeat_rate=0, show_scores=True))
    with database.write() as session:
        for item in range(1, 5):
            session.add(Score(item_id=item, scorer="rm", score_a=2.0, score_b=0.5, created=NOW))
    first = annotating.next_task(database, "ann", "p", now=NOW)
    assert first is not None
    assert annotating.vote(database, "ann", "p", first.token, SKIP, now=NOW).scores == ()
    second = annotating.next_task(database, "ann", "p", now=NOW)
    assert second is not None
    [shown] = annotating.vote(database, "ann", "p", second.token, LEFT, now=NOW).scores
    assert abs(shown.margin) == 1.5
    voted, skipped = annotating.history(database, "ann", "p")
    assert (voted.final, skipped.final) == (True, False)
    assert annotating.progress(database, "ann", "p", now=NOW).undoable is None
    with pytest.raises(Stale, match="final"):
        annotating.undo(database, "ann", "p", voted.judgement, now=NOW)
    with pytest.raises(Stale, match="final"):
        annotating.edit(database, "ann", "p", voted.judgement, {"label": "tie"}, now=NOW)
    annotating.undo(database, "ann", "p", skipped.judgement, now=NOW)


def test_no_score_is_shown_for_a_gold_item(database: Database, fill: Fill) -> None:
    seen: Counter[bool] = Counter()
    fill(database, items=20, gold=20, settings=Settings(gold_rate=0.5, repeat_rate=0, show_scores=True))
    with database.write() as session:
        for item in range(1, 41):
            session.add(Score(item_id=item, scorer="rm", score_a=2.0, score_b=0.5, created=NOW))
    while (task := annotating.next_task(database, "ann", "p", now=NOW)) is not None:
        gold = int(task.prompt[0]["content"].split()[1]) >= 1000
        seen[gold] += 1
        assert (annotating.vote(database, "ann", "p", task.token, LEFT, now=NOW).scores == ()) == gold
    assert min(seen[True], seen[False]) > 5


def test_a_verdict_is_stored_for_the_response_that_was_shown_there(database: Database, fill: Fill) -> None:
    fill(database, items=20)
    for _ in range(20):
        task = annotating.next_task(database, "ann", "p", now=NOW)
        assert task is not None
        side = "left" if task.shown[0][0]["content"].startswith("first") else "right"
        annotating.vote(database, "ann", "p", task.token, {"label": side, "strength": 1}, now=NOW)
    with database.read() as session:
        stored = session.scalars(select(Judgement)).all()
        assert {j.label for j in stored} == {"a"}  # slot a holds "first …", wherever it was shown
        assert {j.left for j in stored} == {"a", "b"}
    assert {past.label for past in annotating.history(database, "ann", "p")} == {"left", "right"}


def test_nobody_votes_with_the_token_of_another(database: Database, fill: Fill) -> None:
    fill(database)
    task = annotating.next_task(database, "ann", "p", now=NOW)
    assert task is not None
    with pytest.raises(LeaseLost):
        annotating.vote(database, "bob", "p", task.token, LEFT, now=NOW)


def test_a_label_remembers_the_guideline_that_was_on_screen(database: Database, fill: Fill) -> None:
    fill(database)
    shown = annotating.next_task(database, "ann", "p", now=NOW)
    assert shown is not None
    with database.write() as session:
        add_guideline(session, find_project(session, "p"), "Second thoughts", (), author="root", now=NOW)
    annotating.vote(database, "ann", "p", shown.token, LEFT, now=NOW)
    judge(database, "ann")
    with database.read() as session:
        versions = [
            j.guideline.version for j in session.scalars(select(Judgement).order_by(Judgement.id)) if j.guideline
        ]
    assert versions == [1, 2]


def test_annotators_see_no_model_no_score_and_no_other_label_before_they_vote(database: Database, fill: Fill) -> None:
    fill(database, settings=Settings(votes_per_item=2, gold_rate=0, repeat_rate=0))
    with database.write() as session:
        for item in session.scalars(select(Item)):
            session.add(Score(item_id=item.id, scorer="secret-rm", score_a=123.5, score_b=100.0, created=NOW))
    judge(database, "bob")
    task = annotating.next_task(database, "ann", "p", now=NOW)
    assert task is not None
    assert not any(word in repr(task) for word in ("model-x", "secret-rm", "123.5", "bob", "strength"))
    voted = annotating.vote(database, "ann", "p", task.token, LEFT, now=NOW)
    assert voted.scores == ()  # nor afterwards, unless asked for


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"label": "a", "strength": 1},
        {"label": "left"},
        {"label": "left", "strength": 4},
        {"label": "left", "strength": True},
        {"label": "left", "strength": "2"},
        {"label": "tie", "strength": 1},
        {"label": "safe"},
        {"label": "skip"},
        {"label": "skip", "skip_reason": "<script>"},
        {"label": "tie", "harms": ["violence"]},
        {"label": "tie", "rationale": 7},
        {"label": "tie", "rationale": "x" * 4001},
        {"label": ["left"]},
    ],
)
def test_what_a_browser_sends_is_checked(sqlite: Database, fill: Fill, said: dict[str, object]) -> None:
    fill(sqlite)
    task = annotating.next_task(sqlite, "ann", "p", now=NOW)
    assert task is not None
    with pytest.raises(VerdictError) as error:
        annotating.vote(sqlite, "ann", "p", task.token, said, now=NOW)
    if said.get("label") not in ("a", "b"):
        assert not {"'a'", "'b'"} & set(str(error.value).split())  # which would tell the slot of a side
    assert annotating.next_task(sqlite, "ann", "p", now=NOW) == task


def test_a_safety_verdict(database: Database, fill: Fill) -> None:
    fill(database, kind="safety")
    task = annotating.next_task(database, "ann", "p", now=NOW)
    assert task is not None
    assert len(task.shown) == 1
    assert len(task.harms) == 14
    with pytest.raises(VerdictError):
        annotating.vote(database, "ann", "p", task.token, {"label": "unsafe"}, now=NOW)
    said = {"label": "unsafe", "harms": ["self-harm", "drug abuse, weapons, banned substance"], "severity": 3}
    annotating.vote(database, "ann", "p", task.token, said | {"rationale": "a\0b"}, now=NOW)
    with database.read() as session:
        judgement = session.scalars(select(Judgement)).one()
        assert judgement.harms == ["drug abuse, weapons, banned substance", "self-harm"]
        assert (judgement.label, judgement.severity, judgement.rationale) == ("unsafe", 3, "ab")


def test_the_record_cannot_be_rewritten(database: Database, fill: Fill) -> None:
    fill(database)
    judge(database, "ann")
    for statement in ("UPDATE judgements SET label = 'tie'", "DELETE FROM judgements", "DELETE FROM events"):
        with pytest.raises(DBAPIError, match="append-only"), database.write() as session:
            session.execute(text(statement))
    assert annotating.history(database, "ann", "p")[0].label == "left"


def test_the_audit_trail(database: Database, fill: Fill) -> None:
    fill(database, people=("ann",))
    judge(database, "ann")
    annotating.undo(database, "ann", "p", annotating.history(database, "ann", "p")[0].judgement, now=NOW)
    with database.read() as session:
        kinds = [event.kind for event in session.scalars(select(Event).order_by(Event.id))]
    assert kinds == ["user added", "project created", "guideline added", "imported", "judged", "undone"]


def test_nobody_acts_without_an_account(sqlite: Database, fill: Fill) -> None:
    fill(sqlite)
    for who in (None, "", "nobody"):
        with pytest.raises(Forbidden):
            annotating.next_task(sqlite, who, "p", now=NOW)
