"""Text and message lists become conversations; two conversations are split into the prompt they share and the rest."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, cast

from reward_models.data.records import MESSAGE_FIELDS, ROLES, Conversation, Message, RecordError, Role

QUOTE_LIMIT = 60
LITERAL_LIMIT = 2_000_000  # characters; parsing Python's notation takes about 100 bytes of memory for each

# Fields of messages that say where a message comes from and nothing that a model should read.
PROVENANCE = frozenset(
    (
        *("id", "message_id", "openai_id", "turn", "turn_id", "turn_identifier", "timestamp", "created", "model"),
        *("language", "lang", "num_tokens", "token_count", "toxic", "redacted", "country", "state", "hashed_ip"),
        "header",
    )
)
# ShareGPT's names of speakers, under the key ``from``.
SHAREGPT: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
}

_TRANSCRIPT = re.compile(
    r"\r?\n\r?\nHuman:(?=\s|\Z)|Human:\s.*?\r?\n\r?\nAssistant:(?=\s|\Z)", re.DOTALL
)  # as in hh-rlhf
_TURN = re.compile(r"(?:\A|\r?\n\r?\n)(Human|Assistant):(?=\s|\Z)")
_HELPSTEER_TURN = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")  # between the turns of a prompt of HelpSteer2
_SPEAKERS: dict[str, Role] = {"Human": "user", "User": "user", "Assistant": "assistant"}
_NUMPY = re.compile(r"array\((.*?)(?:,\s*dtype=object)?\)", re.DOTALL)
_LITERAL_OR_GAP = re.compile(r"""('(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")|\}\s+\{""")
_PRINTED_OBJECT = re.compile(r"\[?\s*\w*Message\(\w+=")  # of LangChain, of a dataclass
_MESSAGE_KEYS = re.compile(r"""['"](?:role|from)['"]\s*:""")


def quoted(value: object) -> str:
    """``value`` for an error message: short, since contents may be long, private or harmful."""
    text = repr(value)
    return text if len(text) <= QUOTE_LIMIT else text[: QUOTE_LIMIT - 1] + "…"


def checked_text(value: object, key: str) -> str:
    """``value`` if it is text that can be stored as UTF-8, else a :class:`RecordError` that names ``key``."""
    if value is None:
        raise RecordError(f"key {key!r} is null; give it a text or leave the row out")
    if not isinstance(value, str):
        raise RecordError(f"key {key!r} is {type(value).__name__}, not text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RecordError(
            f"key {key!r} is not UTF-8 at character {error.start}; save the text again as UTF-8"
        ) from None
    return value


def to_conversation(value: object, key: str, *, role: Role) -> Conversation:
    """The conversation in a cell.

    Args:
        value: a list of messages (:func:`to_message`) or one message; either as JSON or as Python or numpy print it;
            a transcript as hh-rlhf writes it; a prompt of several turns as HelpSteer2 writes it; or the plain text of
            one message.
        key: where it stands, for errors.
        role: who says a plain text.

    Raises:
        RecordError: it is none of these.
    """
    if isinstance(value, str):
        value = _unpacked(value, key)
    if isinstance(value, Mapping):
        return (to_message(value, key),)
    if isinstance(value, list | tuple):
        return tuple(to_message(turn, key) for turn in value)
    text = checked_text(value, key)
    if is_transcript(text):
        return cast(Conversation, _named(key, parse_transcript, text))
    if role == "user" and _HELPSTEER_TURN.search(text):
        return cast(Conversation, _named(key, _parse_helpsteer, text))
    return (_named(key, Message, role, text),)


def to_message(turn: object, key: str) -> Message:
    """A message from ``{"role", "content"}`` or ShareGPT's ``{"from", "value"}``, with the fields that templates read.

    ``content`` may be a list of text parts. Fields that are null or empty count as absent; those of
    :data:`PROVENANCE` are left out.

    Raises:
        RecordError: another shape, an unknown role, or a field that would be lost: nothing that changes the meaning of
            a message is dropped in silence.
    """
    if not isinstance(turn, Mapping):
        raise RecordError(f"key {key!r} holds a {type(turn).__name__} that is no {{'role': …, 'content': …}} message")
    if "role" in turn and ("content" in turn or "tool_calls" in turn):
        role, content, taken = turn["role"], turn.get("content"), ("role", "content")
        if role not in ROLES:
            raise RecordError(f"key {key!r}: role {quoted(role)} is none of {', '.join(ROLES)}")
    elif "from" in turn and "value" in turn:
        role, content, taken = SHAREGPT.get(str(turn["from"])), turn["value"], ("from", "value")
        if role is None:
            raise RecordError(f"key {key!r}: speaker {quoted(turn['from'])} is none of {', '.join(SHAREGPT)}")
    else:
        raise RecordError(f"key {key!r} holds a dict that is no {{'role': …, 'content': …}} message")
    fields = _fields(turn, taken, key)
    if content is None and "tool_calls" in fields:
        content = ""
    text = checked_text(_joined(content, key), f"{key}.content")
    extra = json.dumps(fields, ensure_ascii=False) if fields else ""
    return cast(Message, _named(key, Message, role, text, extra))


def _fields(turn: Mapping[str, Any], taken: tuple[str, str], key: str) -> dict[str, Any]:
    fields = {}
    for name, value in turn.items():
        if name in taken or value is None or value in ([], "", {}):
            continue
        if name in MESSAGE_FIELDS:
            fields[name] = value
        elif name == "weight" and value in (1, 1.0, "1", "1.0"):
            continue  # the message counts as every other
        elif name not in PROVENANCE:
            raise RecordError(
                f"key {key!r}: a message has the field {quoted(name)}, which is not read; remove it, or write "
                "what it says into the content"
            )
    if "tool_calls" in fields:
        _check_calls(fields["tool_calls"], key)
    for name in ("tool_call_id", "name", "reasoning_content"):
        if name in fields:
            checked_text(fields[name], f"{key}.{name}")
    try:
        json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, TypeError) as error:
        raise RecordError(f"key {key!r}: the fields of a message are not JSON ({error})") from None
    return fields


