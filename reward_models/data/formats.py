"""One raw row becomes one record; the row's columns say which layout it is in.

==============  =======================================================================================
comparison      ``prompt, response_a, response_b, label`` (a | b | tie) and ``strength``: our own layout
                ``context, response1, response2, overall_preference`` (below 0: response1 is better): HelpSteer3
                ``prompt, chosen, rejected`` and ``margin`` or ``score_chosen, score_rejected``: TRL
                ``chosen, rejected``, the prompt being what both begin with: TRL, hh-rlhf
pair            any comparison above; the verdict may be missing. Never inferred: name this type
safety          ``prompt, response, label`` (safe | unsafe) and ``category``: our own layout
                ``prompt, completion, label`` (true: safe): TRL's unpaired preference
                ``prompt, response, is_safe, category``: BeaverTails
prompt          ``prompt`` and ``answer``, ``domain``, ``language``: our own layout, TRL's prompt-only; other columns
                are kept for reward terms
                ``question, answer`` (after ``####``): gsm8k
                any comparison above, read for its prompt
candidates      ``prompt, chosen, rejected`` (both *lists of responses*) and ``subset``: RewardBench 2
==============  =======================================================================================

Everywhere a prompt or a response may be a list of messages, plain text or an hh-rlhf transcript.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Collection, Mapping
from typing import Any, Literal, cast

from reward_models.data.conversations import (
    checked_text,
    digest,
    is_transcript,
    quoted,
    split_conversations,
    split_texts,
    to_conversation,
)
from reward_models.data.records import (
    DOMAINS,
    Candidates,
    Comparison,
    Conversation,
    Domain,
    Message,
    Pair,
    Prompt,
    Record,
    RecordError,
    RecordType,
    SafetyLabel,
)

COLUMNS: tuple[str, ...] = (
    *("prompt", "context", "question", "chosen", "rejected", "margin", "score_chosen", "score_rejected"),
    *("response_a", "response_b", "strength", "response1", "response2", "overall_preference"),
    *(
        "messages",
        "response",
        "completion",
        "label",
        "is_safe",
        "category",
        "answer",
        "domain",
        "kind",
        "language",
        "id",
        "source",
        "subset",
    ),
)

Row = Mapping[str, Any]


def to_record(
    row: Row, record_type: RecordType | None = None, *, domain: str | None = None, id: str = "", source: str = ""
) -> Record:
    """The record in ``row``.

    Args:
        record_type: the record wanted; ``None`` takes what the columns look like.
        domain: of a prompt whose row names none. Without it a prompt with an answer is
            ``reasoning`` and one without is refused.
        id, source: used where the row has no such column.

    Raises:
        RecordError: the row is in no known layout, or something in it is missing or wrong.
    """
    id = str(row["id"]) if isinstance(row.get("id"), str | int) else id
    source = row["source"] if isinstance(row.get("source"), str) and row["source"] else source
    record_type = record_type or infer_record_type(row)
    if record_type == "comparison":
        return _to_comparison(row, id, source)
    if record_type == "pair":
        return _to_pair(row, id, source)
    if record_type == "safety":
        return _to_safety_label(row, id, source)
    if record_type == "candidates":
        return _to_candidates(row, id, source)
    return _to_prompt(row, domain, id, source)


def to_responses(row: Row) -> tuple[Conversation, dict[str, Conversation]]:
    """A row's prompt and its responses by name, for scoring them: labels are not needed.

    The names are ``chosen`` and ``rejected`` where one is preferred, else ``response_a`` and ``response_b``, and
    ``response`` where there is one, which may also be the last message of a ``messages`` column.

    Raises:
        RecordError: the row is in no known layout, or something in it is missing or wrong.
    """
    if "messages" in row:
        *prompt, last = _conversation(row, "messages", "user") or (None,)
        if not prompt or last is None or last.role != "assistant":
            raise RecordError("key 'messages' must hold a prompt and end with the assistant's message")
        return tuple(prompt), {"response": (last,)}
    key = next((k for k in ("response", "completion") if k in row), None)
    if key is not None:
        return _prompt_of(row), {"response": _conversation(row, key, "assistant")}
    if infer_record_type(row) != "comparison":
        raise RecordError(f"no response to score {_columns_of(row)}; name it with columns, or rename it")
    pair = _to_pair(row, "", "")
    a, b = pair.response_a, pair.response_b
    if pair.label in ("a", "b"):
        return pair.prompt, {"chosen": a, "rejected": b} if pair.label == "a" else {"chosen": b, "rejected": a}
    return pair.prompt, {"response_a": a, "response_b": b}


def infer_record_type(row: Row) -> RecordType:
    """What ``row`` holds, by its columns. :class:`RecordError` if they fit no layout."""
    if _lists_responses(row.get("chosen")) or _lists_responses(row.get("rejected")):
        return "candidates"
    if "chosen" in row or "rejected" in row or "response_a" in row or "response1" in row:
        return "comparison"
    if ("response" in row or "completion" in row) and ("label" in row or "is_safe" in row):
        return "safety"
    if "prompt" in row or "context" in row or "question" in row:
        return "prompt"
    raise RecordError(f"no known layout {_columns_of(row)}; name the record type, or rename columns")


def rename(row: Row, columns: Mapping[str, str]) -> dict[str, Any]:
    """``row`` with our names for the source's columns; ``columns`` maps ours to theirs."""
    for ours, theirs in columns.items():
        if theirs not in row:
            raise RecordError(f"column {theirs!r}, to be read as {ours!r}, is missing {_columns_of(row)}")
    renamed = {key: value for key, value in row.items() if key not in columns.values()}
    return renamed | {ours: row[theirs] for ours, theirs in columns.items()}


