"""Rows that would lose or guess something are refused, with the reason."""

from __future__ import annotations

import re
from typing import Any

import pytest
from layout_rows import ASKED, PLAIN, reply, user

from reward_models.data.formats import to_record
from reward_models.data.records import (
    RecordError,
)

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"chosen": "The French word is chat.", "rejected": "The French word is chien."}, "no column holds the prompt"),
    ({"prompt": ASKED, "question": "Name a fish.", **PLAIN}, "'prompt' and 'question' may both hold the prompt"),
    ({"context": "A passage.", "question": ASKED, **PLAIN}, "may both hold the prompt"),
    ({"prompt": "Translate.", "input": "dog", **PLAIN}, "'input' is read only beside 'instruction'"),
    ({"question": ASKED, "history": [["Hi", "Hello"]], **PLAIN}, "'history' is read only beside 'instruction'"),
    ({"question": ASKED, "choices": ["3", "4"], "answer": 7}, "'answer' is 7, which is none of the options"),
    ({"question": ASKED, "choices": ["1", "2"], "answer": "1"}, "the text of one option and the place of another"),
    ({"question": ASKED, "choices": ["3", "4"]}, "no column says which is right"),
    ({"question": ASKED, "options": ["3", "4"], "answer": "A", "answer_index": 1}, "name different options"),
    ({"question": ASKED, "options": ["3", 4], "answer": "A"}, "an option that is no text"),
    ({"problem": ASKED, "solution": "It is proved."}, "'solution' has no"),
    ({"prompt": ASKED, "response": "a", "response_label": "unsafe"}, "no known layout"),
    ({"instruction": ASKED, "chosen_response": "a", "rejected_response": "b"}, "no known layout"),
    ({"prompt": ASKED, "tools": [{"name": "f"}], **PLAIN}, "'tools' is not read"),
    ({"prompt": ASKED, "images": ["a.png"], **PLAIN}, "'images' is not read"),
    ({"prompt": "[HumanMessage(content='a')]", **PLAIN}, "print of message objects"),
    ({"prompt": "{'messages': [{'role': 'user', 'content': 'a'}]}", **PLAIN}, "looks like a list of messages"),
    ({"prompt": ASKED, **PLAIN, "score_chosen": "high", "score_rejected": "low"}, "'score_chosen' is 'high'"),
    ({"prompt": ASKED, "weight": 0, **PLAIN}, "weight 0.0 is not a positive number"),
    ({"prompt": ASKED, "weight": "heavy", **PLAIN}, "'weight' is 'heavy'"),
    ({"prompt": ASKED, "response": "a", "label": "safe", "weight": 0.5}, "'weight' is read of comparisons alone"),
    ({"prompt": ASKED, "answer": "4", "weight": 0.5}, "'weight' is read of comparisons alone"),
    ({"prompt": ASKED, "chosen": [reply("a", weight=0)], "rejected": "b"}, "field 'weight'"),
    ({"prompt": ASKED, "chosen": [reply("a", thinking="x")], "rejected": "b"}, "field 'thinking'"),
    ({"prompt": ASKED, "chosen": [reply("a", tool_calls="f()")], "rejected": "b"}, "'tool_calls' is not a list"),
    ({"prompt": [{"role": "user", "content": [{"type": "image"}]}], **PLAIN}, "parts that are not text"),
    (
        {"prompt": ASKED, "chosen": "[{'role': 'assistant', 'content': 'a'", "rejected": "b"},
        "looks like a list of messages",
    ),
    ({"prompt": ASKED, "chosen": "[{'role': 'x', 'content': f()}]", "rejected": "b"}, "looks like a list of messages"),
    ({"prompt": ASKED, **PLAIN, "chosen_score": 1, "rejected_score": 2}, "rejected response is the better"),
    (
        {"prompt": ASKED, **PLAIN, "chosen-rating": "1", "rejected-rating": "2"},
        "rejected response is the better",
    ),
    ({"prompt": ASKED, **PLAIN, "rank_chosen": 2, "rank_rejected": 1}, "rejected response is the better"),
    ({"prompt": ASKED, **PLAIN, "margin": 0, "score_chosen": 2, "score_rejected": 1}, "margin is 0"),
    ({"prompt": ASKED, **PLAIN, "winner": "rejected"}, "'winner' is 'rejected'"),
    ({"prompt": ASKED, "response_a": "a", "response_b": "b", "label": "a", "score_a": 1, "score_b": 3}, "label is 'a'"),
    ({"prompt": ASKED, "messages": [user(), reply("Elm.")], **PLAIN}, "a reply that no other column has"),
    ({"conversations": [{"from": "function_call", "value": "{}"}], **PLAIN}, "speaker 'function_call'"),
    ({"prompt": ASKED, "response_0": "a", "response_1": "b"}, "'better_response_id' is missing"),
    ({"prompt": ASKED, "response_0": "a", "response_1": "b", "better_response_id": 2}, "neither 0 nor 1"),
    ({"conversation_a": [user(), reply("a")], "conversation_b": [user(), reply("b")], "winner": "?"}, "'winner' is"),
    ({"prompt": [user()], "reward_model": {"style": "rule"}}, "no 'ground_truth'"),
    ({"prompt": [user()], "reward_model": {"ground_truth": ["1", "2"]}}, "has 2 answers"),
    ({"context": [user()], "response1": "a", "response2": "b", "overall_preference": -100}, "not between -3 and 3"),
    ({"prompt": ASKED, **PLAIN, "score_diff": -2}, "score_diff is negative"),
    ({"prompt": ASKED, **PLAIN, "flipped": True}, "'flipped' says"),
    ({"prompt": ASKED, **PLAIN, "label": "b"}, "'label' is 'b' beside 'chosen'"),
    (
        {"prompt": ASKED, **PLAIN, "generations": ["Oak.", "Cod."], "rating": [3.0, 9.0]},
        "rejected response is the better",
    ),
    ({"prompt": ASKED, **PLAIN, "initial_reason_steps": "Step 1."}, "responses go on from it"),
    (
        {"prompt": ASKED, **PLAIN, "chosen_reasoning": "t", "rejected_reasoning": "u"},
        "'chosen_reasoning' would be lost",
    ),
    ({"prompt": ASKED, "response": "a", "is_safe": True, "label": "unsafe"}, "'is_safe' and 'label' differ"),
    ({"prompt": ASKED, "response": "a", "is_safe": True, "category": {"violence": True}}, "'category' names violence"),
    ({"prompt": ASKED, "answer": float("nan")}, "'answer' is nan"),
    ({"prompt": ASKED, "answer": "nan"}, "as pandas writes an empty cell"),
    (
        {"input": {"messages": [user()], "tools": [{}]}, "preferred_output": "a", "non_preferred_output": "b"},
        "'tools' is not read",
    ),
    ({"input": {}, "preferred_output": "a", "non_preferred_output": "b"}, "'input' has no 'messages'"),
    ({"prompt": ASKED, "response": "a", "response_harm_label": "maybe"}, "'response_harm_label' is 'maybe'"),
    ({"prompt": ASKED, "response": None, "response_harm_label": None}, "'response' is null"),
    ({"problem": ASKED, "answer": "1", "expected_answer": "2"}, "'answer' and 'expected_answer' differ"),
]