def _check_calls(calls: object, key: str) -> None:
    for call in calls if isinstance(calls, list | tuple) else [None]:
        function = call.get("function", call) if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise RecordError(f"key {key!r}: 'tool_calls' is not a list of {{'function': {{'name', 'arguments'}}}}")


def _joined(content: object, key: str) -> object:
    """The text of a content given in parts; any other content as it is."""
    if not isinstance(content, list | tuple):
        return content
    texts = [part.get("text") for part in content if isinstance(part, Mapping) and part.get("type", "text") == "text"]
    if len(texts) < len(content) or not all(isinstance(text, str) for text in texts):
        raise RecordError(f"key {key!r}: a content has parts that are not text; models here read text only")
    return "".join(texts)  # type: ignore[arg-type]  # checked above


# --- messages stored as text ----------------------------------------------------------------------------------------


def _unpacked(text: str, key: str) -> object:
    """The message or messages that ``text`` is the print of; ``text`` itself if it is plain.

    Raises:
        RecordError: it looks like messages, and cannot be read as such with certainty.
    """
    stripped = text.strip()
    if _PRINTED_OBJECT.match(stripped):
        raise RecordError(f"key {key!r} is the print of message objects; store the messages as JSON (json.dumps)")
    if not re.match(r"(?:array\()?[\[(]?\s*\{", stripped):
        return text
    for parse in (json.loads, _literal):
        try:
            value = parse(stripped)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        turns = [value] if isinstance(value, Mapping) else value
        if isinstance(turns, list | tuple) and turns and all(_is_message(turn) for turn in turns):
            return value
        if any(_is_message(turn) for turn in _inside(turns)):
            break
        return text  # JSON of something else is a text that people write
    else:
        if not _MESSAGE_KEYS.search(stripped[:2000]):
            return text
    raise RecordError(
        f"key {key!r} is text that looks like a list of messages and cannot be read as one; store the messages as "
        "JSON (json.dumps), or the file as .jsonl or .parquet"
    )


def _inside(value: object) -> Iterator[object]:
    """Every object in the lists of an object's members, one level down: ``{"messages": [{"role": …}]}``."""
    for each in value if isinstance(value, list | tuple) else [value]:
        for member in each.values() if isinstance(each, Mapping) else ():
            yield from member if isinstance(member, list | tuple) else ()


def _is_message(turn: object) -> bool:
    if not isinstance(turn, Mapping):
        return False
    return {"from", "value"} <= turn.keys() or ("role" in turn and bool({"content", "tool_calls"} & turn.keys()))


