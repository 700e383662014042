"""Rows with responses become comparisons, pairs, safety labels and candidates.

:mod:`reward_models.data.formats` lists the layouts and calls these functions. Rows of further public layouts have gone
through :func:`~reward_models.data.layouts.to_ours` before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any, Literal

from reward_models.data.conversations import checked_text, digest, quoted, split_conversations, to_conversation
from reward_models.data.prompt_columns import (
    COLUMN_NAMES,
    check_replies,
    columns_of,
    has_prompt,
    merged,
    missing,
    prompt_of,
    refuse_thoughts,
    refuse_unreadable,
)
from reward_models.data.records import (
    ATTRIBUTES,
    Candidates,
    Comparison,
    Conversation,
    Pair,
    Rated,
    RecordError,
    SafetyLabel,
)
from reward_models.data.scores import check_label, margin_of, number_of

Row = Mapping[str, Any]


def is_comparison(row: Row) -> bool:
    """True if the row has a column of one of two responses."""
    return any(name in row for name in ("chosen", "rejected", "response_a", "response_b"))


def lists_responses(value: object) -> bool:
    """True if ``value`` is a list of whole responses, and not the messages of one."""
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], str | list | tuple)


# --- comparisons ----------------------------------------------------------------------------------------------------


def to_comparison(row: Row, id: str, source: str) -> Comparison:
    """The comparison in ``row``. :class:`RecordError` if something is missing or wrong."""
    if lists_responses(row.get("chosen")):
        raise RecordError(
            "key 'chosen' is a list of responses: a best-of-N problem, to be read as record type 'candidates'"
        )
    if "response_a" in row or "response_b" in row:
        label, strength = _choice(row, "label", ("a", "b", "tie")), number_of(row, "strength")
        check_label(row, label)
        prompt, a, b = two_responses(row, "response_a", "response_b")
        return Comparison(
            prompt=prompt,
            response_a=a,
            response_b=b,
            label=label,
            strength=None if label == "tie" and strength == 0 else strength,
            weight=_weight(row),
            id=id,
            source=source,
        )
    prompt, chosen, rejected = two_responses(row, "chosen", "rejected")
    margin = margin_of(row)
    chosen_is_a = _comes_first(digest(prompt + chosen), digest(prompt + rejected))
    return Comparison(
        prompt=prompt,
        response_a=chosen if chosen_is_a else rejected,
        response_b=rejected if chosen_is_a else chosen,
        label="tie" if margin == 0 else "a" if chosen_is_a else "b",
        strength=margin or None,
        weight=_weight(row),
        id=id,
        source=source,
    )


def _weight(row: Row) -> float:
    weight = number_of(row, "weight")
    return 1.0 if weight is None else weight


def to_pair(row: Row, id: str, source: str) -> Pair:
    """The pair in ``row``, whose label may be missing. :class:`RecordError` if something else is missing or wrong."""
    if "response_a" in row and row.get("label") is None:
        prompt, a, b = two_responses(row, "response_a", "response_b")
        return Pair(prompt=prompt, response_a=a, response_b=b, id=id, source=source)
    judged = to_comparison(row, id, source)
    return Pair(
        prompt=judged.prompt,
        response_a=judged.response_a,
        response_b=judged.response_b,
        label=judged.label,
        id=id,
        source=source,
    )


def _comes_first(one: bytes, other: bytes) -> bool:
    """True if the response with digest ``one`` becomes ``response_a``: random by a hash of both digests.

    The position is then independent of the label. ``_comes_first(x, y) == (not _comes_first(y, x))``: swapping chosen
    and rejected in the source changes the label, and both responses keep their positions. Sorting by digest would give
    a response that occurs in many pairs the same position in nearly all of them.
    """
    coin = hashlib.sha256(min(one, other) + max(one, other)).digest()[0] % 2
    return (one <= other) == bool(coin)


def two_responses(row: Row, first: str, second: str) -> tuple[Conversation, Conversation, Conversation]:
    """``(prompt, first response, second response)``, whether or not the row has a prompt of its own.

    Two whole conversations share the longest prompt that both begin with; a prompt column must agree with it. Two plain
    responses need a prompt column: what they begin with alike is never taken for the prompt.
    """
    row = {key: value for key, value in row.items() if key != "weight"}  # of the pair, which its reader takes
    one, other = (_conversation(row, key, "assistant") for key in (first, second))
    whole = [bool(each) and each[0].role != "assistant" for each in (one, other)]
    if all(whole) and one[-1].role == other[-1].role == "assistant":
        prompt, one, other = split_conversations(one, other)
        prompt = merged(prompt, prompt_of(row) if has_prompt(row) else (), row)
    elif not has_prompt(row) and not any(name in row for name in COLUMN_NAMES):
        raise RecordError(f"no column holds the prompt that {first!r} and {second!r} answer {columns_of(row)}; add one")
    else:
        prompt = prompt_of(row)
        one, other = _without(prompt, one, first), _without(prompt, other, second)
    refuse_unreadable(row)
    refuse_thoughts(row, first, second)
    check_replies(row, prompt, (one, other))
    return prompt, one, other


def _without(prompt: Conversation, response: Conversation, key: str) -> Conversation:
    """``response`` less the prompt, which some sources repeat at its beginning."""
    if response[: len(prompt)] == prompt:
        response = response[len(prompt) :]
    if response and response[0].role != "assistant":
        raise RecordError(f"key {key!r} begins with a {response[0].role} message that is not the prompt's")
    return response


def reply_column(row: Row) -> str | None:
    """The column of a single response: ``output`` beside ``instruction`` is LLaMA-Factory's."""
    names = ("response", "completion", *(["output"] if "instruction" in row else []))
    return next((name for name in names if name in row), None)


