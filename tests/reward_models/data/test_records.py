"""Names that follow from a task, and the task of models saved earlier."""

from __future__ import annotations

from typing import Any

import pytest

from reward_models.data.records import DOMAINS, RECORD_TYPES, TASKS, saved_task


def test_the_names_of_a_task_exist() -> None:
    assert {names.record_type for names in TASKS.values()} <= set(RECORD_TYPES)
    assert {names.domain for names in TASKS.values()} == set(DOMAINS) - {"reasoning"}
    assert [names.model for names in TASKS.values()] == ["helpful", "safety"]


@pytest.mark.parametrize(
    ("facts", "task"),
    [
        ({"task": "preference"}, "preference"),
        ({"task": "safety"}, "safety"),
        ({"kind": "helpful"}, "preference"),
        ({"kind": "safety"}, "safety"),
        ({}, None),
    ],
)
def test_the_task_of_a_saved_model(facts: dict[str, Any], task: str | None) -> None:
    assert saved_task(facts) == task


@pytest.mark.parametrize("facts", [{"task": "helpful"}, {"kind": "mixer"}, {"task": 1}])
def test_an_unknown_task_of_a_saved_model_is_refused(facts: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="none of preference, safety"):
        saved_task(facts)
