"""The migrations that came after votes were given, on a database with data, SQLite and PostgreSQL."""

from __future__ import annotations

from migrating import upgrade, without_schema
from sqlalchemy import JSON, Connection, bindparam, select, text

from annotation_ui.store.database import Database
from annotation_ui.store.search import matching
from annotation_ui.store.tables import Item, Judgement

ITEMS = 1203  # more than two batches


def test_items_of_an_older_version_are_indexed_and_measured(database: Database) -> None:
    with database._writer.begin() as connection:
        without_schema(connection)
    with database._writer.begin() as connection:
        upgrade(connection, "0003")
        _fill(connection)
    database.migrate()
    assert not database.pending
    with database.read() as session:
        assert len(session.scalars(select(Item.id)).all()) == ITEMS
        for asked, number in (("apple1", 1), ("pear1203", 1203), ("apple501 pear501", 501)):
            assert session.scalars(select(Item.id).where(matching(session, asked))).all() == [number]
        assert len(session.scalars(select(Item.id).where(matching(session, "question"))).all()) == ITEMS
        lengths = {item.id: item.length for item in session.scalars(select(Item))}
        # "question N appleN" and "pearN", "plum"
        assert lengths[1] == len("question 1 apple1") + len("pear1") + len("plum")
        assert lengths[1203] == len("question 1203 apple1203") + len("pear1203") + len("plum")
        [said] = session.scalars(select(Judgement))
        assert (said.label, said.harms, said.payload) == ("a", [], None)


def _fill(connection: Connection) -> None:
    connection.execute(
        text("INSERT INTO users (id, name, role, active, created) VALUES (1, 'ann', 'annotator', true, 1)")
    )
    connection.execute(
        text(
            "INSERT INTO projects (id, name, kind, votes_per_item, gold_rate, repeat_rate, eval_fraction, "
            "lease_seconds, created) VALUES (1, 'p', 'preference', 1, 0, 0, 0, 900, 1)"
        )
    )
    items, responses = [], []
    for n in range(1, ITEMS + 1):
        prompt = [{"role": "user", "content": f"question {n} apple{n}"}]
        items.append({"id": n, "key": f"k{n}", "prompt": prompt})
        for slot, said in (("a", f"pear{n}"), ("b", "plum")):
            reply = [{"role": "assistant", "content": said}]
            responses.append({"item": n, "slot": slot, "messages": reply})
    connection.execute(
        text(
            "INSERT INTO items (id, project_id, content_key, source, source_id, prompt, prompt_key, split, rank, "
            "taken, created) VALUES (:id, 1, :key, 's', '', :prompt, 'o', 'train', :id, 0, 1)"
        ).bindparams(bindparam("prompt", type_=JSON)),
        items,
    )
    connection.execute(
        text("INSERT INTO responses (item_id, slot, messages) VALUES (:item, :slot, :messages)").bindparams(
            bindparam("messages", type_=JSON)
        ),
        responses,
    )
    connection.execute(
        text(
            "INSERT INTO judgements (item_id, user_id, revision, adjudication, label, harms, rationale, skip_reason, "
            "key, created) VALUES (1, 1, 0, false, 'a', '[]', '', '', 'k', 1)"
        )
    )
