"""One row becomes one record; the row's columns say which layout it is in.

==============  =======================================================================================
comparison      ``prompt, response_a, response_b, label`` (a | b | tie) and ``strength``: our own layout
                ``prompt, chosen, rejected`` and ``margin`` or the scores of both: TRL
                ``chosen, rejected``, two conversations, the prompt being what both begin with: TRL, hh-rlhf
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

Further public layouts are brought into these by :mod:`reward_models.data.layouts`, other names of the prompt's column
by :mod:`reward_models.data.prompt_columns`. Everywhere a prompt or a response may be a list of messages, plain text
or an hh-rlhf transcript.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from typing import Any, Literal, cast

from reward_models.data.conversations import checked_text, digest, quoted, split_conversations, to_conversation
from reward_models.data.languages import language_code
from reward_models.data.layouts import completions, is_rated, to_ours, verdict_column
from reward_models.data.prompt_columns import (
    COLUMN_NAMES,
    EMPTY,
    WITH_REPLY,
    check_replies,
    columns_of,
    has_prompt,
    merged,
    missing,
    prompt_of,
    refuse_unreadable,
    used_columns,
    with_system,
)
from reward_models.data.records import (
    DOMAINS,
    Candidates,
    Comparison,
    Conversation,
    Domain,
    Pair,
    Prompt,
    Record,
    RecordError,
    RecordType,
    SafetyLabel,
)
from reward_models.data.scores import check_label, margin_of, number_of

OURS: tuple[str, ...] = (
    *("chosen", "rejected", "margin", "response_a", "response_b", "label", "strength"),
    *("response", "completion", "output", "is_safe", "category"),
    *("answer", "domain", "kind", "language", "id", "source", "subset"),
)
COLUMNS: tuple[str, ...] = (*COLUMN_NAMES, "system", *OURS, "score_chosen", "score_rejected")
# In columns that name a language: programming languages, as HelpSteer3 has them for code, and unknown ones.
NO_LANGUAGE = re.compile(
    r"python|javascript|typescript|java|c|c\+\+|c#|go|rust|ruby|php|swift|kotlin|scala|r|sql|bash|shell|powershell|html|css"
    r"|html/css|perl|lua|matlab|assembly|haskell|dart|julia|code|unknown|und|mixed|multilingual",
    re.IGNORECASE,
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
    verdict = verdict_column(row)
    if record_type == "comparison" and verdict != "label" and row.get("label") is None and row.get(verdict) is None:
        raise missing(row, verdict)
    row = to_ours(row)
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

    The names are ``chosen`` and ``rejected`` where one is preferred, else ``response_a`` and ``response_b``;
    ``completion_0``, … for UltraFeedback; and ``response`` where there is one, which may also be the last message of a
    ``messages`` or ``conversations`` column.

    Raises:
        RecordError: the row is in no known layout, or something in it is missing or wrong.
    """
    if several := completions(row):
        return prompt_of(row), {n: to_conversation(text, "completions", role="assistant") for n, text in several}
    row = to_ours(row)
    single = _reply_column(row)
    if _is_comparison(row):
        if single:
            raise RecordError(f"columns 'chosen' or 'response_a' and {single!r} both hold responses; drop one of them")
        pair = _to_pair(row, "", "")
        a, b = pair.response_a, pair.response_b
        if pair.label in ("a", "b"):
            return pair.prompt, {"chosen": a, "rejected": b} if pair.label == "a" else {"chosen": b, "rejected": a}
        return pair.prompt, {"response_a": a, "response_b": b}
    if single:
        whole, response = _single(row, single)
        return whole, {"response": response}
    key = next((name for name in WITH_REPLY if row.get(name) not in EMPTY), None)
    if key is None:
        raise RecordError(f"no response to score {columns_of(row)}; name it with columns, or rename it")
    refuse_unreadable(row)
    *prompt, last = with_system(row, to_conversation(row[key], key, role="user"))
    if not prompt or last.role != "assistant":
        raise RecordError(f"key {key!r} must hold a prompt and end with the assistant's message")
    return tuple(prompt), {"response": (last,)}


def infer_record_type(row: Row) -> RecordType:
    """The type of the record in ``row``, by its columns. :class:`RecordError` if they fit no layout."""
    ours = to_ours(row)
    if _lists_responses(ours.get("chosen")) or _lists_responses(ours.get("rejected")):
        return "candidates"
    if _is_comparison(ours) or is_rated(ours) or completions(ours):
        return "comparison"
    if ("response" in ours or "completion" in ours) and ("label" in ours or "is_safe" in ours):
        return "safety"
    if has_prompt(ours) or any(name in ours for name in COLUMN_NAMES):
        return "prompt"
    raise RecordError(f"no known layout {columns_of(row)}; name the record type, or rename columns")


def _is_comparison(row: Row) -> bool:
    return any(name in row for name in ("chosen", "rejected", "response_a", "response_b"))