@pytest.mark.parametrize(("row", "reason"), REFUSED)
def test_rows_that_would_lose_or_guess_something_are_refused(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        to_record(row)


def test_thoughts_in_a_column_of_their_own_are_not_lost_to_fine_tuning() -> None:
    row = {"prompt": ASKED, "response": "Oak."}
    with pytest.raises(RecordError, match="'thinking' would be lost"):
        to_record(row | {"thinking": "A tree."}, "demonstration")
    to_record(row | {"thinking": None}, "demonstration")
    to_record({"prompt": ASKED, **PLAIN, "reasoning": "the judge's"})


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": "Who?", "passage": "It was Ann.", "chosen": "Ann", "rejected": "Bob"}, "join it with the prompt"),
        ({"prompt": "Who?", "documents": ["It was Ann."], "answer": "Ann"}, "key 'documents' is not read"),
        ({"text": "Add.", "code": "x", "test_list": ["assert add(1, 2) == 3"]}, "'test_list' are Python assertions"),
        ({"prompt": "Add.", "test_list": ["assert add(1, 2) == 3"]}, "into a column 'tests'"),
        ({"instruction": "Hi", "output": ["Hello.", "Go."]}, "into 'chosen' and 'rejected'"),
        ({"instruction": "Hi", "output_1": "Hello.", "output_2": "Go.", "label": 1}, "no known layout"),
        ({"messages": [user(), reply("Oak.")]}, "--type demonstration"),
        ({"problem": "1+1", "answer": "2", "domain": ["Mathematics"]}, "--domain or prompts.domain: reasoning"),
    ],
)
def test_refused_layouts_say_how_to_mend_them(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(RecordError, match=re.escape(reason)):
        to_record(row)