def to_row(record: Record) -> dict[str, Any]:
    """``record`` in our own layout: what :func:`to_record` reads back to an equal record."""
    row: dict[str, Any] = {"id": record.id, "prompt": _to_messages(record.prompt)}
    if isinstance(record, Comparison):
        row |= {"response_a": _to_messages(record.response_a), "response_b": _to_messages(record.response_b)}
        row |= {"label": record.label, "strength": record.strength}
    elif isinstance(record, Pair):
        row |= {"response_a": _to_messages(record.response_a), "response_b": _to_messages(record.response_b)}
        row |= {"label": record.label}
    elif isinstance(record, SafetyLabel):
        row |= {"response": _to_messages(record.response), "label": record.label, "category": record.category}
    elif isinstance(record, Candidates):
        row |= {"chosen": [_to_messages(r) for r in record.right], "rejected": [_to_messages(r) for r in record.wrong]}
    else:
        row |= {**record.columns, "domain": record.domain, "answer": record.answer, "language": record.language}
    row["source"] = record.source
    return {key: value for key, value in row.items() if value is not None}


def _to_messages(conversation: Conversation) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in conversation]


# --- comparisons ----------------------------------------------------------------------------------------------------


def _to_comparison(row: Row, id: str, source: str) -> Comparison:
    if _lists_responses(row.get("chosen")):
        raise RecordError(
            "key 'chosen' is a list of responses: a best-of-N problem, to be read as record type 'candidates'"
        )
    if "response_a" in row or "response_b" in row:
        label, strength = _choice(row, "label", ("a", "b", "tie")), _number(row, "strength")
        return Comparison(
            prompt=_prompt_of(row),
            response_a=_conversation(row, "response_a", "assistant"),
            response_b=_conversation(row, "response_b", "assistant"),
            label=label,
            strength=None if label == "tie" and strength == 0 else strength,
            id=id,
            source=source,
        )
    if "response1" in row or "response2" in row:
        preference = _number(row, "overall_preference")
        if preference is None:
            raise _missing(row, "overall_preference")
        return Comparison(
            prompt=_prompt_of(row),
            response_a=_conversation(row, "response1", "assistant"),
            response_b=_conversation(row, "response2", "assistant"),
            label="a" if preference < 0 else "b" if preference > 0 else "tie",
            strength=abs(preference) or None,
            id=id,
            source=source,
        )
    prompt, chosen, rejected = _chosen_and_rejected(row)
    margin = _margin(row)
    chosen_is_a = _comes_first(digest(prompt + chosen), digest(prompt + rejected))
    return Comparison(
        prompt=prompt,
        response_a=chosen if chosen_is_a else rejected,
        response_b=rejected if chosen_is_a else chosen,
        label="tie" if margin == 0 else "a" if chosen_is_a else "b",
        strength=margin or None,
        id=id,
        source=source,
    )


