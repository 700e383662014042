"""The table of neighbours in the documentation is the one that was measured, and every bridge is in it."""

from __future__ import annotations

import json
from pathlib import Path

import neighbours
import pytest

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks" / "results" / "neighbours.json"


def test_the_documentation_shows_what_was_measured() -> None:
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    assert neighbours.table(result) in (ROOT / "docs" / "bridges.md").read_text(encoding="utf-8"), (
        "docs/bridges.md does not hold the table of: python benchmarks/neighbours.py --table --out " + str(RESULT)
    )
    assert set(result) <= set(neighbours.NEIGHBOURS)


def test_every_bridge_has_a_neighbour_and_every_neighbour_a_probe() -> None:
    own = {"__init__", "conversion", "rewarder", "service"}
    bridges = {file.stem for file in (ROOT / "align" / "bridges").glob("*.py")} - own
    assert bridges == set(neighbours.NEIGHBOURS) - {"vllm"}
    assert all((neighbours.PROBES / f"probe_{name}.py").is_file() for name in neighbours.NEIGHBOURS)


def test_a_table_of_cells_and_notes() -> None:
    entry = {"version": "1.0", "resolves": True, "imports": False, "scores_equal": True, "steps": 2, "loud": True}
    text = neighbours.table({"x": entry | {"date": "2026-01-02", "notes": {"scores_equal": "first\nlast"}}})
    assert "| x | 1.0 | yes | **no** | yes | 2 | yes | 2026-01-02 |" in text
    assert text.endswith("- x, scores equal: last.")


@pytest.mark.parametrize(
    ("requirement", "name"),
    [("Flash_Attn==2.8.3", "flash-attn"), ("ray[default]>=2", "ray"), ("torch ; python_version > '3'", "torch")],
)
def test_the_name_of_a_requirement(requirement: str, name: str) -> None:
    assert neighbours._name_of(requirement) == name
