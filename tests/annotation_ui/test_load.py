"""Several annotators over HTTP against a server that is killed in the middle."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from annotation_ui.store.database import Database

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "annotation_load.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("annotation_load", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_a_killed_server_loses_nothing_it_acknowledged(sqlite: Database, script: ModuleType) -> None:
    figures = script.load(str(sqlite.url.database), 6, 60, 10.0, kill=True, projects=script.KINDS)
    assert figures["acknowledged"] > 0
    assert figures["stored"] >= figures["acknowledged"]
    assert set(figures["by_kind"]) == set(script.KINDS)
    promises = ("lost", "doubled", "over_assigned", "miscounted")
    assert {name: figures[name] for name in promises} == dict.fromkeys(promises, 0)
    assert figures["most_votes_on_an_item"] <= script.VOTES_PER_ITEM
