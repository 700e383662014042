"""Layouts with several records in a row, or one record in several rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from layout_rows import ASKED, pair_of, read_all

from reward_models.data.formats import to_record, to_responses
from reward_models.data.records import (
    Message,
    Prompt,
    RecordError,
)
from reward_models.data.sources import BadRow, read, read_responses


def rated(prompt: str, response: str, helpfulness: Any) -> dict[str, Any]:
    return {"prompt": prompt, "response": response, "helpfulness": helpfulness, "correctness": 4, "coherence": 4}


def test_helpsteer2_pairs_neighbouring_rows_by_helpfulness(tmp_path: Path) -> None:
    rows = [rated("a", "one", 1), rated("a", "two", 3), rated("b", "alone", 2), rated("c", "x", 2), rated("c", "y", 2)]
    first, alone, tie = read_all(tmp_path, [*rows, rated("d", "x", None), rated("d", "y", 2)])[:3]
    assert pair_of(first) == ((Message("user", "a"),), "two", "one")
    assert first.strength == 2
    assert isinstance(alone, BadRow)
    assert (alone.line, "two neighbouring rows" in alone.reason) == (3, True)
    assert tie.label == "tie"
    *_, bad = read_all(tmp_path, [rated("d", "x", None), rated("d", "y", 2)])
    assert isinstance(bad, BadRow)
    assert "'helpfulness' is None" in bad.reason
    path = tmp_path / "data.jsonl"
    assert [list(item[1]) for item in read_responses(str(path))] == [["response"], ["response"]]  # type: ignore[index]


def test_ultrafeedback_gives_every_pair_and_refuses_those_whose_scores_disagree(tmp_path: Path) -> None:
    scores = {"Oak.": (8, 4.5), "Cod.": (2, 1.0), "Elm.": (9, 4.0)}
    row = {
        "instruction": ASKED,
        "models": ["x", "y", "z"],
        "completions": [
            {"response": text, "overall_score": overall, "fine-grained_score": fine}
            for text, (overall, fine) in scores.items()
        ],
    }
    first, refused, last = read_all(tmp_path, [row])
    assert pair_of(first)[1:] == ("Oak.", "Cod.")
    assert isinstance(refused, BadRow)
    assert "disagree" in refused.reason
    assert pair_of(last)[1:] == ("Elm.", "Cod.")
    assert [said[-1].content for said in to_responses(row)[1].values()] == list(scores)


def test_nectar_gives_every_pair_by_rank(tmp_path: Path) -> None:
    answers = [
        {"answer": text, "model": "m", "rank": rank} for text, rank in (("Fir.", 2.0), ("Cod.", 3.0), ("Oak.", 1.0))
    ]
    row = {"prompt": f"\n\nHuman: {ASKED}\n\nAssistant: ", "answers": answers, "turns": 1, "good_natured": True}
    path = tmp_path / "nectar.jsonl"
    path.write_text(json.dumps(row))
    records = [record for record in read(str(path), "comparison") if not isinstance(record, BadRow)]
    assert [pair_of(record)[1:] for record in records] == [("Fir.", "Cod."), ("Oak.", "Fir."), ("Oak.", "Cod.")]
    assert {record.strength for record in records} == {None}  # type: ignore[union-attr]
    assert records[0].prompt == (Message("user", ASKED),)
    assert list(to_responses(row)[1]) == ["completion_0", "completion_1", "completion_2"]
    path.write_text(json.dumps(row | {"answers": [answers[0], answers[1] | {"rank": "second"}]}))
    [bad] = read(str(path), "comparison")
    assert isinstance(bad, BadRow)
    assert "key 'rank' is 'second', not a finite number" in bad.reason


def test_code_contests_have_tests_in_lists(tmp_path: Path) -> None:
    none: dict[str, list[str]] = {"input": [], "output": []}
    tests = {"input": ["1\n", "2\n"], "output": ["1\n", "4\n"]}
    row = {"description": "Square it.", "public_tests": tests, "private_tests": none, "generated_tests": none}
    record = to_record(row)
    assert isinstance(record, Prompt)
    assert record.prompt == (Message("user", "Square it."),)
    assert record.columns["tests"] == [{"input": "1\n", "output": "1\n"}, {"input": "2\n", "output": "4\n"}]
    assert record.columns["verifier"] == "code"
    for change, reason in (
        ({"public_tests": none}, "has no test cases"),
        ({"public_tests": tests | {"output": ["1"]}}, "as many inputs as outputs"),
        ({"public_tests": ["1"]}, "as many inputs as outputs"),
        ({"input_file": "in.txt"}, "must use the file 'in.txt'"),
    ):
        with pytest.raises(RecordError, match=reason):
            to_record(row | change)
