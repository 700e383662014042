"""Rows with any number of responses to one prompt, as items of the kinds ranking, attributes and rewrite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from annotation_ui.store.forms import RESPONSES, Kind
from reward_models.data.conversations import quoted, to_conversation
from reward_models.data.formats import to_responses
from reward_models.data.prompt_columns import prompt_of
from reward_models.data.records import Conversation, RecordError

Row = Mapping[str, Any]
Response = tuple[Conversation, str | None]


def several(row: Row, kind: Kind) -> tuple[Conversation, list[Response]]:
    """The prompt, and every response with the name of its model, in the order of the row.

    A column ``responses`` (texts, lists of messages, or mappings with ``response`` and ``model``), with the names in a
    column ``models`` if need be; or any layout that ``keel score`` reads, UltraFeedback's ``completions`` among them.
    For rewriting a prompt alone will do.

    Raises:
        RecordError: something is missing or wrong, two responses are the same, or they are too few or too many.
    """
    fewest, most = RESPONSES[kind]
    if row.get("annotations") is not None:
        raise RecordError(f"votes in 'annotations' cannot be imported into a {kind} project; leave the column out")
    if row.get("responses") is not None:
        prompt, found = prompt_of(row), _listed(row)
    elif kind == "rewrite" and not _replies(row):
        prompt, found = prompt_of(row), []
    else:
        prompt, named = to_responses(row)
        found = [(response, _model(row, name, place)) for place, (name, response) in enumerate(named.items())]
    if not fewest <= len(found) <= most:
        needed = str(most) if fewest == most else f"{fewest} to {most}"
        raise RecordError(f"{len(found)} responses; an item of a {kind} project has {needed}")
    if len({response for response, _ in found}) < len(found):
        raise RecordError("two responses are identical; keep one of them")
    return prompt, found


def _replies(row: Row) -> bool:
    """True if a row holds more than a prompt."""
    if any(key.startswith(("response", "completion", "chosen", "rejected", "output")) for key in row):
        return True
    messages: list[Any] = next((row[k] for k in ("messages", "conversations") if isinstance(row.get(k), list)), [])
    last = messages[-1] if messages else {}
    return isinstance(last, dict) and last.get("role", last.get("from")) in ("assistant", "gpt", "model")


def _listed(row: Row) -> list[Response]:
    values, names = row["responses"], row.get("models")
    if not isinstance(values, list):
        raise RecordError(f"key 'responses' is {quoted(values)}, not a list of responses")
    if names is not None and (not isinstance(names, list) or len(names) != len(values)):
        raise RecordError("key 'models' is not a list with a name for each of 'responses'")
    found: list[Response] = []
    for place, value in enumerate(values):
        name = names[place] if names is not None else None
        if isinstance(value, dict) and "role" not in value:
            name = value.get("model", name)
            value = value.get("response", value.get("text"))
        found.append((to_conversation(value, f"responses[{place}]", role="assistant"), _name(name)))
    return found


def _model(row: Row, name: str, place: int) -> str | None:
    """The model of a response that :func:`to_responses` calls ``name``."""
    if name.startswith("completion_"):
        return _name(row["completions"][int(name.removeprefix("completion_"))].get("model"))
    side = name.removeprefix("response")
    return _name(row.get(f"model{side}", row.get(f"{name}_model")))


def _name(value: object) -> str | None:
    return value[:200] if isinstance(value, str) else None
