"""Rewrites: drafts, the second person, sending back, and what becomes a demonstration."""

from __future__ import annotations

from typing import Any

import pytest
from annotating import NOW, SKIP, judge, taken_adds_up
from kinds import PLAIN, fill_kind

from align.sft.demonstrations import DemonstrationsConfig, load_conversations
from annotation_ui.actions import rewrites
from annotation_ui.exchange.exporting import export, snapshot
from annotation_ui.exchange.votes import votes_of
from annotation_ui.labelling import session as annotating
from annotation_ui.labelling.judgements import LeaseLost, Stale
from annotation_ui.labelling.screens import Task
from annotation_ui.store.accounts import Forbidden
from annotation_ui.store.database import Database
from annotation_ui.store.projects import find_project
from annotation_ui.store.verdicts import VerdictError
from reward_models.data.formats import to_demonstration

ROWS = [{"id": str(n), "prompt": f"question {n}", "response": f"poor answer {n}", "model": "m"} for n in range(2)]
ACCEPT = {"label": "accepted", "rationale": ""}
RETURN = {"label": "returned", "rationale": "say why"}


def task_of(database: Database, who: str, now: float = NOW) -> Task:
    task = annotating.next_task(database, who, "p", now=now)
    assert task is not None
    return task


def write(database: Database, who: str, text: str, now: float = NOW) -> int:
    """Write the text in hand; the number of its judgement."""
    said = {"label": "written", "text": text}
    annotating.vote(database, who, "p", task_of(database, who, now).token, said, dwell_ms=9000, now=now)
    return annotating.history(database, who, "p")[0].judgement


def learnt(row: dict[str, Any]) -> list[str]:
    """The prompt and the reply that fine-tuning reads in a row."""
    prompt, response = to_demonstration(row)
    return [message.content for message in prompt + response]


def exported(database: Database) -> tuple[list[dict[str, Any]], dict[str, int]]:
    with database.write() as session:
        project = find_project(session, "p")
        found = export(session, project, snapshot(session, project, None, author="root", now=NOW).name)
    return found.rows["train"], found.counts


def test_an_accepted_text_is_a_demonstration(database: Database) -> None:
    fill_kind(database, "rewrite", rows=ROWS)
    first = write(database, "ann", "a good answer", NOW + 1)
    judge(database, "ann", SKIP)
    [waiting] = rewrites.waiting(database, "rev", "p")
    assert waiting.judgement == first
    seen = rewrites.reading(database, "rev", "p", first)
    assert [shown[0]["content"] for shown in seen.shown] == ["poor answer 0", "a good answer"]
    assert "'ann'" not in repr(seen)
    assert rewrites.decide(database, "rev", "p", first, ACCEPT, seen=None, now=NOW + 9) == "accepted"
    assert rewrites.waiting(database, "rev", "p") == []
    [row], counts = exported(database)
    assert counts == {"exported": 1, "skipped by all": 1}
    with database.read() as session:
        votes = list(votes_of(session, find_project(session, "p")))
    assert [vote["judgement"] for vote in votes] == sorted({vote["judgement"] for vote in votes})
    assert (votes[0]["text"], votes[-1]["decides"]) == ("a good answer", first)
    assert learnt(row) == ["question 0", "a good answer"]
    assert row["original"] == [{"role": "assistant", "content": "poor answer 0"}]
    assert (row["original_model"], row["written_at"], row["accepted_at"]) == ("m", NOW + 1, NOW + 9)
    assert row["writer"].startswith("person-")
    assert row["writer"] != row["accepted_by"]
    assert "'ann'" not in repr(row)


def test_a_text_can_be_written_without_an_original(sqlite: Database) -> None:
    fill_kind(sqlite, "rewrite", rows=[{"prompt": "question"}])
    assert task_of(sqlite, "ann").shown == ()
    number = write(sqlite, "ann", "an answer\n\nof two paragraphs")
    rewrites.decide(sqlite, "rev", "p", number, ACCEPT, seen=None, now=NOW)
    [row], _ = exported(sqlite)
    assert learnt(row)[-1] == "an answer\n\nof two paragraphs"
    assert "original" not in row


def test_what_is_sent_back_comes_to_its_writer_first_and_to_nobody_else(database: Database) -> None:
    fill_kind(database, "rewrite", rows=ROWS)
    first = write(database, "ann", "version 1")
    rewrites.decide(database, "rev", "p", first, RETURN, seen=None, now=NOW)
    assert taken_adds_up(database)
    assert exported(database) == ([], {"sent back to the writer": 1})
    assert task_of(database, "bob").prompt[0]["content"] == "question 1"
    back = task_of(database, "ann")
    assert back.said is not None
    assert (back.prompt[0]["content"], back.said["text"], back.note) == ("question 0", "version 1", "say why")
    second = write(database, "ann", "version 2")
    assert [text.judgement for text in rewrites.waiting(database, "rev", "p")] == [second]
    with pytest.raises(Stale):
        rewrites.decide(database, "rev", "p", first, ACCEPT, seen=None, now=NOW)
    rewrites.decide(database, "rev", "p", second, ACCEPT, seen=None, now=NOW)
    rows, counts = exported(database)
    assert (rows[0]["response"][0]["content"], counts) == ("version 2", {"exported": 1})
    assert taken_adds_up(database)


