"""The facts of items that votes are weighed by, read for one project among others."""

from __future__ import annotations

from annotating import NOW
from kinds import PLAIN, fill_kind, rank, row
from sqlalchemy import select, update

from annotation_ui.exchange.importing import to_candidate
from annotation_ui.quality import votes
from annotation_ui.store.database import Database
from annotation_ui.store.projects import add_items, create_project, find_project
from annotation_ui.store.tables import Item


def test_items_of_other_projects_in_between_are_not_read(sqlite: Database) -> None:
    fill_kind(sqlite, "ranking", items=2)
    with sqlite.write() as session:
        create_project(session, "q", "ranking", PLAIN, author="root", now=NOW)
    for number, name in ((7, "q"), (8, "p")):
        with sqlite.write() as session:
            made = [to_candidate(row(number, 3), "ranking", id=str(number), source="made up")]
            add_items(session, find_project(session, name), made, author="root", now=NOW)
    for _ in range(3):
        rank(sqlite, "ann", "abc")
    with sqlite.write() as session:  # a judgement in the other project too
        session.execute(update(Item).where(Item.id == 2).values(project_id=find_project(session, "q").id))
    with sqlite.read() as session:
        project = find_project(session, "p")
        own = list(session.scalars(select(Item.id).where(Item.project_id == project.id).order_by(Item.id)))
        assert own == [1, 4]
        found = dict(votes.facts_of(session, project, own, texts=True))
        assert list(found) == own
        assert [found[4].lengths, found[4].characters] == [(2, 2, 2), 6 + len("question 8")]
        assert found[4].texts == {"a": "a8", "b": "b8", "c": "c8"}
        assert [vote.item for vote in votes.load_votes(session, project)] == own
