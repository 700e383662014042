"""The prompt of a row, whichever column holds it, with the system message and the earlier turns of other columns.

Nothing is guessed: if two columns may hold the prompt and differ, the row is refused. A row with a column that changes
what the model should read and cannot be rendered here (tools, images) is refused too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reward_models.data.conversations import checked_text, to_conversation
from reward_models.data.records import Conversation, Message, RecordError

Row = Mapping[str, Any]

# The names that data sets give to the prompt: a text, or messages. Those of WITH_REPLY may end with a reply.
COLUMN_NAMES: tuple[str, ...] = (
    *("prompt", "question", "instruction", "query", "problem", "context", "question_content"),
    *("messages", "conversations", "conversation"),
)
WITH_REPLY = ("messages", "conversations", "conversation")
SYSTEM = ("system", "system_prompt", "system_message", "system_instruction")
UNREADABLE = ("tools", "functions", "image", "images", "video", "videos", "audio", "audios")
# Texts that a question beside them may be about.
ABOUT = ("passage", "passages", "document", "documents", "article", "paragraph", "knowledge", "background")
EMPTY: tuple[Any, ...] = (None, "", [], (), {})
# The beginning of the responses in columns of its own.
BEGINNINGS = ("initial_reason_steps", "prefill", "response_prefix", "assistant_prefix")
# Thoughts of the responses in columns of their own.
THOUGHTS = ("reasoning_content", "thinking", "thoughts", "cot", "chain_of_thought", "Complex_CoT", "reasoning")


def prompt_of(row: Row) -> Conversation:
    """The prompt in the row's columns.

    ``instruction`` takes the text of ``input`` along, as LLaMA-Factory joins them, and ``history`` its earlier turns. A
    column of :data:`SYSTEM` becomes the first message. If ``messages`` or ``conversations`` ends with the
    assistant's message, that is a reply and no part of the prompt.

    Raises:
        RecordError: no column holds a prompt, several do and differ, or a column would be lost.
    """
    refuse_unreadable(row)
    names = [name for name in COLUMN_NAMES if row.get(name) not in EMPTY]
    if not names:
        raise missing(row, next((name for name in COLUMN_NAMES if name in row), "prompt"))
    found = {name: _one(row, name) for name in names}
    prompt = found[names[0]]
    for name, other in found.items():
        if not _same(prompt, other):
            raise RecordError(
                f"columns {names[0]!r} and {name!r} may both hold the prompt, and they differ; rename or drop one"
            )
        prompt = max(prompt, other, key=len)
    return with_system(row, prompt)


def has_prompt(row: Row) -> bool:
    """True if some column may hold a prompt."""
    return any(row.get(name) not in EMPTY for name in COLUMN_NAMES)


def used_columns(row: Row) -> set[str]:
    """The columns that :func:`prompt_of` reads."""
    used = {name for name in COLUMN_NAMES if name in row} | {name for name in SYSTEM if name in row}
    return used | ({"input", "history"} if "instruction" in row else set())


def with_system(row: Row, conversation: Conversation) -> Conversation:
    """``conversation`` with the system message of the row's own column in front."""
    for name in SYSTEM:
        if row.get(name) in EMPTY:
            continue
        text = checked_text(row[name], name)
        if not text.strip():
            continue
        if not conversation or conversation[0].role != "system":
            conversation = (Message("system", text), *conversation)
        elif conversation[0].content.strip() != text.strip():
            raise RecordError(f"key {name!r} differs from the system message in the conversation; keep the right one")
    return conversation


def merged(shared: Conversation, given: Conversation, row: Row) -> Conversation:
    """The prompt that two conversations share, checked against the row's prompt columns; a system message is added.

    Raises:
        RecordError: ``given`` is neither the beginning nor the end of ``shared``, or the system messages differ.
    """
    system = next((m for m in given[:1] if m.role == "system"), None)
    if system is not None and shared[0].role != "system":
        shared = (system, *shared)
    shared = with_system(row, shared)
    if system is not None and shared[0].content.strip() != system.content.strip():
        raise RecordError("the prompt and the conversations have different system messages; keep the right one")
    turns = [tuple(m for m in each if m.role != "system") for each in (given, shared)]
    if given and (len(turns[0]) > len(turns[1]) or not _same(*turns)):
        raise RecordError("the prompt column is no part of what both conversations begin with; drop it")
    return shared


def check_replies(row: Row, prompt: Conversation, responses: tuple[Conversation, ...]) -> None:
    """:class:`RecordError` if ``messages`` or ``conversations`` ends with a reply that is none of ``responses``."""
    for name in WITH_REPLY:
        if row.get(name) in EMPTY:
            continue
        conversation = to_conversation(row[name], name, role="user")
        if conversation and conversation[-1].role == "assistant":
            ends = [(*prompt, *response)[-len(conversation) :] for response in responses]
            if conversation not in ends and with_system(row, conversation) not in [(*prompt, *r) for r in responses]:
                raise RecordError(f"key {name!r} ends with a reply that no other column has; drop one of them")


