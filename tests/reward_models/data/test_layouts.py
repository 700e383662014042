"""Every public layout gives the records that its columns mean, or each row is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from layout_rows import ASKED, PLAIN, pair_of, read_all, reply, user

from reward_models.data.formats import to_record, to_responses
from reward_models.data.records import (
    Comparison,
    Message,
    Pair,
    RecordError,
    SafetyLabel,
)
from reward_models.data.sources import BadRow, read

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
