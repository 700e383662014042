"""Rows of OpenAI's preferences, WildGuard, Aegis and OpenMathReasoning in our own columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from reward_models.data.conversations import quoted
from reward_models.data.records import RecordError

Row = Mapping[str, Any]
_HARM = {"unharmful": "safe", "harmful": "unsafe"}


def without(row: Row, *names: str) -> dict[str, Any]:
    """``row`` without some columns."""
    return {name: value for name, value in row.items() if name not in names}


def parse_object(text: str, key: str) -> Any:
    """The JSON value in a cell. :class:`RecordError` if it is none."""
    try:
        return json.loads(text)
    except ValueError:
        raise RecordError(f"key {key!r} is text that looks like JSON and is not; store it as JSON") from None


def openai_preferences(row: Row) -> Row:
    """OpenAI's layout of preferences: the conversation with its tools in ``input``, and two lists of messages."""
    ours = without(row, "input", "preferred_output", "non_preferred_output")
    asked = row["input"]
    if isinstance(asked, str):
        asked = parse_object(asked, "input")
    if not isinstance(asked, Mapping) or "messages" not in asked:
        raise RecordError("key 'input' has no 'messages', as beside 'preferred_output' it must")
    ours |= {"messages": asked["messages"], "tools": asked.get("tools")}
    return ours | {"chosen": row["preferred_output"], "rejected": row["non_preferred_output"]}


def wildguard(row: Row) -> Row:
    """WildGuard: ``harmful`` or ``unharmful``."""
    said = row["response_harm_label"]
    if said not in (None, "", *_HARM):
        raise RecordError(f"key 'response_harm_label' is {quoted(said)}, none of {', '.join(_HARM)}")
    return without(row, "response_harm_label", "prompt_harm_label", "response_refusal_label") | {
        "label": _HARM.get(said)
    }


def aegis(row: Row) -> Row:
    """Aegis: ``safe`` or ``unsafe``."""
    return without(row, "response_label", "prompt_label") | {"label": row["response_label"]}


def expected_answer(row: Row) -> Row:
    """OpenMathReasoning: the answer in ``expected_answer``."""
    if row.get("answer") not in (None, "", row["expected_answer"]):
        raise RecordError("keys 'answer' and 'expected_answer' differ; keep the right one")
    return without(row, "expected_answer") | {"answer": row["expected_answer"]}