def _to_pair(row: Row, id: str, source: str) -> Pair:
    for a, b, said in (("response_a", "response_b", "label"), ("response1", "response2", "overall_preference")):
        if a in row and row.get(said) is None:
            return Pair(
                prompt=_prompt_of(row),
                response_a=_conversation(row, a, "assistant"),
                response_b=_conversation(row, b, "assistant"),
                id=id,
                source=source,
            )
    judged = _to_comparison(row, id, source)
    return Pair(
        prompt=judged.prompt,
        response_a=judged.response_a,
        response_b=judged.response_b,
        label=judged.label,
        id=id,
        source=source,
    )


def _comes_first(one: bytes, other: bytes) -> bool:
    """A coin tossed by the pair's contents, so that the position carries nothing of the verdict.

    ``_comes_first(x, y) == (not _comes_first(y, x))``: swapping chosen and rejected in the source changes the label and
    leaves both responses where they are. A plain order would seat a response that is compared often always alike.
    """
    coin = hashlib.sha256(min(one, other) + max(one, other)).digest()[0] % 2
    return (one <= other) == bool(coin)


def _chosen_and_rejected(row: Row) -> tuple[Conversation, Conversation, Conversation]:
    """``(prompt, chosen response, rejected response)``, whether or not the row has a prompt of its own."""
    chosen = _conversation(row, "chosen", "assistant")
    rejected = _conversation(row, "rejected", "assistant")
    if "prompt" in row or "context" in row:
        prompt = _prompt_of(row)
        return prompt, _without(prompt, chosen, "chosen"), _without(prompt, rejected, "rejected")
    if all(isinstance(row[key], str) and not is_transcript(row[key]) for key in ("chosen", "rejected")):
        text, chosen_text, rejected_text = split_texts(row["chosen"], row["rejected"])
        return (Message("user", text),), (Message("assistant", chosen_text),), (Message("assistant", rejected_text),)
    return split_conversations(chosen, rejected)


def _without(prompt: Conversation, response: Conversation, key: str) -> Conversation:
    """``response`` less the prompt, which some sources repeat at its beginning."""
    if response[: len(prompt)] == prompt:
        response = response[len(prompt) :]
    if response and response[0].role != "assistant":
        raise RecordError(f"key {key!r} begins with a {response[0].role} message that is not the prompt's")
    return response


def _margin(row: Row) -> float | None:
    """How much better chosen is: ``margin``, else the gap of the scores. 0 says that neither is better."""
    margin, chosen, rejected = (_number(row, key) for key in ("margin", "score_chosen", "score_rejected"))
    name = "margin"
    if margin is None and chosen is not None and rejected is not None:
        margin, name = chosen - rejected, "score_chosen - score_rejected"
    if margin is not None and margin < 0:
        raise RecordError(f"{name} is {margin:g}, so the rejected response is the better one; swap them or drop it")
    return margin


# --- safety labels --------------------------------------------------------------------------------------------------


def _to_safety_label(row: Row, id: str, source: str) -> SafetyLabel:
    return SafetyLabel(
        prompt=_prompt_of(row),
        response=_conversation(row, "completion" if "completion" in row else "response", "assistant"),
        label=_safety_verdict(row, "is_safe" if "is_safe" in row else "label"),
        category=_category(row.get("category")),
        id=id,
        source=source,
    )


def _safety_verdict(row: Row, key: str) -> Literal["safe", "unsafe"]:
    if row.get(key) is None:
        raise _missing(row, key)
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


def _to_candidates(row: Row, id: str, source: str) -> Candidates:
    subset = row.get("subset")
    return Candidates(
        prompt=_prompt_of(row),
        right=_responses(row, "chosen"),
        wrong=_responses(row, "rejected"),
        id=id,
        source=subset if isinstance(subset, str) and subset else source,
    )