def rename(row: Row, columns: Mapping[str, str]) -> dict[str, Any]:
    """``row`` with our names for the source's columns; ``columns`` maps ours to theirs.

    If it names the prompt's column, other columns that might hold the prompt are left out.
    """
    for ours, theirs in columns.items():
        if theirs not in row:
            raise RecordError(f"column {theirs!r}, to be read as {ours!r}, is missing {columns_of(row)}")
    renamed = {key: value for key, value in row.items() if key not in columns.values()}
    if "prompt" in columns:
        if columns["prompt"] == "instruction" and row.get("input") not in EMPTY:
            raise RecordError("'instruction' and 'input' are read together; do not name 'instruction' as prompt")
        renamed = {key: value for key, value in renamed.items() if key not in COLUMN_NAMES}
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


def _to_messages(conversation: Conversation) -> list[dict[str, Any]]:
    return [message.to_dict() for message in conversation]


# --- comparisons ----------------------------------------------------------------------------------------------------


def _to_comparison(row: Row, id: str, source: str) -> Comparison:
    if _lists_responses(row.get("chosen")):
        raise RecordError(
            "key 'chosen' is a list of responses: a best-of-N problem, to be read as record type 'candidates'"
        )
    if "response_a" in row or "response_b" in row:
        label, strength = _choice(row, "label", ("a", "b", "tie")), number_of(row, "strength")
        check_label(row, label)
        prompt, a, b = _two_responses(row, "response_a", "response_b")
        return Comparison(
            prompt=prompt,
            response_a=a,
            response_b=b,
            label=label,
            strength=None if label == "tie" and strength == 0 else strength,
            id=id,
            source=source,
        )
    prompt, chosen, rejected = _two_responses(row, "chosen", "rejected")
    margin = margin_of(row)
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
    if "response_a" in row and row.get("label") is None:
        prompt, a, b = _two_responses(row, "response_a", "response_b")
        return Pair(prompt=prompt, response_a=a, response_b=b, id=id, source=source)
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


def _two_responses(row: Row, first: str, second: str) -> tuple[Conversation, Conversation, Conversation]:
    """``(prompt, first response, second response)``, whether or not the row has a prompt of its own.

    Two whole conversations share the longest prompt that both begin with; a prompt column must agree with it. Two plain
    responses need a prompt column: what they begin with alike is never taken for the prompt.
    """
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
    check_replies(row, prompt, (one, other))
    return prompt, one, other


def _without(prompt: Conversation, response: Conversation, key: str) -> Conversation:
    """``response`` less the prompt, which some sources repeat at its beginning."""
    if response[: len(prompt)] == prompt:
        response = response[len(prompt) :]
    if response and response[0].role != "assistant":
        raise RecordError(f"key {key!r} begins with a {response[0].role} message that is not the prompt's")
    return response


def _reply_column(row: Row) -> str | None:
    """The column of a single response: ``output`` beside ``instruction`` is LLaMA-Factory's."""
    names = ("response", "completion", *(["output"] if "instruction" in row else []))
    return next((name for name in names if name in row), None)


def _single(row: Row, key: str) -> tuple[Conversation, Conversation]:
    prompt = prompt_of(row)
    response = _without(prompt, _conversation(row, key, "assistant"), key)
    check_replies(row, prompt, (response,))
    return prompt, response


# --- safety labels --------------------------------------------------------------------------------------------------


def _to_safety_label(row: Row, id: str, source: str) -> SafetyLabel:
    if not has_prompt(row) and not any(name in row for name in COLUMN_NAMES):
        raise missing(row, "prompt")
    prompt, response = _single(row, "completion" if "completion" in row else "response")
    return SafetyLabel(
        prompt=prompt,
        response=response,
        label=_safety_verdict(row, "is_safe" if "is_safe" in row else "label"),
        category=_category(row.get("category")),
        id=id,
        source=source,
    )


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


def _to_candidates(row: Row, id: str, source: str) -> Candidates:
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
    if not _lists_responses(row[key]):
        raise RecordError(f"key {key!r} is {quoted(row[key])}, not a list of responses (texts, or lists of messages)")
    return tuple(to_conversation(value, key, role="assistant") for value in row[key])


def _lists_responses(value: object) -> bool:
    """True if ``value`` is a list of whole responses, and not the messages of one."""
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], str | list | tuple)


# --- prompts --------------------------------------------------------------------------------------------------------


def _to_prompt(row: Row, domain: str | None, id: str, source: str) -> Prompt:
    answer = _answer(row)
    if has_prompt(row) or not _is_comparison(row):
        prompt, used = prompt_of(row), used_columns(row)
    else:
        columns = ("chosen", "rejected") if "chosen" in row else ("response_a", "response_b")
        prompt, used = _two_responses(row, *columns)[0], set()
    return Prompt(
        prompt=prompt,
        domain=_domain(row, domain, answer),
        answer=answer,
        language=_language(row.get("language")),
        columns={name: v for name, v in row.items() if name not in used and (name not in OURS or _foreign(name, v))},
        id=id,
        source=source,
    )


def _language(value: object) -> str | None:
    """The language's code, whichever way it is named; ``None`` if it is missing or no language of people's."""
    if value is None or value == "" or (isinstance(value, str) and NO_LANGUAGE.fullmatch(value.strip())):
        return None
    return language_code(value)


def _foreign(name: str, value: object) -> bool:
    """True if a column ``domain`` or ``kind`` holds a value of the data set's own."""
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
    if answer is None and row.get("tests") in EMPTY:
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