def test_a_text_that_was_sent_back_waits_for_its_writer_past_the_end_of_a_lease(database: Database) -> None:
    fill_kind(database, "rewrite", rows=ROWS[:1])
    rewrites.decide(database, "rev", "p", write(database, "ann", "version 1"), RETURN, seen=None, now=NOW)
    task_of(database, "ann")
    assert annotating.next_task(database, "bob", "p", now=NOW + 5000) is None
    assert taken_adds_up(database)
    back = task_of(database, "ann", NOW + 5000)
    assert back.note == "say why"
    write(database, "ann", "version 2", NOW + 5001)
    assert taken_adds_up(database)


def test_a_draft_is_kept_and_holds_the_item(database: Database) -> None:
    fill_kind(database, "rewrite", rows=ROWS[:1])
    task = task_of(database, "ann")
    annotating.keep_draft(database, "ann", "p", task.token, " half\0 a text\n", now=NOW + 800)
    again = task_of(database, "ann", NOW + 1500)  # the lease of 900 s was held on to by the draft
    assert (again.token, again.said) == (task.token, {"rationale": "", "text": " half a text\n"})
    with pytest.raises(LeaseLost):
        annotating.keep_draft(database, "bob", "p", task.token, "mine", now=NOW + 1500)
    with pytest.raises(VerdictError):
        annotating.keep_draft(database, "ann", "p", task.token, "x" * 100_001, now=NOW + 1500)
    number = write(database, "ann", "a whole text", NOW + 1600)
    with pytest.raises(LeaseLost):
        annotating.keep_draft(database, "ann", "p", task.token, "too late", now=NOW + 1601)
    shown = annotating.past_task(database, "ann", "p", number)
    assert shown.said is not None
    assert shown.said["text"] == "a whole text"


def test_an_accepted_text_is_final_and_another_reviewer_may_think_better_of_it(database: Database) -> None:
    fill_kind(database, "rewrite", rows=ROWS)
    number = write(database, "ann", "text")
    rewrites.decide(database, "rev", "p", number, ACCEPT, seen=None, now=NOW)
    with pytest.raises(Stale, match="accepted"):
        annotating.undo(database, "ann", "p", number, now=NOW)
    with pytest.raises(Stale, match="accepted"):
        annotating.edit(database, "ann", "p", number, {"label": "written", "text": "other"}, now=NOW)
    with pytest.raises(Stale, match="another reviewer"):
        rewrites.decide(database, "root", "p", number, RETURN, seen=None, now=NOW)
    seen = rewrites.reading(database, "root", "p", number).seen
    rewrites.decide(database, "root", "p", number, RETURN, seen=seen, now=NOW)
    assert exported(database)[1] == {"sent back to the writer": 1}
    annotating.edit(database, "ann", "p", number, {"label": "written", "text": "other"}, now=NOW)
    assert exported(database)[1] == {"not read by a second person yet": 1}
    assert [t.characters for t in rewrites.waiting(database, "rev", "p")] == [5]


def test_nobody_accepts_the_own_text_and_annotators_accept_none(sqlite: Database) -> None:
    fill_kind(sqlite, "rewrite", rows=ROWS)
    own = write(sqlite, "rev", "text")
    assert rewrites.waiting(sqlite, "rev", "p") == []
    with pytest.raises(Stale, match="own"):
        rewrites.decide(sqlite, "rev", "p", own, ACCEPT, seen=None, now=NOW)
    for call in (rewrites.waiting, lambda *a: rewrites.decide(*a, own, ACCEPT, seen=None, now=NOW)):
        with pytest.raises(Forbidden):
            call(sqlite, "ann", "p")  # type: ignore[operator]
    for wrong in ({"label": "written"}, {"label": "returned", "rationale": " "}, {"label": None}):
        with pytest.raises(VerdictError):
            rewrites.decide(sqlite, "root", "p", own, wrong, seen=None, now=NOW)


@pytest.mark.parametrize("text", [None, "", "  \n", 7, ["x"], "x" * 100_001])
def test_a_text_from_a_browser_is_checked(sqlite: Database, text: object) -> None:
    fill_kind(sqlite, "rewrite", rows=ROWS, settings=PLAIN)
    task = task_of(sqlite, "ann")
    with pytest.raises(VerdictError):
        annotating.vote(sqlite, "ann", "p", task.token, {"label": "written", "text": text}, now=NOW)


def test_fine_tuning_reads_a_snapshot(sqlite: Database, installed: object) -> None:
    fill_kind(sqlite, "rewrite", rows=ROWS)
    for n in range(2):
        rewrites.decide(sqlite, "rev", "p", write(sqlite, "ann", f"text {n}"), ACCEPT, seen=None, now=NOW)
    with sqlite.write() as session:
        snapshot(session, find_project(session, "p"), "s1", author="root", now=NOW)
    source = f"annotations://{sqlite.public_name}#p@s1"
    conversations, bad = load_conversations(DemonstrationsConfig(train=[source]))
    assert bad == 0
    assert sorted(c[-1].content for c in conversations) == ["text 0", "text 1"]


def test_an_accepted_text_is_not_offered_to_be_undone(sqlite: Database) -> None:
    fill_kind(sqlite, "rewrite", rows=ROWS)
    number = write(sqlite, "ann", "a good answer")
    assert annotating.progress(sqlite, "ann", "p", now=NOW).undoable == number
    rewrites.decide(sqlite, "rev", "p", number, ACCEPT, seen=None, now=NOW)
    assert annotating.progress(sqlite, "ann", "p", now=NOW).undoable is None
