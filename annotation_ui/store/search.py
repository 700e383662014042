"""Full-text search of items: an index of the words in their texts, with the same rules on both databases.

Text is compared without regard to case and width (Unicode NFKC). Chinese, Japanese and Korean text has no spaces, so
each of its characters and each pair of neighbours counts as a word. SQLite keeps the words in an FTS5 table, PostgreSQL
in a ``tsvector``; both get the list of words that is made here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, text
from sqlalchemy.orm import Session

from annotation_ui.store.tables import Item

INDEXED = 100_000  # characters of an item; PostgreSQL allows 1 MB of words
LONGEST_WORD = 100
LONGEST_SEARCH = 1000  # characters
WORDS_ASKED = 100

_WORD = re.compile(r"[^\W_]+")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]+")


class SearchError(ValueError):
    """A search that names no word, or too many."""


def words(content: str) -> set[str]:
    """The words of a text, as they are indexed."""
    found: set[str] = set()
    for run in _WORD.findall(unicodedata.normalize("NFKC", content).casefold()):
        found.update(word[:LONGEST_WORD] for word in _CJK.sub(" ", run).split())
        for part in _CJK.findall(run):
            found.update(part)
            found.update(first + second for first, second in pairwise(part))
    return found


def add_words(session: Session, item: Item) -> None:
    """Index a new item."""
    messages = [*item.prompt, *(message for response in item.responses for message in response.messages)]
    insert_words(session.connection(), item.id, messages)


def insert_words(connection: Connection, item_id: int, messages: Iterable[Mapping[str, Any]]) -> None:
    """Index the texts of ``messages`` as those of an item."""
    found = sorted(words("\n".join(str(message["content"]) for message in messages)[:INDEXED]))
    if connection.dialect.name == "sqlite":
        connection.execute(
            text("INSERT INTO item_words (rowid, words) VALUES (:item, :words)"),
            {"item": item_id, "words": " ".join(found)},
        )
    else:
        connection.execute(
            text("INSERT INTO item_words (item_id, words) VALUES (:item, array_to_tsvector(CAST(:words AS text[])))"),
            {"item": item_id, "words": found},
        )


def matching(session: Session, asked: str) -> ColumnElement[bool]:
    """The condition that an item holds every word of ``asked``; a word that ends in ``*`` stands for its beginnings.

    Raises:
        SearchError: nothing in ``asked`` is a word, or it is too long.
    """
    wanted = _asked(asked)
    if session.get_bind().dialect.name == "sqlite":
        # The words are letters and digits, so that quotes around them cannot be closed from within.
        query = " AND ".join(f'"{word}"{"*" if begins else ""}' for word, begins in wanted)
        found = text("items.id IN (SELECT rowid FROM item_words WHERE item_words MATCH :words)")
    else:
        query = " & ".join(f"'{word}'{':*' if begins else ''}" for word, begins in wanted)
        found = text("items.id IN (SELECT item_id FROM item_words WHERE words @@ CAST(:words AS tsquery))")
    return found.bindparams(bindparam("words", query))  # type: ignore[return-value]


def _asked(asked: str) -> list[tuple[str, bool]]:
    if len(asked) > LONGEST_SEARCH:
        raise SearchError(f"a search has at most {LONGEST_SEARCH} characters")
    wanted: list[tuple[str, bool]] = []
    for part in asked.split():
        found = sorted(words(part))
        pairs = [word for word in found if len(word) > 1] or found  # a pair of neighbours holds both characters
        wanted += [(word, part.endswith("*") and len(found) == 1) for word in pairs]
    if not wanted:
        raise SearchError("the search holds no word: letters or digits of any script")
    if len(wanted) > WORDS_ASKED:
        raise SearchError(f"the search holds {len(wanted)} words; at most {WORDS_ASKED} are looked for")
    return wanted
