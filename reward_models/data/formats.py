"""One row becomes one record; the row's columns say which layout it is in.

==============  =======================================================================================
comparison      ``prompt, response_a, response_b, label`` (a | b | tie), ``strength`` and ``weight``: our own layout
                ``prompt, chosen, rejected`` and ``margin`` or the scores of both: TRL
                ``chosen, rejected``, two conversations, the prompt being what both begin with: TRL, hh-rlhf
pair            any comparison above; the verdict may be missing. Never inferred: name this type
safety          ``prompt, response, label`` (safe | unsafe) and ``category``: our own layout
                ``prompt, completion, label`` (true: safe): TRL's unpaired preference
                ``prompt, response, is_safe, category``: BeaverTails
rated           ``prompt, response`` and one or more of ``helpfulness, correctness, coherence, complexity, verbosity``:
                HelpSteer2. Never inferred: name this type
prompt          ``prompt`` and ``answer``, ``domain``, ``language``: our own layout, TRL's prompt-only; other columns
                are kept for reward terms
                ``question, answer`` (after ``####``): gsm8k
                any comparison above, read for its prompt
demonstration   ``prompt, response`` (``completion``, ``output``), or ``messages`` that end with the assistant's, or a
                problem with a worked ``solution`` and an ``answer``. Never inferred: name this type
candidates      ``prompt, chosen, rejected`` (both *lists of responses*) and ``subset``: RewardBench 2
==============  =======================================================================================

Rows with responses are read by :mod:`reward_models.data.responses`. Further public layouts are converted into these by
:mod:`reward_models.data.layouts`, other names of the prompt's column by :mod:`reward_models.data.prompt_columns`.
Everywhere a prompt or a response may be a list of messages, plain text or an hh-rlhf transcript.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast

from reward_models.data.conversations import checked_text, quoted, to_conversation
from reward_models.data.languages import language_code
from reward_models.data.later_layouts import boxed_answer, refuse_known
from reward_models.data.layouts import completions, is_rated, to_ours, verdict_column
from reward_models.data.prompt_columns import (
    COLUMN_NAMES,
    EMPTY,
    WITH_REPLY,
    columns_of,
    fitting_type,
    has_prompt,
    missing,
    prompt_of,
    refuse_thoughts,
    refuse_unreadable,
    used_columns,
    with_system,
)
from reward_models.data.records import (
    ATTRIBUTES,
    DOMAINS,
    Candidates,
    Comparison,
    Conversation,
    Demonstration,
    Domain,
    Message,
    Pair,
    Prompt,
    Rated,
    Record,
    RecordError,
    RecordType,
    SafetyLabel,
)
from reward_models.data.responses import (
    is_comparison,
    lists_responses,
    prompt_and_response,
    reply_column,
    to_candidates,
    to_comparison,
    to_pair,
    to_rated,
    to_safety_label,
    two_responses,
)

OURS: tuple[str, ...] = (
    *("chosen", "rejected", "margin", "response_a", "response_b", "label", "strength", "weight"),
    *("response", "completion", "output", "is_safe", "category"),
    *("answer", "domain", "kind", "language", "id", "source", "subset"),
)
COLUMNS: tuple[str, ...] = (*COLUMN_NAMES, "system", *OURS, "score_chosen", "score_rejected")
# Columns by which a response can be verified without a reference answer.
VERIFIABLE = ("tests", "instructions", "reasoning_gym")
# In columns that name a language: programming languages, as HelpSteer3 has them for code, and unknown ones.
NO_LANGUAGE = re.compile(
    r"python|javascript|typescript|java|c|c\+\+|c#|go|rust|ruby|php|swift|kotlin|scala|r|sql|bash|shell|powershell|html|css"
    r"|html/css|perl|lua|matlab|assembly|haskell|dart|julia|code|unknown|und|mixed|multilingual",
    re.IGNORECASE,
)

# Names of columns that hold responses, in whatever layout.
RESPONSE = re.compile(
    r"response|completion|chosen|rejected|^(?:outputs?(?:_\w+)?|answers|answer_\d|generations?|repl(?:y|ies))$"
)

_CALCULATION = re.compile(r"<<[^<>]*>>")  # GSM8K's notes for a calculator

Row = Mapping[str, Any]

_NAMING = f"--domain or prompts.domain: {', '.join(DOMAINS)}"


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
    refuse_known(row)
    record_type = record_type or infer_record_type(row)
    if record_type == "demonstration":
        prompt, response = to_demonstration(row)
        return Demonstration(prompt=prompt, response=response, id=id, source=source)
    verdict = verdict_column(row)
    if record_type == "comparison" and verdict != "label" and row.get("label") is None and row.get(verdict) is None:
        raise missing(row, verdict)
    row = to_ours(row)
    if record_type == "comparison":
        return to_comparison(row, id, source)
    if record_type == "pair":
        return to_pair(row, id, source)
    if record_type == "safety":
        return to_safety_label(row, id, source)
    if record_type == "rated":
        return to_rated(row, id, source)
    if record_type == "candidates":
        return to_candidates(row, id, source)
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
    single = reply_column(row)
    if is_comparison(row):
        if single:
            raise RecordError(f"columns 'chosen' or 'response_a' and {single!r} both hold responses; drop one of them")
        pair = to_pair(row, "", "")
        a, b = pair.response_a, pair.response_b
        if pair.label in ("a", "b"):
            return pair.prompt, {"chosen": a, "rejected": b} if pair.label == "a" else {"chosen": b, "rejected": a}
        return pair.prompt, {"response_a": a, "response_b": b}
    if single:
        whole, response = prompt_and_response(row, single)
        return whole, {"response": response}
    key = next((name for name in WITH_REPLY if row.get(name) not in EMPTY), None)
    if key is None:
        raise RecordError(f"no response to score {columns_of(row)}; name it with columns, or rename it")
    refuse_unreadable(row)
    *prompt, last = with_system(row, to_conversation(row[key], key, role="user"))
    if not prompt or last.role != "assistant":
        raise RecordError(f"key {key!r} must hold a prompt and end with the assistant's message")
    return tuple(prompt), {"response": (last,)}


def to_demonstration(row: Row) -> tuple[Conversation, Conversation]:
    """The prompt and the assistant's reply to learn from: that of a row, or a worked solution with its answer.

    Raises:
        RecordError: there is none, there are several, or something in it is wrong.
    """
    if row.keys() & {"chosen", "rejected", "response_a", "response_b"}:
        raise RecordError("a comparison is no demonstration; to learn from its better response, name it 'response'")
    if row.keys() & {"messages", "conversations", "conversation", "response", "completion", "output"}:
        prompt, responses = to_responses(row)
        if "response" not in responses:
            raise RecordError("the row holds several responses; name the one to learn from 'response'")
        refuse_thoughts(row, "response")
        return prompt, responses["response"]
    record = to_record(row, "prompt", domain="reasoning")
    assert isinstance(record, Prompt)
    worked = row.get("solution") or (row["answer"] if "question" in row and "####" in str(row.get("answer")) else None)
    if not isinstance(worked, str) or record.answer is None:
        raise RecordError("no reply: add 'messages', 'response' or 'completion', or a 'solution' and an 'answer'")
    thoughts = _CALCULATION.sub("", worked.partition("####")[0]).strip()
    return record.prompt, (Message("assistant", f"<think>{thoughts}</think><answer>{record.answer}</answer>"),)


def infer_record_type(row: Row) -> RecordType:
    """The type of the record in ``row``, by its columns. :class:`RecordError` if they fit no layout."""
    ours = to_ours(row)
    if lists_responses(ours.get("chosen")) or lists_responses(ours.get("rejected")):
        return "candidates"
    if is_comparison(ours) or is_rated(ours) or completions(ours):
        return "comparison"
    if ("response" in ours or "completion" in ours) and ("label" in ours or "is_safe" in ours):
        return "safety"
    prompt = has_prompt(ours) or any(name in ours for name in COLUMN_NAMES)
    if prompt and (_says_prompt(ours) or not any(RESPONSE.search(name) for name in ours)):
        return "prompt"
    raise RecordError(
        f"no known layout {columns_of(row)}; name the columns with --column OURS=THEIRS, and if need be the type with "
        "--type comparison|safety|prompt|demonstration"
    )


def _says_prompt(row: Row) -> bool:
    """True if a column that only prompts have is there."""
    return any(row.get(name) not in EMPTY for name in ("answer", *VERIFIABLE, "domain", "kind", "solution"))


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
        renamed = {key: value for key, value in renamed.items() if key not in (*COLUMN_NAMES, "input", "history")}
    return renamed | {ours: row[theirs] for ours, theirs in columns.items()}


def to_row(record: Record) -> dict[str, Any]:
    """``record`` in our own layout: what :func:`to_record` reads back to an equal record."""
    row: dict[str, Any] = {"id": record.id, "prompt": _to_messages(record.prompt)}
    if isinstance(record, Comparison):
        row |= {"response_a": _to_messages(record.response_a), "response_b": _to_messages(record.response_b)}
        row |= {"label": record.label, "strength": record.strength}
        row |= {"weight": record.weight} if record.weight != 1 else {}
    elif isinstance(record, Pair):
        row |= {"response_a": _to_messages(record.response_a), "response_b": _to_messages(record.response_b)}
        row |= {"label": record.label}
    elif isinstance(record, Rated):
        row |= {"response": _to_messages(record.response), **dict(zip(ATTRIBUTES, record.ratings, strict=True))}
    elif isinstance(record, Demonstration):
        row |= {"response": _to_messages(record.response)}
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


# --- prompts --------------------------------------------------------------------------------------------------------


def _to_prompt(row: Row, domain: str | None, id: str, source: str) -> Prompt:
    answer = _answer(row)
    if has_prompt(row) or not is_comparison(row):
        prompt, used = prompt_of(row), used_columns(row)
    else:
        columns = ("chosen", "rejected") if "chosen" in row else ("response_a", "response_b")
        prompt, used = two_responses(row, *columns)[0], set()
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
            f"key {name!r} is {quoted(value)}, none of {', '.join(DOMAINS)}; name the domain of this data ({_NAMING})"
        )
    if answer is None and all(row.get(name) in EMPTY for name in VERIFIABLE):
        raise RecordError(
            f"nothing says the prompt's domain; add a column 'domain', or name it ({_NAMING}){fitting_type(row)}"
        )
    return "reasoning"


def _answer(row: Row) -> str | None:
    value = row.get("answer")
    if value is None and isinstance(row.get("solution"), str) and "problem" in row and row.get("tests") in EMPTY:
        return boxed_answer(row["solution"])
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not abs(value) < float("inf"):  # pandas writes nan where a cell is empty
            raise RecordError(f"key 'answer' is {value}, not a finite number; fill it in or leave the row out")
        value = json.dumps(value)
    if row.get("verifier") == "json" and not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False)
    answer = checked_text(value, "answer").strip()
    if answer.lower() == "nan":
        raise RecordError("key 'answer' is 'nan', as pandas writes an empty cell; fill it in or leave the row out")
    if "question" not in row:
        return answer
    _, mark, final = answer.rpartition("####")
    if not mark and "\n" in answer:
        raise RecordError("key 'answer' is a worked solution without '#### answer'; put the final answer there alone")
    return re.sub(r"(?<=\d),(?=\d{3})", "", final.strip()) if mark else answer