def _responses(row: Row, key: str) -> tuple[Conversation, ...]:
    if row.get(key) is None:
        raise _missing(row, key)
    if not _lists_responses(row[key]):
        raise RecordError(f"key {key!r} is {quoted(row[key])}, not a list of responses (texts, or lists of messages)")
    return tuple(to_conversation(value, key, role="assistant") for value in row[key])


def _lists_responses(value: object) -> bool:
    """Whether ``value`` is a list of whole responses, and not the messages of one."""
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], str | list | tuple)


# --- prompts --------------------------------------------------------------------------------------------------------


def _to_prompt(row: Row, domain: str | None, id: str, source: str) -> Prompt:
    answer = _answer(row)
    language = row.get("language")
    return Prompt(
        prompt=_prompt_of(row),
        domain=_domain(row, domain, answer),
        answer=answer,
        # A language given by name is one we do not know: the field is a two-letter code.
        language=language if isinstance(language, str) and re.fullmatch("[a-z]{2}", language) else None,
        columns={name: value for name, value in row.items() if name not in COLUMNS or _foreign(name, value)},
        id=id,
        source=source,
    )


def _foreign(name: str, value: object) -> bool:
    """Whether a column ``domain`` or ``kind`` holds something of the data set's own."""
    return name in ("domain", "kind") and value is not None and value not in DOMAINS


def _domain(row: Row, given: str | None, answer: str | None) -> Domain:
    """The row's own domain, in the column ``domain`` or ``kind``; else ``given``; else reasoning if it has an answer.

    Data sets use both names for subjects and types of their own: then only ``given`` tells the domain.
    """
    own = {name: row[name] for name in ("domain", "kind") if row.get(name) is not None}
    for value in (*own.values(), given):
        if value in DOMAINS:
            return cast(Domain, value)
    if own:
        name, value = next(iter(own.items()))
        raise RecordError(
            f"key {name!r} is {quoted(value)}, none of {', '.join(DOMAINS)}; name the domain of this data"
        )
    if answer is None:
        raise RecordError(f"nothing says the prompt's domain; add a 'domain' column or name it: {', '.join(DOMAINS)}")
    return "reasoning"


def _answer(row: Row) -> str | None:
    value = row.get("answer")
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = json.dumps(value)
    answer = checked_text(value, "answer").strip()
    if "question" not in row:
        return answer
    _, mark, final = answer.rpartition("####")
    if not mark and "\n" in answer:
        raise RecordError("key 'answer' is a worked solution without '#### answer'; put the final answer there alone")
    return re.sub(r"(?<=\d),(?=\d{3})", "", final.strip()) if mark else answer


# --- columns --------------------------------------------------------------------------------------------------------


def _prompt_of(row: Row) -> Conversation:
    for key in ("prompt", "context", "question"):
        if key in row:
            return _conversation(row, key, "user")
    if "chosen" in row and "rejected" in row:
        return _chosen_and_rejected(row)[0]
    raise _missing(row, "prompt")


def _conversation(row: Row, key: str, role: Literal["user", "assistant"]) -> Conversation:
    if key not in row:
        raise _missing(row, key)
    return to_conversation(row[key], key, role=role)


def _choice(row: Row, key: str, choices: Collection[str]) -> Any:
    if key not in row and "annotations" in row:
        raise RecordError(f"key {key!r} is missing; merge the single votes in 'annotations' into one verdict")
    if row.get(key) is None:
        raise _missing(row, key)
    if row[key] not in choices:
        raise RecordError(f"key {key!r} is {quoted(row[key])}, none of {', '.join(choices)}")
    return row[key]


def _number(row: Row, key: str) -> float | None:
    """A finite number or its spelling (in CSV all is text); ``None`` where there is none."""
    value = row.get(key)
    if value is None or value == "":
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise RecordError(f"key {key!r} is {quoted(value)}, not a finite number; correct it, or drop the key")
    return number


def _missing(row: Row, key: str) -> RecordError:
    if key in row:
        return RecordError(f"key {key!r} is null; fill it in or leave the row out")
    return RecordError(f"key {key!r} is missing {_columns_of(row)}; add it, or rename the column that holds it")


def _columns_of(row: Row) -> str:
    names = ", ".join(str(name) for name in row)
    return f"(columns: {names[:80] + '…' if len(names) > 80 else names or 'none'})"
