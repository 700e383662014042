"""Every constraint, both ways: responses that keep it and responses that break it."""

from __future__ import annotations

import pytest
from instruction_cells import CASES
from instruction_cells.case import Case

import align.rewards.instructions.term  # noqa: F401 - it registers the constraints
from align.rewards.instructions.registry import CONSTRAINTS, instructions_of
from align.rewards.instructions.text import Text

EMPTY = ["", " \n\t", "\u200b\u200b", "…", "***", "🙂"]


@pytest.mark.parametrize("case", CASES, ids=[f"{place} {case.id}" for place, case in enumerate(CASES)])
def test_a_constraint_both_ways(case: Case) -> None:
    (wanted,) = instructions_of({"instructions": [{"id": case.id, "kwargs": case.values}]})
    assert [text for text in case.keeps if not wanted.followed(Text(text))] == []
    assert [text for text in case.breaks if wanted.followed(Text(text))] == []
    assert not any(wanted.followed(Text(text)) for text in EMPTY)


def test_every_constraint_has_cases_both_ways() -> None:
    assert {case.id for case in CASES} == CONSTRAINTS.keys()
    assert all(case.keeps and case.breaks for case in CASES)
    assert len(CONSTRAINTS) == 98
