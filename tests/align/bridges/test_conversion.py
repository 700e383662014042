"""Rows of other libraries become samples by the rules of our own readers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from align.bridges.conversion import as_sample


@pytest.mark.parametrize(
    ("answer", "read"),
    [("34", "34"), (34, "34"), (0.5, "0.5"), (np.int64(34), "34"), (["34"], "34"), (None, None), ("[1,2]", "[1,2]")],
)
def test_an_answer_is_a_text_or_a_number(answer: Any, read: str | None) -> None:
    assert as_sample("1+1?", "2", {"answer": answer, "domain": "reasoning"}).answer == read


@pytest.mark.parametrize("answer", [["1", "2"], {"a": 1}, True, float("nan"), float("inf"), []])
def test_another_answer_is_refused_and_not_compared_as_python_prints_it(answer: Any) -> None:
    with pytest.raises(ValueError, match="the column 'answer' is"):
        as_sample("1+1?", "2", {"answer": answer})