def prompt_and_response(row: Row, key: str) -> tuple[Conversation, Conversation]:
    """The row's prompt, and the response in column ``key`` without the prompt."""
    prompt = prompt_of(row)
    response = _without(prompt, _conversation(row, key, "assistant"), key)
    check_replies(row, prompt, (response,))
    return prompt, response


# --- safety labels --------------------------------------------------------------------------------------------------


def to_safety_label(row: Row, id: str, source: str) -> SafetyLabel:
    """The safety label in ``row``. :class:`RecordError` if something is missing or wrong."""
    if not has_prompt(row) and not any(name in row for name in COLUMN_NAMES):
        raise missing(row, "prompt")
    prompt, response = prompt_and_response(row, "completion" if "completion" in row else "response")
    label = _safety_verdict(row, "is_safe" if "is_safe" in row else "label")
    said_again = row.get("is_safe") is not None and row.get("label") in (True, False, "safe", "unsafe")
    if said_again and _safety_verdict(row, "label") != label:
        raise RecordError("keys 'is_safe' and 'label' differ; keep the right one")
    if label == "safe" and isinstance(row.get("category"), dict) and _category(row["category"]):
        raise RecordError(
            f"the response is called safe, and 'category' names {_category(row['category'])}; correct one"
        )
    return SafetyLabel(
        prompt=prompt,
        response=response,
        label=label,
        category=_category(row.get("category")),
        id=id,
        source=source,
    )


def to_rated(row: Row, id: str, source: str) -> Rated:
    """The ratings of a response in ``row``. :class:`RecordError` if something is missing or wrong."""
    if not has_prompt(row) and not any(name in row for name in COLUMN_NAMES):
        raise missing(row, "prompt")
    prompt, response = prompt_and_response(row, "response")
    ratings = tuple(number_of(row, name) for name in ATTRIBUTES)
    return Rated(prompt=prompt, response=response, ratings=ratings, id=id, source=source)


def _safety_verdict(row: Row, key: str) -> Literal["safe", "unsafe"]:
    if row.get(key) is None:
        raise missing(row, key)
    verdict = str(row[key]).lower() if isinstance(row[key], str | bool) else ""
    if verdict in ("safe", "true"):
        return "safe"
    if verdict in ("unsafe", "false"):
        return "unsafe"
    raise RecordError(f"key {key!r} is {quoted(row[key])}, none of safe, unsafe, true (safe) and false (unsafe)")


def _category(value: object) -> str | None:
    """A name, or the names that are true of a mapping of names to true or false."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return checked_text(value, "category")
    if isinstance(value, dict) and all(flag in (True, False, None) for flag in value.values()):
        return ", ".join(sorted(name for name, flag in value.items() if flag)) or None
    raise RecordError(f"key 'category' is {quoted(value)}, neither a name nor a mapping of names to true or false")


# --- candidates -----------------------------------------------------------------------------------------------------


def to_candidates(row: Row, id: str, source: str) -> Candidates:
    """The candidates in ``row``; ``subset`` is their source. :class:`RecordError` if something is missing or wrong."""
    subset = row.get("subset")
    return Candidates(
        prompt=prompt_of(row),
        right=_responses(row, "chosen"),
        wrong=_responses(row, "rejected"),
        id=id,
        source=subset if isinstance(subset, str) and subset else source,
    )


def _responses(row: Row, key: str) -> tuple[Conversation, ...]:
    if row.get(key) is None:
        raise missing(row, key)
    if not lists_responses(row[key]):
        raise RecordError(f"key {key!r} is {quoted(row[key])}, not a list of responses (texts, or lists of messages)")
    return tuple(to_conversation(value, key, role="assistant") for value in row[key])


# --- columns --------------------------------------------------------------------------------------------------------


def _conversation(row: Row, key: str, role: Literal["user", "assistant"]) -> Conversation:
    if key not in row:
        raise missing(row, key)
    return to_conversation(row[key], key, role=role)


def _choice(row: Row, key: str, choices: Collection[str]) -> Any:
    if key not in row and "annotations" in row:
        raise RecordError(f"key {key!r} is missing; merge the single votes in 'annotations' into one verdict")
    if row.get(key) is None:
        raise missing(row, key)
    if row[key] not in choices:
        raise RecordError(f"key {key!r} is {quoted(row[key])}, none of {', '.join(choices)}")
    return row[key]
