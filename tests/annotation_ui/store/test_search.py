"""The words of items, and what a search finds on both databases."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import select

from annotation_ui.store.database import Database
from annotation_ui.store.projects import Candidate, add_items, find_project
from annotation_ui.store.search import SearchError, matching, words
from annotation_ui.store.tables import Item
from reward_models.data.records import Message

NOW = 1_700_000_000.0
Fill = Callable[..., Database]
TEXTS = (
    "The Quick brown-fox, 3 times; naïve café_bar",
    "机器学习是人工智能的一个分支",
    "ﬁle ＡＢＣ ‘quoted’ O'Brien",
    "x" * 150 + " मराठी العربية",
)


def test_words_of_several_scripts() -> None:
    assert words("Ünïted, united_states 2x") == {"ünïted", "united", "states", "2x"}
    assert words("机器学") == {"机", "器", "学", "机器", "器学"}
    assert words("GPT模型4") == {"gpt", "模", "型", "模型", "4"}
    assert words("ＡＢＣ ﬁt") == {"abc", "fit"}
    assert words("- ' \" & | ! ( )") == set()
    assert words("y" * 300) == {"y" * 100}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("quick", {0}),
        ("QUICK fox", {0}),
        ("quick mars", set()),
        ("brown-fox", {0}),
        ("naïve", {0}),
        ("bro*", {0}),
        ("bro", set()),
        ("学习", {1}),
        ("人工智能", {1}),
        ("智人", set()),
        ("能", {1}),
        ("abc", {2}),
        ("file", {2}),
        ("o'brien", {2}),
        ("x" * 120, {3}),
        ("العربية", {3}),
        ('fox" OR "abc', set()),
        ("fox' | 'abc", set()),
        ("words:fox", set()),
        ("fox NOT quick", set()),
        ("fox*) OR (abc*", set()),
    ],
)
def test_a_search_finds_items_that_hold_every_word(filled: Database, asked: str, found: set[int]) -> None:
    with filled.read() as session:
        ids = session.scalars(select(Item.source_id).where(matching(session, asked))).all()
    assert {int(number) for number in ids} == found


@pytest.fixture
def filled(database: Database, fill: Fill) -> Database:
    fill(database, items=0)
    made = [
        Candidate(
            prompt=(Message("user", "please"),),
            responses=((Message("assistant", text),), (Message("assistant", f"{n}"),)),
            models=(None, None),
            id=str(n),
        )
        for n, text in enumerate(TEXTS)
    ]
    with database.write() as session:
        add_items(session, find_project(session, "p"), made, author="root", now=NOW)
        lengths = session.scalars(select(Item.length).order_by(Item.id)).all()
        assert lengths == [len("please") + len(text) + 1 for text in TEXTS]
    return database


def test_a_search_without_words_is_refused(sqlite: Database) -> None:
    with sqlite.read() as session:
        for nothing in ("", "   ", "- '\" *", "\0"):
            with pytest.raises(SearchError, match="no word"):
                matching(session, nothing)


def test_a_search_that_is_too_long_is_refused_and_not_cut(sqlite: Database) -> None:
    with sqlite.read() as session:
        matching(session, " ".join(str(n) for n in range(100)))
        for asked in (" ".join(str(n) for n in range(101)), "x" * 1001):
            with pytest.raises(SearchError, match="at most"):
                matching(session, asked)
