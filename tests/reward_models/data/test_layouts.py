"""Every public layout gives the records that its columns mean, or each row is refused by name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from reward_models.data.formats import to_record, to_responses
from reward_models.data.records import (
    Comparison,
    Conversation,
    Message,
    Pair,
    Prompt,
    Record,
    RecordError,
    RecordType,
    SafetyLabel,
)
from reward_models.data.sources import BadRow, read, read_responses

ASKED = "Name a tree."


def user(text: str = ASKED) -> dict[str, Any]:
    return {"role": "user", "content": text}


def reply(text: str, **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **fields}


def pair_of(record: Record) -> tuple[Conversation, str, str]:
    """``(prompt, better text, worse text)``."""
    assert isinstance(record, Comparison)
    assert record.label != "tie"
    better, worse = record.response_a, record.response_b
    if record.label == "b":
        better, worse = worse, better
    return record.prompt, better[-1].content, worse[-1].content


def read_all(tmp_path: Path, rows: list[Any], record_type: RecordType | None = None) -> list[Any]:
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return list(read(str(path), record_type))


PLAIN = {"chosen": "Oak.", "rejected": "Cod."}
COMPARISONS: dict[str, dict[str, Any]] = {
    "question": {"question": ASKED, **PLAIN},
    "OpenAI": {
        "input": {"messages": [user()], "tools": [], "parallel_tool_calls": True},
        "preferred_output": [reply("Oak.")],
        "non_preferred_output": [reply("Cod.")],
    },
    "query": {"query": ASKED, **PLAIN},
    "instruction": {"instruction": ASKED, "input": "", **PLAIN},
    "instruction and input": {"instruction": "Name a", "input": "tree.", **PLAIN},
    "ShareGPT": {
        "conversations": [{"from": "human", "value": ASKED}],
        "chosen": {"from": "gpt", "value": "Oak."},
        "rejected": {"from": "gpt", "value": "Cod."},
    },
    "messages as the prompt": {"messages": [user()], **PLAIN},
    "UltraFeedback, binarized": {
        "prompt": ASKED,
        "chosen": [user(), reply("Oak.")],
        "rejected": [user(), reply("Cod.")],
        "messages": [user(), reply("Oak.")],
        "score_chosen": 8.0,
        "score_rejected": 3.0,
    },
    "RLHFlow": {
        "chosen": [user(), reply("Oak.")],
        "rejected": [user(), reply("Cod.")],
        "chosen_score": 8.0,
        "rejected_score": 3.0,
    },
    "HelpSteer2-Preference": {
        "prompt": ASKED,
        "response_1": "Oak.",
        "response_2": "Cod.",
        "preference_strength": -2,
        "preference_statement": "Response 1 names a tree.",
    },
    "HelpSteer3": {"context": [user()], "response1": "Cod.", "response2": "Oak.", "overall_preference": 2},
    "PKU-SafeRLHF": {
        "prompt": ASKED,
        "response_0": "Cod.",
        "response_1": "Oak.",
        "is_response_0_safe": True,
        "is_response_1_safe": True,
        "better_response_id": 1,
        "safer_response_id": 0,
    },
    "Arena": {
        "conversation_a": [user(), reply("Oak.")],
        "conversation_b": [user(), reply("Cod.")],
        "winner": "model_a",
        "model_a": "x",
        "model_b": "y",
    },
    "Arena, 55k": {
        "prompt": json.dumps([ASKED]),
        "response_a": '["Oak."]',
        "response_b": '["Cod."]',
        "winner_model_a": 1,
        "winner_model_b": 0,
        "winner_tie": 0,
    },
    "SHP": {"history": ASKED, "human_ref_A": "Cod.", "human_ref_B": "Oak.", "labels": 0, "score_A": 2, "score_B": 9},
    "JSON in cells": {
        "prompt": json.dumps([user()]),
        "chosen": json.dumps([reply("Oak.")]),
        "rejected": json.dumps(reply("Cod.")),
    },
    "Python in cells": {
        "prompt": ASKED,
        "chosen": str([user(), reply("Oak.")]),
        "rejected": str([user(), reply("Cod.")]),
    },
    "numpy in cells": {
        "prompt": ASKED,
        "chosen": "[{'content': 'Name a tree.', 'role': 'user'}\n {'content': 'Oak.', 'role': 'assistant'}]",
        "rejected": "array([{'content': 'Name a tree.', 'role': 'user'} {'content': 'Cod.', 'role': 'assistant'}],\n"
        "      dtype=object)",
    },
    "text parts": {"prompt": [{"role": "user", "content": [{"type": "text", "text": ASKED}]}], **PLAIN},
    "Windows line ends": {
        "chosen": f"\r\n\r\nHuman: {ASKED}\r\n\r\nAssistant: Oak.",
        "rejected": f"\r\n\r\nHuman: {ASKED}\r\n\r\nAssistant: Cod.",
    },
    "null fields, as Arrow gives them": {
        "prompt": [user() | {"tool_calls": None, "name": None}],
        "chosen": [reply("Oak.", tool_calls=None)],
        "rejected": [reply("Cod.", tool_calls=[])],
    },
    "scores that agree": {
        "prompt": ASKED,
        **PLAIN,
        "chosen_rating": 5,
        "rejected_rating": 1,
        "rank_chosen": 0,
        "rank_rejected": 1,
    },
}


@pytest.mark.parametrize("row", COMPARISONS.values(), ids=COMPARISONS.keys())
def test_layouts_of_comparisons(row: dict[str, Any], tmp_path: Path) -> None:
    asked = "Name a\ntree." if isinstance(row.get("input"), str) and row["input"] else ASKED
    for record in (to_record(row), *read_all(tmp_path, [row])):
        assert pair_of(record) == ((Message("user", asked),), "Oak.", "Cod.")
    prompt, responses = to_responses(row)
    assert prompt == (Message("user", asked),)
    assert {name: said[-1].content for name, said in responses.items()} == {"chosen": "Oak.", "rejected": "Cod."}


@pytest.mark.parametrize("name", ["system", "system_prompt", "system_message", "system_instruction"])
def test_the_system_column_is_the_first_message_and_tells_rows_apart(name: str, tmp_path: Path) -> None:
    rows = [{name: each, "question": ASKED, **PLAIN} for each in ("Be a pirate.", "Be terse.", "", None)]
    prompts = [record.prompt for record in read_all(tmp_path, rows)]
    asked = Message("user", ASKED)
    assert prompts == [
        (Message("system", "Be a pirate."), asked),
        (Message("system", "Be terse."), asked),
        (asked,),
        (asked,),
    ]


def test_the_system_column_joins_conversations_and_may_not_contradict_them() -> None:
    system = {"role": "system", "content": "Be terse."}
    row = {"system": "Be terse.", "chosen": [user(), reply("a")], "rejected": [user(), reply("b")]}
    assert pair_of(to_record(row))[0] == (Message("system", "Be terse."), Message("user", ASKED))
    same = row | {"chosen": [system, user(), reply("a")], "rejected": [system, user(), reply("b")]}
    assert pair_of(to_record(same))[0] == (Message("system", "Be terse."), Message("user", ASKED))
    with pytest.raises(RecordError, match="'system' differs"):
        to_record(same | {"system": "Be long."})


def test_a_prompt_column_may_be_the_beginning_or_the_end_of_a_conversation() -> None:
    shared = [user("First"), reply("x"), user("Last")]
    for prompt in ("First", "Last", " Last\n", shared, [user("Last")]):
        record = to_record({"prompt": prompt, "chosen": [*shared, reply("a")], "rejected": [*shared, reply("b")]})
        assert [message.content for message in record.prompt] == ["First", "x", "Last"]
    with pytest.raises(RecordError, match="no part of what both"):
        to_record({"prompt": "Other", "chosen": [*shared, reply("a")], "rejected": [*shared, reply("b")]})


def test_earlier_turns_of_a_history_come_first() -> None:
    record = to_record({"instruction": "And?", "input": "", "history": [["One?", "1"]], **PLAIN})
    assert [(m.role, m.content) for m in record.prompt] == [("user", "One?"), ("assistant", "1"), ("user", "And?")]


def test_a_prompt_of_several_turns_of_helpsteer2() -> None:
    text = "One?\n<extra_id_1>Assistant\n1\n<extra_id_1>User\nAnd?"
    record = to_record({"prompt": text, "response_1": "a", "response_2": "b", "preference_strength": 1})
    assert [(m.role, m.content) for m in record.prompt] == [("user", "One?"), ("assistant", "1"), ("user", "And?")]


def test_arena_keeps_the_turns_after_the_first() -> None:
    row = {"prompt": '["One?", "And?"]', "response_a": '["1", "2"]', "response_b": '["I", "II"]'}
    record = to_record(row | {"winner_model_a": 0, "winner_model_b": 0, "winner_tie": 1})
    assert isinstance(record, Comparison)
    assert (record.label, [m.content for m in record.response_a]) == ("tie", ["1", "And?", "2"])


# --- refused --------------------------------------------------------------------------------------------------------

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


def test_a_tie_of_distilabel_is_one_and_ratings_go_with_their_texts() -> None:
    row = {"input": ASKED, **PLAIN, "generations": ["Cod.", "Oak."], "rating": [5.0, 9.0], "status": "unchanged"}
    record = to_record(row)
    assert isinstance(record, Comparison)
    assert record.strength == 4.0
    tie = to_record(row | {"rating": [9.0, 9.0], "status": "tie"})
    assert isinstance(tie, Comparison)
    assert tie.label == "tie"
    messages = {name: [user(), reply(text)] for name, text in PLAIN.items()}
    found = to_record(row | {"input": None} | messages)
    assert isinstance(found, Comparison)
    assert found.strength == 4.0
    with pytest.raises(RecordError, match="rejected response is the better"):
        to_record(row | {"input": None} | messages | {"rating": [9.0, 5.0]})


@pytest.mark.parametrize(
    ("labels", "label"),
    [
        ({"response_harm_label": "harmful", "prompt_harm_label": "unharmful"}, "unsafe"),
        ({"response_harm_label": "unharmful", "prompt_harm_label": "harmful"}, "safe"),
        ({"response_label": "unsafe", "prompt_label": "safe"}, "unsafe"),
    ],
)
def test_labels_of_wildguard_and_aegis_are_those_of_the_response(labels: dict[str, str], label: str) -> None:
    record = to_record({"prompt": ASKED, "response": "Oak.", **labels})
    assert isinstance(record, SafetyLabel)
    assert record.label == label


@pytest.mark.parametrize("value", [0.0, "0", 4, "4.0"])
def test_equal_scores_are_a_tie_under_any_name(value: Any) -> None:
    for one, other in (
        ("chosen_score", "rejected_score"),
        ("chosen_rating", "rejected_rating"),
        ("rank_chosen", "rank_rejected"),
    ):
        record = to_record({"prompt": ASKED, **PLAIN, one: value, other: value})
        assert isinstance(record, Comparison)
        assert record.label == "tie"


def test_json_that_is_no_message_is_a_text_that_people_write() -> None:
    for text in ('{"tree": "oak"}', '[{"name": "oak", "height": 20}]', "[1, 2]", "{not a dict}", "[{x} for x in y]"):
        assert pair_of(to_record({"prompt": ASKED, "chosen": text, "rejected": "Cod."}))[1] == text


def test_names_of_the_prompt_given_by_the_user_decide(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"context": "A passage.", "question": ASKED, **PLAIN}))
    (record,) = read(str(path), None, columns={"prompt": "question"})
    assert pair_of(record)[0] == (Message("user", ASKED),)  # type: ignore[arg-type]
    path.write_text(json.dumps({"instruction": "Name a", "input": "tree.", **PLAIN}))
    (bad,) = read(str(path), None, columns={"prompt": "instruction"})
    assert isinstance(bad, BadRow)
    assert "'input'" in bad.reason


# --- tool calls and reasoning ---------------------------------------------------------------------------------------


def call(city: str) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": "weather", "arguments": {"city": city}}}]


def test_tool_calls_ids_and_reasoning_are_kept_and_tell_responses_apart() -> None:
    prompt = [
        user(),
        reply("Looking.", tool_calls=call("Oslo")),
        {"role": "tool", "content": "4 C", "tool_call_id": "1"},
    ]
    row = {
        "prompt": prompt,
        "chosen": [reply("", tool_calls=call("Oslo"))],
        "rejected": [reply("", tool_calls=call("Rome"))],
    }
    record = to_record(row)
    assert isinstance(record, Comparison)
    assert record.response_a != record.response_b
    assert [message.to_dict() for message in record.prompt] == prompt
    thoughts = to_record(
        {"prompt": ASKED, "chosen": [reply("Oak.", reasoning_content="a")], "rejected": [reply("Oak.")]}
    )
    assert {m.extra for r in (thoughts.response_a, thoughts.response_b) for m in r} == {
        "",
        '{"reasoning_content": "a"}',
    }  # type: ignore[union-attr]


def test_an_empty_message_needs_tool_calls() -> None:
    assert Message("assistant", "", json.dumps({"tool_calls": call("Oslo")})).fields["tool_calls"] == call("Oslo")
    with pytest.raises(RecordError, match="empty assistant message"):
        to_record({"prompt": ASKED, "chosen": [reply("", reasoning_content="a")], "rejected": "b"})


# --- several records of one row, one record of several rows ---------------------------------------------------------


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


def test_pku_saferlhf_has_two_safety_labels_in_a_row(tmp_path: Path) -> None:
    row = COMPARISONS["PKU-SafeRLHF"] | {
        "is_response_0_safe": False,
        "response_0_harm_category": {"Theft": True, "Spam": False},
        "response_1_harm_category": {"Theft": False},
    }
    labels = read_all(tmp_path, [row], "safety")
    assert all(isinstance(label, SafetyLabel) for label in labels)
    assert [(each.response[0].content, each.label, each.category) for each in labels] == [
        ("Cod.", "unsafe", "Theft"),
        ("Oak.", "safe", None),
    ]
    (pair,) = read_all(tmp_path, [row], "pair")
    assert isinstance(pair, Pair)


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