def _literal(text: str) -> object:
    """A list as Python prints it, or numpy: there an array has no commas between its elements."""
    if len(text) > LITERAL_LIMIT:
        raise ValueError("too long")
    if array := _NUMPY.fullmatch(text):
        text = array[1]
    return ast.literal_eval(_LITERAL_OR_GAP.sub(lambda match: match[1] or "}, {", text))


# --- transcripts ----------------------------------------------------------------------------------------------------


def _named(key: str, make: Any, *arguments: Any) -> Any:
    """``make(*arguments)``, with ``key`` put in front of what it complains about."""
    try:
        return make(*arguments)
    except RecordError as error:
        raise RecordError(f"key {key!r}: {error}") from None


def is_transcript(text: str) -> bool:
    """True if ``text`` is a dialogue in one string, as hh-rlhf writes it: ``\\n\\nHuman: …\\n\\nAssistant: …``."""
    return _TRANSCRIPT.match(text) is not None


def parse_transcript(text: str) -> Conversation:
    """The turns of an hh-rlhf transcript, stripped of outer white space.

    Only a speaker's name after a blank line starts a turn, so ``Human:`` inside a turn stays where it is. Neighbouring
    turns of one speaker are one turn with a blank line between: the markers say nothing more than that. A transcript
    that stops at ``\\n\\nAssistant:`` is a prompt waiting for its answer, and the empty turn is left out.
    """
    pieces = _TURN.split(text)
    if pieces[0].strip():
        raise RecordError("the transcript has text before its first '\\n\\nHuman:'")
    turns: list[tuple[Role, str]] = []
    for speaker, content in zip(pieces[1::2], pieces[2::2], strict=True):
        role = _SPEAKERS[speaker]
        if turns and turns[-1][0] == role:
            content = turns.pop()[1] + "\n\n" + content.strip()
        turns.append((role, content.strip()))
    if turns[-1] == ("assistant", ""):
        turns.pop()
    return tuple(Message(role, content) for role, content in turns)


def _parse_helpsteer(text: str) -> Conversation:
    """A prompt of several turns: the user's first, then each after ``<extra_id_1>`` and its speaker."""
    pieces = _HELPSTEER_TURN.split(text)
    speakers: list[Role] = ["user", *(_SPEAKERS[name] for name in pieces[1::2])]
    turns = tuple(zip(speakers, pieces[0::2], strict=True))
    if not pieces[0].strip():
        turns = turns[1:]
    return tuple(Message(role, content) for role, content in turns)


# --- two conversations ----------------------------------------------------------------------------------------------


def split_conversations(
    chosen: Conversation, rejected: Conversation
) -> tuple[Conversation, Conversation, Conversation]:
    """``(prompt, chosen response, rejected response)`` of two whole conversations.

    The prompt is the longest run of messages both begin with that leaves each an answer of the assistant's.

    Raises:
        RecordError: one has no answer, they do not begin with the same messages, or differ before the assistant speaks.
    """
    for key, conversation in (("chosen", chosen), ("rejected", rejected)):
        if not conversation or conversation[-1].role != "assistant":
            raise RecordError(f"key {key!r} does not end with an answer of the assistant's")
    shared = _shared(chosen[:-1], rejected[:-1])
    while shared > 0 and chosen[shared - 1].role == "assistant":
        shared -= 1
    if shared == 0 or chosen[shared].role != "assistant" or rejected[shared].role != "assistant":
        raise RecordError("the two conversations answer no common prompt; correct one, or leave the row out")
    return chosen[:shared], chosen[shared:], rejected[shared:]


def _shared(left: Sequence[object], right: Sequence[object]) -> int:
    """Length of the common beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))


def digest(conversation: Conversation) -> bytes:
    """32 bytes that stand for the exact roles, contents and further fields, the latter in any order.

    Arrow files may give the members of an object in another order than they were written.
    """
    state = hashlib.sha256()
    for message in conversation:
        content = message.content.encode()
        state.update(f"{message.role}:{len(content)}:".encode() + content)
        if message.extra:
            fields = json.dumps(message.fields, ensure_ascii=False, sort_keys=True)
            state.update(f"+{len(fields)}:{fields}".encode())
    return state.digest()
