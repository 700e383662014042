"""Rows of OpenAI's preferences, WildGuard, Aegis and OpenMathReasoning in our own columns; layouts that are refused."""

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


def refuse_known(row: Row) -> None:
    """:class:`RecordError` for rows of MBPP, and of LLaMA-Factory's former layout of pairs: both must be rewritten."""
    if row.get("test_list") and not row.get("tests"):
        raise RecordError(
            "the tests in 'test_list' are Python assertions, which a program could skip; write them into a column "
            '\'tests\' as {"function": name, "arguments": […], "output": value}, and the name into the prompt'
        )
    if "instruction" in row and isinstance(row.get("output"), list | tuple):
        raise RecordError(
            f"key 'output' is a list of {len(row['output'])}; if these are the better and the worse response, write "
            "them into 'chosen' and 'rejected'; if they are equally good, keep one"
        )


def boxed_answer(solution: str) -> str:
    """The content of the last ``\\boxed{…}`` of a worked solution, as MATH and NuminaMath have them."""
    start = max(solution.rfind(name) for name in (r"\boxed{", r"\fbox{"))
    depth, begin = 0, solution.find("{", start)
    for place in range(begin, len(solution)) if start >= 0 else ():
        depth += {"{": 1, "}": -1}.get(solution[place], 0)
        if depth == 0:
            return solution[begin + 1 : place].strip()
    raise RecordError(r"key 'solution' has no \boxed{…}, and there is no 'answer'; put the final answer there alone")
