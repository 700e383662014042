"""Rows of other libraries become samples by the rules of our own readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from align.bridges.conversion import as_sample
from align.bridges.rewarder import rewarder, run
from align.rewards.terms import TermError


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


def test_a_reference_under_another_name_is_an_error_and_not_a_reward_of_0(tmp_path: Path) -> None:
    settings = tmp_path / "rewards.yaml"
    settings.write_text("rewards: [{term: accuracy_exact}]\n")
    mixture = rewarder(str(settings))
    for name in ("ground_truth", "solution"):
        with pytest.raises(TermError, match=f"a row has '{name}' instead: rename the column"):
            run(mixture.rewards([as_sample("1+1?", "2", {name: "2", "verifier": "exact"})], 0))
    fine = [{"answer": "2", "solution": "1 + 1 = 2"}, {"solution": ""}, {"ground_truth": None}, {"domain": "safety"}]
    samples = [as_sample("1+1?", "2", row | {"verifier": "exact"}) for row in fine]
    assert run(mixture.rewards(samples, 0)).reward_N.tolist()[0] == 1.0
    settings.write_text("rewards: [{term: format}]\n")
    assert len(run(rewarder(str(settings)).rewards([as_sample("1+1?", "2", {"solution": "2"})], 0)).reward_N) == 1
