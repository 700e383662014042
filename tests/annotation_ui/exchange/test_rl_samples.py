"""An RL run's samples become items, those first that its reward terms disagree about."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from annotation_ui.exchange.importing import import_items
from annotation_ui.exchange.rl_samples import dispute
from annotation_ui.store.database import Database
from annotation_ui.store.tables import Item
from reward_models.data.sources import BadRowsError

NOW = 1_700_000_000.0
Fill = Callable[..., Database]


def line(prompt: str, response: str, helpful: float | None, length: float, **other: Any) -> str:
    terms = {"helpful": helpful, "length": length}
    row = {"step": 4, "domain": "helpfulness", "prompt": [{"role": "user", "content": prompt}], "response": response}
    return json.dumps(row | {"terms": terms, "reward": 0.0, "advantage": 0.0} | other)


LINES = [
    line("agreed", "good", 1.0, 1.0),
    line("agreed", "bad", -1.0, -1.0),
    line("disputed", "one", 1.0, -1.0),
    line("disputed", "two", -1.0, 1.0),
    line("disputed", "one", 1.0, -1.0),
    line("alone", "x", 0.0, 0.0),
]


def imported(database: Database, folder: Path, lines: list[str], **options: Any) -> list[Item]:
    (folder / "run").mkdir()
    file = folder / "run" / "samples.jsonl"
    file.write_text("\n".join(lines) + "\n")
    import_items(database, "p", [str(file)], author="root", now=NOW, **options)
    with database.read() as session:
        return list(session.scalars(select(Item).order_by(Item.rank)))


def test_a_dispute_is_as_strong_as_the_weaker_side() -> None:
    assert dispute({"a": 2.0, "b": 0.0, "c": 5.0}, {"a": 0.0, "b": 1.0}) == 1.0  # c says nothing of the other one
    assert dispute({"a": 2.0, "b": 1.0}, {"a": 0.0, "b": 0.0}) == 0.0


def test_pairs_of_one_prompt_the_most_disputed_first(sqlite: Database, fill: Fill, tmp_path: Path) -> None:
    fill(sqlite, items=0)
    items = imported(sqlite, tmp_path, LINES)
    assert [item.prompt[0]["content"] for item in items] == ["disputed", "agreed"]
    first = items[0]
    assert [r.messages[0]["content"] for r in first.responses] == ["one", "two"]
    assert {r.model for r in first.responses} == {"step 4"}
    assert (first.source, first.source_id) == ("run/samples", "run/samples:3")


def test_a_response_that_was_picked_twice_is_one_item(sqlite: Database, fill: Fill, tmp_path: Path) -> None:
    fill(sqlite, items=0, kind="safety")
    lines = [line("p", "r", 1.0, 0.0, pick=pick, beside={"disagreement/helpful": 0.2}) for pick in ("random", "best")]
    assert len(imported(sqlite, tmp_path, [*lines, line("p", "s", 0.0, 0.0, pick="worst")])) == 2


def test_single_responses_for_safety(sqlite: Database, fill: Fill, tmp_path: Path) -> None:
    fill(sqlite, items=0, kind="safety")
    items = imported(sqlite, tmp_path, LINES)
    said = [item.responses[0].messages[0]["content"] for item in items]
    assert sorted(said[:2]) == ["one", "two"]  # on which the terms say the opposite
    assert sorted(said[2:]) == ["bad", "good", "x"]


def test_a_bad_line_is_named_and_stops_the_import(sqlite: Database, fill: Fill, tmp_path: Path) -> None:
    fill(sqlite, items=0)
    no_terms = line("q", "r", 1.0, 1.0, terms=None)
    no_text = json.dumps({"terms": {}, "response": 5})
    wrong = [*LINES, no_terms, no_text, "{"]
    with pytest.raises(BadRowsError, match=r"samples.jsonl:7: key 'terms'[\s\S]*:8: key 'response'[\s\S]*:9:"):
        imported(sqlite, tmp_path, wrong)
    with sqlite.read() as session:
        assert session.scalars(select(Item)).all() == []
