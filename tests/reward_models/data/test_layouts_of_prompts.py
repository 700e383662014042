"""Public layouts of prompts, and of single replies, give the records that their columns mean."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest

from reward_models.data.formats import to_record, to_responses
from reward_models.data.records import Comparison, Message, Prompt, RecordError

ASKED = "Name a tree."
PLAIN = {"chosen": "Oak.", "rejected": "Cod."}


def user(text: str = ASKED) -> dict[str, Any]:
    return {"role": "user", "content": text}


def reply(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


# --- prompts --------------------------------------------------------------------------------------------------------


def prompt_of(row: dict[str, Any]) -> Prompt:
    record = to_record(row)
    assert isinstance(record, Prompt)
    return record


def test_verls_layout_has_its_reference_in_reward_model() -> None:
    row = {"data_source": "math_dapo", "prompt": [user("1+1?")], "reward_model": {"ground_truth": "2", "style": "rule"}}
    record = prompt_of(row | {"extra_info": {"index": "1"}, "ability": "MATH"})
    assert (record.domain, record.answer) == ("reasoning", "2")
    assert record.columns == {"data_source": "math_dapo", "extra_info": {"index": "1"}, "ability": "MATH"}
    listed = row | {"reward_model": {"ground_truth": '["34"]'}}  # Skywork-OR1
    assert prompt_of(listed).answer == "34"
    interval = row | {"reward_model": {"ground_truth": "[0,1]"}}
    assert prompt_of(interval).answer == "[0,1]"
    assert prompt_of({"problem": "1+1?", "expected_answer": "2", "generated_solution": "two"}).answer == "2"
    code = row | {"ability": "code", "reward_model": {"ground_truth": json.dumps({"inputs": ["1"], "outputs": ["2"]})}}
    assert prompt_of(code).columns["tests"] == [{"input": "1", "output": "2"}]


OPTIONS: list[dict[str, Any]] = [
    {"choices": ["3", "4"], "answer": 1},  # MMLU
    {"options": ["3", "4"], "answer": "B", "answer_index": 1},  # MMLU-Pro
    {"choices": {"text": ["3", "4"], "label": ["A", "B"]}, "answerKey": "B"},  # ARC
    {"choices": {"text": ["3", "4"], "label": ["1", "2"]}, "answerKey": "2"},
    {"options": ["A)3", "B)4"], "correct": "B"},  # AQuA
    {"options": {"A": "3", "B": "4"}, "answer_idx": "B", "answer": "4"},  # MedQA
]


@pytest.mark.parametrize("columns", OPTIONS)
def test_options_become_part_of_the_question(columns: dict[str, Any]) -> None:
    record = prompt_of({"question": "2 + 2?", **columns})
    assert record.prompt == (Message("user", "2 + 2?\n\nA. 3\nB. 4"),)
    assert (record.domain, record.answer, record.columns) == ("reasoning", "B", {"verifier": "choice"})


def test_a_number_is_a_place_also_where_the_options_are_numbers() -> None:
    assert prompt_of({"question": "1 + 1?", "choices": ["1", "2"], "answer": 1}).answer == "B"


def test_options_that_the_prompt_shows_are_not_repeated() -> None:
    record = prompt_of({"prompt": "2 + 2?\nA: 3\nB: 4", "choices": ["3", "4"], "answer": "B"})
    assert record.prompt == (Message("user", "2 + 2?\nA: 3\nB: 4"),)


def test_the_answer_of_a_worked_solution_is_in_its_box() -> None:
    row = {"problem": "1/2 + 1/2?", "solution": r"First \boxed{x}. So it is $\boxed{\frac{2}{2}}$."}
    assert prompt_of(row).answer == r"\frac{2}{2}"
    assert prompt_of(row | {"answer": "1"}).answer == "1"


def test_a_prompt_in_the_column_input() -> None:
    record = to_record({"system": "Be brief.", "input": ASKED, **PLAIN})
    assert isinstance(record, Comparison)
    assert record.prompt == (Message("system", "Be brief."), Message("user", ASKED))


@pytest.mark.parametrize("name", ["problem", "question", "instruction"])
def test_problems_with_an_answer(name: str) -> None:
    assert prompt_of({name: "1+1?", "answer": "2"}).prompt == (Message("user", "1+1?"),)
    assert prompt_of({name: "1+1?", "ground_truth": 2}).answer == "2"
    with pytest.raises(RecordError, match="differ"):
        to_record({name: "1+1?", "answer": "3", "ground_truth": "2"})


def test_apps_and_taco() -> None:
    cases = {"inputs": ["1\n", ["1", "2"]], "outputs": ["2\n", "3"]}
    record = prompt_of({"question": "Add one.", "input_output": json.dumps(cases), "difficulty": "easy"})
    assert (record.domain, record.answer) == ("reasoning", None)
    assert record.columns["tests"] == [{"input": "1\n", "output": "2\n"}, {"input": "1\n2", "output": "3"}]
    assert (record.columns["verifier"], record.columns["difficulty"]) == ("code", "easy")
    wrapped = {"fn_name": "f", "inputs": [[1], [2]], "outputs": [[2], [3]]}
    called = prompt_of({"question": "q", "starter_code": "def f(x):", "input_output": json.dumps(wrapped)})
    assert called.columns["tests"] == [
        {"function": "f", "arguments": [1], "output": 2},
        {"function": "f", "arguments": [2], "output": 3},
    ]
    assert called.prompt[0].content == "q\n\nStarter code:\n```python\ndef f(x):\n```"
    lists = prompt_of({"question": "q", "input_output": json.dumps(wrapped | {"outputs": [[2], [3, 4]]})})
    assert [test["output"] for test in lists.columns["tests"]] == [[2], [3, 4]]


def test_livecodebench_with_private_tests_that_are_never_unpickled() -> None:
    private = [{"input": '[1, 2]\n"a"', "output": "3", "testtype": "functional"}]
    packed = base64.b64encode(zlib.compress(pickle.dumps(json.dumps(private)))).decode()
    public = [{"input": "1", "output": "2", "testtype": "stdin"}]
    row = {"question_content": "Add.", "public_test_cases": json.dumps(public), "private_test_cases": packed}
    record = prompt_of(row | {"metadata": '{"func_name": "f"}'})
    assert record.columns["tests"] == [
        {"input": "1", "output": "2"},
        {"function": "f", "arguments": [[1, 2], "a"], "output": 3},
    ]
    harmful = base64.b64encode(zlib.compress(pickle.dumps(Path("x")))).decode()
    for bad in (harmful, "no base64", base64.b64encode(b"no zlib").decode()):
        with pytest.raises(RecordError, match="'private_test_cases' is neither JSON nor"):
            to_record(row | {"private_test_cases": bad})


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("[]", "no test cases"),
        ("3", "not a list of test cases"),
        ("{", "neither JSON"),
        ({"inputs": ["1"], "outputs": []}, "nor two lists of inputs and outputs"),
        ({"inputs": ["1", "2"], "outputs": ["1"]}, "2 inputs and 1 outputs"),
        ({"inputs": [], "outputs": []}, "no test cases"),
        ({"inputs": [1], "outputs": ["1"]}, "neither a text as input and output"),
        ({"fn_name": "f", "inputs": [1], "outputs": [1]}, "without a list of arguments"),
    ],
)
def test_test_cases_in_no_layout_are_refused(value: Any, reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        to_record({"question": "q", "input_output": value})


# --- demonstrations -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [user(), reply("Oak.")]},
        {"conversations": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": "Oak."}]},
        {"instruction": "Name a tree.", "input": "", "output": "Oak."},
        {"prompt": ASKED, "completion": "Oak."},
        {"prompt": ASKED, "response": [user(), reply("Oak.")]},
    ],
)
def test_a_single_reply_to_score_or_to_learn(row: dict[str, Any]) -> None:
    assert to_responses(row) == ((Message("user", ASKED),), {"response": (Message("assistant", "Oak."),)})


def test_columns_that_hold_different_responses_are_refused_for_scoring() -> None:
    with pytest.raises(RecordError, match="both hold responses"):
        to_responses({"prompt": ASKED, **PLAIN, "response": "Elm."})
    with pytest.raises(RecordError, match="a reply that no other column has"):
        to_responses({"prompt": ASKED, "messages": [user(), reply("Elm.")], "response": "Oak."})
