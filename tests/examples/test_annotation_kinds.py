"""The script that takes a project of every kind to a model: its items are those of the kinds, and its presets exist."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from annotation_ui.exchange.importing import to_candidate
from annotation_ui.store.forms import RESPONSES

SCRIPT = Path(__file__).parents[2] / "examples" / "annotation_kinds.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("annotation_kinds", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize("kind", RESPONSES)
def test_its_items_are_read_as_those_of_the_kind(script: Any, kind: Any) -> None:
    assert kind in script.ANSWERS
    rows = script.rows_of(kind)
    assert len({row["prompt"] for row in rows}) == script.ITEMS
    sizes = {len(to_candidate(row, kind, id=row["id"], source="made up").responses) for row in rows}
    assert sizes == {{"preference": 2, "ranking": 3, "attributes": 3}.get(kind, 1)}


def test_its_presets_exist(script: Any) -> None:
    for name in ("helpful_demo", *script.CONFIG.values()):
        assert list((SCRIPT.parents[1] / "configs").rglob(f"{name}.yaml")), name
