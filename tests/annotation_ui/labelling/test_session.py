"""Leases, verdicts, undo and edits, through the functions the app calls."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from annotation_ui.labelling import session as annotating
from annotation_ui.labelling.judgements import Contradiction, LeaseLost, Stale, first_votes, in_force
from annotation_ui.store.accounts import Forbidden
from annotation_ui.store.database import Database
from annotation_ui.store.projects import Settings, add_guideline, find_project
from annotation_ui.store.tables import Assignment, Event, Item, Judgement, Score
from annotation_ui.store.verdicts import VerdictError

Fill = Callable[..., Database]
NOW = 1_700_000_000.0
LEFT = {"label": "left", "strength": 2}
SKIP = {"label": "skip", "skip_reason": "I cannot tell"}


def taken_adds_up(database: Database) -> bool:
    """The law of the queue: ``Item.taken`` is the number of votes and leases on every item."""
    with database.read() as session:
        for item in session.scalars(select(Item)):
            held = session.scalar(
                select(func.count(Assignment.id)).where(
                    Assignment.item_id == item.id, Assignment.round == 0, Assignment.state.in_(("leased", "done"))
                )
            )
            if item.taken != (0 if item.gold else held):
                return False
    return True


def in_hands(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count(Assignment.id)).where(Assignment.state == "leased")) or 0


def judge(database: Database, who: str, said: dict[str, object] = LEFT, now: float = NOW) -> str:
    """Judge the next item; the text of its prompt."""
    task = annotating.next_task(database, who, "p", now=now)
    assert task is not None
    annotating.vote(database, who, "p", task.token, said, dwell_ms=1500, now=now)
    return task.prompt[0]["content"]


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


def test_a_clock_that_is_set_back_holds_no_item(database: Database, fill: Fill) -> None:
    fill(database, items=1)
    two_days = 2 * 86400.0
    assert annotating.next_task(database, "ann", "p", now=NOW + two_days) is not None  # the clock was wrong
    assert annotating.next_task(database, "bob", "p", now=NOW) is not None
    assert annotating.next_task(database, "ann", "p", now=NOW) is None
    assert taken_adds_up(database)


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


def test_nobody_votes_with_the_token_of_another(database: Database, fill: Fill) -> None:
    fill(database)
    task = annotating.next_task(database, "ann", "p", now=NOW)
    assert task is not None
    with pytest.raises(LeaseLost):
        annotating.vote(database, "bob", "p", task.token, LEFT, now=NOW)


def test_undo_brings_the_item_back_and_keeps_the_record(database: Database, fill: Fill) -> None:
    fill(database)
    first = judge(database, "ann")
    [past] = annotating.history(database, "ann", "p")
    annotating.undo(database, "ann", "p", past.judgement, now=NOW + 1)
    with pytest.raises(Stale):
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