def refuse_unreadable(row: Row) -> None:
    """:class:`RecordError` if a column changes what the model should read or learn, and is not read here."""
    for name in UNREADABLE:
        if row.get(name) not in (*EMPTY, "[]", "{}", "null"):  # as CSV cells have them
            raise RecordError(
                f"key {name!r} is not read: models here are given messages of text; write what it says into the system "
                "message, or drop the column"
            )
    for name in ABOUT:
        if row.get(name) not in (*EMPTY, "[]", "{}", "null"):
            raise RecordError(
                f"key {name!r} is not read, and the prompt may be about it; join it with the prompt, or rename or drop "
                "the column"
            )
    for name in BEGINNINGS:
        if row.get(name) not in EMPTY:
            raise RecordError(
                f"key {name!r} is not read, and the responses go on from it; write it in front of each of them, or "
                "drop the column"
            )
    beside = next((name for name in ("input", "history") if row.get(name) not in EMPTY), None)
    if beside is not None and "instruction" not in row:
        raise RecordError(
            f"key {beside!r} is read only beside 'instruction', and would be lost; join it with the prompt, rename the "
            "prompt's column to 'instruction', or drop the column"
        )
    weight = row.get("weight")
    if weight not in (None, "", 1, 1.0, "1", "1.0"):
        raise RecordError("key 'weight' is read of comparisons alone, other rows count alike; drop it, or repeat rows")


def refuse_thoughts(row: Row, *responses: str) -> None:
    """:class:`RecordError` if the thoughts of responses stand in columns of their own: they would be lost.

    Args:
        responses: the responses' columns. Beside two of them a column ``reasoning`` may be the judge's; only those
            named after a response count.
    """
    of_each = [f"{response}_{name}" for response in responses for name in THOUGHTS]
    for name in of_each if len(responses) > 1 else (*THOUGHTS, *of_each):
        if row.get(name) not in EMPTY:
            raise RecordError(
                f"key {name!r} would be lost; write it into the response as <think>…</think>, or as "
                "'reasoning_content' of its message, or drop the column"
            )


def fitting_type(row: Row) -> str:
    """For an error about a prompt: the type of a row that ends with a reply; empty for others."""
    ends = [to_conversation(row[name], name, role="user")[-1:] for name in WITH_REPLY if row.get(name) not in EMPTY]
    replied = any(end and end[0].role == "assistant" for end in ends)
    return "; for fine-tuning, its reply is read with --type demonstration" if replied else ""


def missing(row: Row, key: str) -> RecordError:
    """The error that says that ``key`` is missing or null."""
    if key in row:
        state = "null" if row[key] is None else "empty"
        return RecordError(f"key {key!r} is {state}; fill it in or leave the row out")
    return RecordError(f"key {key!r} is missing {columns_of(row)}; add it, or rename the column that holds it")


def columns_of(row: Row) -> str:
    """The names of the row's columns, for an error."""
    names = ", ".join(str(name) for name in row).encode("utf-8", "backslashreplace").decode()
    return f"(columns: {names[:80] + '…' if len(names) > 80 else names or 'none'}{_mistake(row)})"


def _mistake(row: Row) -> str:
    """The likely mistake in the columns' names: another spelling of a known one, or cells that were not separated."""
    known = {*COLUMN_NAMES, *("chosen", "rejected", "response_a", "response_b", "response", "label", "answer")}
    for name in map(str, row):
        plain = name.strip().casefold()
        if plain in known and name != plain and plain not in row:
            return f"; {name!r} is not {plain!r}: rename it"
        if len(row) == 1 and ";" in name:
            return "; the cells are separated by semicolons: save the file with commas"
    return ""


def _one(row: Row, name: str) -> Conversation:
    if name == "instruction":
        return _instruction(row)
    conversation = to_conversation(row[name], name, role="user")
    if name in WITH_REPLY:
        while conversation and conversation[-1].role == "assistant":
            conversation = conversation[:-1]
        if not conversation:
            raise RecordError(f"key {name!r} holds no message before the assistant's")
    return conversation


def _instruction(row: Row) -> Conversation:
    conversation = to_conversation(row["instruction"], "instruction", role="user")
    if row.get("input") not in EMPTY:
        extra = checked_text(row["input"], "input")
        last = conversation[-1]
        conversation = (*conversation[:-1], Message(last.role, f"{last.content}\n{extra}", last.extra))
    earlier: list[Message] = []
    if row.get("history") not in EMPTY:
        turns = row["history"]
        if not isinstance(turns, list) or not all(isinstance(turn, list) and len(turn) == 2 for turn in turns):
            raise RecordError("key 'history' is not a list of [instruction, reply]")
        for said, reply in turns:
            earlier += [
                Message("user", checked_text(said, "history")),
                Message("assistant", checked_text(reply, "history")),
            ]
    return (*earlier, *conversation)


def _same(one: Conversation, other: Conversation) -> bool:
    """True if the shorter conversation is the end or the beginning of the longer one, but for outer white space."""
    left, right = (tuple((m.role, m.content.strip(), m.extra) for m in each) for each in (one, other))
    shorter, longer = sorted((left, right), key=len)
    return longer[len(longer) - len(shorter) :] == shorter or longer[: len(shorter)] == shorter
