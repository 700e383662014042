"""Known answers of every kind: the training round with its feedback, and annotators who are warned and paused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from annotating import NOW
from kinds import fill_kind, row

from annotation_ui.actions.pauses import let_go_on, list_held_back
from annotation_ui.exchange.importing import import_items, to_candidate
from annotation_ui.exchange.votes import votes_of
from annotation_ui.labelling import session as annotating
from annotation_ui.labelling.gold import LONGEST_LAG, PAUSE_AFTER, rightness
from annotation_ui.labelling.judgements import Stale
from annotation_ui.labelling.screens import Task, Voted
from annotation_ui.quality.statistics import quality
from annotation_ui.store.accounts import Forbidden
from annotation_ui.store.database import Database
from annotation_ui.store.projects import ProjectError, Settings, find_project
from annotation_ui.web import pages
from reward_models.data.records import RecordError

ORDER = {"ranks": {"a": 1, "b": 2, "c": 3}}
RATED = {"ratings": {"a": {"x": 4, "y": 0}, "b": {"x": 2, "y": 3}}}


@pytest.mark.parametrize(
    ("payload", "answer", "right"),
    [
        ({"ranks": {"a": 1, "b": 2, "c": 3}}, ORDER, 1),
        ({"ranks": {"a": 3, "b": 2, "c": 1}}, ORDER, 0),
        ({"ranks": {"a": 2, "b": 1, "c": 3}}, ORDER, 2 / 3),
        ({"ranks": {"a": 1, "b": 1, "c": 2}}, ORDER, 2 / 3),  # a tie that is none
        ({"ratings": {"a": {"x": 3, "y": 1}, "b": {"x": 2, "y": 3}}}, RATED, 1),  # one off is right
        ({"ratings": {"a": {"x": 2, "y": 0}, "b": {"x": 2, "y": 1}}}, RATED, 0.5),
        ({"ratings": {"a": {"x": 4}, "b": {"x": 0}}}, RATED, 0.5),  # y is asked no more
        ({"ratings": RATED["ratings"], "ranks": {"a": 2, "b": 1}}, RATED | {"ranks": {"a": 1, "b": 2}}, 4 / 5),
    ],
)
def test_the_rightness_of_ranks_and_ratings(payload: Any, answer: Any, right: float) -> None:
    label = "ranked" if "ranks" in answer and "ratings" not in answer else "rated"
    assert rightness(label, payload, label, answer) == pytest.approx(right)


def test_what_a_later_guideline_does_not_ask_for_is_neither_right_nor_wrong() -> None:
    ordered = RATED | {"ranks": {"a": 1, "b": 2}}
    assert rightness("rated", {"ratings": RATED["ratings"]}, "rated", ordered) == 1  # no order is asked any more
    assert rightness("rated", {"ratings": {"a": {"z": 1}, "b": {"z": 2}}}, "rated", RATED) is None


def test_the_rightness_of_a_label() -> None:
    assert (rightness("a", None, "a", None), rightness("tie", None, "a", {"explanation": "x"})) == (1, 0)


def golden(database: Database, kind: Any, rows: list[dict[str, Any]], folder: Path) -> None:
    file = folder / "gold.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in rows))
    done = import_items(database, "p", [str(file)], gold=True, author="root", now=NOW)
    assert (done.added.items, done.bad) == (len(rows), [])


def ranked(number: int) -> dict[str, Any]:
    """A row whose known order is that of the alphabet."""
    return row(1000 + number, 3) | {"ranks": [1, 2, 3], "explanation": f"because of {number} <b>"}


def task_of(database: Database, who: str = "ann") -> Task:
    task = annotating.next_task(database, who, "p", now=NOW)
    assert task is not None
    return task


def rank_by(database: Database, task: Task, letters: str, who: str = "ann") -> Voted:
    ranks = [letters.index(shown[0]["content"][0]) + 1 for shown in task.shown]
    return annotating.vote(database, who, "p", task.token, {"label": "ranked", "ranks": ranks}, go_on=True, now=NOW)


def is_gold(task: Task) -> bool:
    return "question 1" in task.prompt[0]["content"] and len(task.prompt[0]["content"]) > 11


def test_a_training_round_shows_the_known_answer_of_a_ranking(database: Database, tmp_path: Path) -> None:
    fill_kind(database, "ranking", items=4, settings=Settings(gold_rate=0, repeat_rate=0, training_items=2))
    golden(database, "ranking", [ranked(n) for n in range(3)], tmp_path)
    first = task_of(database)
    assert first.training
    voted = rank_by(database, first, "cba")
    assert voted.screen is None
    found = voted.feedback
    assert found is not None
    order = [shown[0]["content"][0] for shown in first.shown]
    assert found.known["ranks"] == ["abc".index(letter) + 1 for letter in order]
    assert (found.share, found.explanation, found.done, found.of) == (0, "because of 0 <b>", 1, 2)
    assert rank_by(database, first, "cba").feedback is not None  # sent twice: told again, and counted once
    [past] = annotating.history(database, "ann", "p")
    assert (past.final, past.training) == (True, True)
    with pytest.raises(Stale, match="known answer was shown"):
        annotating.undo(database, "ann", "p", past.judgement, now=NOW)
    assert annotating.progress(database, "ann", "p", now=NOW).undoable is None
    second = task_of(database)
    assert second.training
    found = rank_by(database, second, "abc").feedback
    assert found is not None
    assert (found.share, found.done) == (1, 2)
    third = task_of(database)
    assert (third.training, is_gold(third)) == (False, False)
    assert rank_by(database, third, "abc").feedback is None
    with database.read() as session:
        project = find_project(session, "p")
        [person] = quality(session, project).people
        assert (person.training.of, person.training.n, person.gold.n) == (1, 2, 0)
        rows = list(votes_of(session, project))
    assert [row["training"] for row in rows] == [True, True, False]
    assert rows[0]["known_answer"] == {"ranks": {"a": 1, "b": 2, "c": 3}, "explanation": "because of 0 <b>"}


def test_nobody_skips_the_training_round(database: Database, tmp_path: Path) -> None:
    fill_kind(database, "ranking", items=4, settings=Settings(gold_rate=0, repeat_rate=0, training_items=2))
    golden(database, "ranking", [ranked(n) for n in range(3)], tmp_path)
    asked = []
    for n in range(5):
        task = annotating.next_task(database, "ann", "p", now=NOW + n)
        assert task is not None
        assert task.training
        asked.append(task.prompt[0]["content"])
        said = {"label": "skip", "skip_reason": "I cannot tell"}
        voted = annotating.vote(database, "ann", "p", task.token, said, go_on=True, now=NOW + n)
        assert voted.feedback is None  # the known answer is not shown
    first, second = asked[:2]
    assert asked == [first, second, first, second, first]  # the third known answer stays for a check
    [*_, past] = annotating.history(database, "ann", "p")
    assert (past.label, past.final, past.training) == ("skip", False, False)
    annotating.undo(database, "ann", "p", past.judgement, now=NOW + 6)
    for done in (1, 2):
        found = rank_by(database, task_of(database), "abc").feedback
        assert found is not None
        assert (found.share, found.done) == (1, done)
    assert not task_of(database).training


@pytest.mark.parametrize("kind", ["preference", "safety", "attributes"])
def test_feedback_on_the_page(sqlite: Database, tmp_path: Path, kind: Any) -> None:
    made: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
        "preference": (
            {"prompt": "q", "response_a": "<i>one", "response_b": "two", "label": "a"},
            {"label": "tie"},
            "Your answer differs",
        ),
        "safety": ({"prompt": "q", "response": "one", "is_safe": True}, {"label": "safe"}, "is the known one"),
        "attributes": (
            {"prompt": "q", "response": "one"} | dict.fromkeys(ATTRIBUTES, 4),
            {"label": "rated", "ratings": [dict.fromkeys(ATTRIBUTES, 4) | {"helpfulness": 2, "verbosity": 3}]},
            "80 % of your answer",
        ),
    }
    known, said, words = made[kind]
    fill_kind(sqlite, kind, rows=[], settings=Settings(gold_rate=0, repeat_rate=0, training_items=5))
    golden(sqlite, kind, [known | {"explanation": "since <b>it is"}], tmp_path)
    asked = {"action": "vote", "project": "p", "token": task_of(sqlite).token, "ms": 1, "said": said}
    for language in ("en", "zh"):
        html = pages.act(sqlite, "ann", asked | {"language": language}, now=NOW)["html"]
        assert "since &lt;b&gt;it is" in html
        assert 'data-open="annotate" data-key="enter"' in html
        assert (words in html) == (language == "en")
    after = pages.act(sqlite, "ann", {"action": "annotate", "project": "p"}, now=NOW)["html"]
    assert "data-token" not in after  # no known answer is left, so the round is over


ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")


def test_wrong_answers_pause_until_a_reviewer_lets_the_annotator_go_on(database: Database, tmp_path: Path) -> None:
    settings = Settings(gold_rate=0.5, repeat_rate=0, pause_below=0.7)
    fill_kind(database, "ranking", items=60, settings=settings)
    golden(database, "ranking", [ranked(n) for n in range(20)], tmp_path)
    wrong = given = since = 0
    while (task := annotating.next_task(database, "ann", "p", now=NOW)) is not None:
        gold = is_gold(task)
        rank_by(database, task, "cba" if gold else "abc")
        wrong, given, since = wrong + gold, given + 1, 0 if gold else since + 1
        assert given < 60
    assert wrong >= PAUSE_AFTER
    assert given < PAUSE_AFTER * 2 + 2 * LONGEST_LAG + 10
    html = pages.act(database, "ann", {"action": "annotate", "project": "p"}, now=NOW)["html"]
    assert "A reviewer of this project can let you go on" in html
    [(name, record)] = list_held_back(database, "rev", "p")
    assert (name, record.paused, record.share) == ("ann", True, 0)
    assert record.n >= PAUSE_AFTER
    dashboard = pages.act(database, "rev", {"action": "dashboard", "project": "p"}, now=NOW)["html"]
    assert 'data-do="let go on"' in dashboard
    with pytest.raises(Forbidden):
        let_go_on(database, "bob", "p", "ann", now=NOW)
    asked = {"action": "let go on", "project": "p", "fields": {"name": "ann"}}
    assert pages.act(database, "rev", asked, now=NOW)["note"] == "Annotator ann may go on"
    assert pages.act(database, "rev", asked, now=NOW)["error"] == "'ann' is not paused in 'p'"
    assert list_held_back(database, "rev", "p") == []
    assert task_of(database).token


def test_right_answers_pause_nobody(sqlite: Database, tmp_path: Path) -> None:
    fill_kind(sqlite, "ranking", items=25, settings=Settings(gold_rate=0.5, repeat_rate=0, pause_below=0.9))
    golden(sqlite, "ranking", [ranked(n) for n in range(20)], tmp_path)
    while (task := annotating.next_task(sqlite, "ann", "p", now=NOW)) is not None:
        rank_by(sqlite, task, "abc")
    assert list_held_back(sqlite, "rev", "p") == []
    assert annotating.progress(sqlite, "ann", "p", now=NOW).queue.open == 0


def test_a_failed_training_round_pauses(sqlite: Database, tmp_path: Path) -> None:
    settings = Settings(gold_rate=0, repeat_rate=0, training_items=2, pause_below=0.5)
    fill_kind(sqlite, "ranking", items=3, settings=settings)
    golden(sqlite, "ranking", [ranked(n) for n in range(2)], tmp_path)
    for _ in range(2):
        rank_by(sqlite, task_of(sqlite), "cba")
    assert annotating.next_task(sqlite, "ann", "p", now=NOW) is None
    let_go_on(sqlite, "rev", "p", "ann", now=NOW)
    assert not task_of(sqlite).training


@pytest.mark.parametrize(
    ("kind", "known", "says"),
    [
        ("ranking", {}, "no ranks"),
        ("ranking", {"ranks": [1, 2]}, "not those of the responses"),
        ("ranking", {"ranks": [1, 2, 7]}, "from 1 to 3"),
        ("ranking", {"ranks": [1, 2, 3], "explanation": 7}, "'explanation'"),
        ("attributes", {"ratings": [{"helpfulness": 1}] * 3}, "not rated yet"),
        ("attributes", {"ratings": [dict.fromkeys(ATTRIBUTES, 9)] * 3}, "from 0 to 4"),
    ],
)
def test_known_answers_are_checked(kind: Any, known: dict[str, Any], says: str) -> None:
    with pytest.raises(RecordError, match=says):
        to_candidate(row(0, 3) | known, kind, gold=True, id="x", source="s")


@pytest.mark.parametrize("wrong", [{"training_items": -1}, {"pause_below": 1.0}, {"hourly_rate": float("inf")}])
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ProjectError):
        Settings(**wrong)
