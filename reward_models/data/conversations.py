"""Raw text and message lists become conversations, and two conversations give up the prompt they share."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from itertools import takewhile
from typing import Any, cast

from reward_models.data.records import ROLES, Conversation, Message, RecordError, Role

QUOTE_LIMIT = 60

_TRANSCRIPT = re.compile(r"\n\nHuman:(?=\s|\Z)|Human:\s.*?\n\nAssistant:(?=\s|\Z)", re.DOTALL)
_TURN = re.compile(r"(?:\A|\n\n)(Human|Assistant):(?=\s|\Z)")
_SPEAKERS: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}


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
    """A conversation from a list of ``{"role", "content"}``, an hh-rlhf transcript, or plain text said by ``role``."""
    if not isinstance(value, list | tuple):
        text = checked_text(value, key)
        if is_transcript(text):
            return _named(key, parse_transcript, text)
        return (_named(key, Message, role, text),)
    return tuple(_to_message(turn, key) for turn in value)


def _to_message(turn: object, key: str) -> Message:
    if not isinstance(turn, dict) or "role" not in turn or "content" not in turn:
        raise RecordError(f"key {key!r} holds a {type(turn).__name__} that is no {{'role': …, 'content': …}} message")
    if turn["role"] not in ROLES:
        raise RecordError(f"key {key!r}: role {quoted(turn['role'])} is none of {', '.join(ROLES)}")
    return cast(Message, _named(key, Message, turn["role"], checked_text(turn["content"], f"{key}.content")))


def _named(key: str, make: Any, *arguments: Any) -> Any:
    """``make(*arguments)``, with ``key`` put in front of what it complains about."""
    try:
        return make(*arguments)
    except RecordError as error:
        raise RecordError(f"key {key!r}: {error}") from None


def is_transcript(text: str) -> bool:
    """Whether ``text`` is a dialogue in one string, as hh-rlhf writes it: ``\\n\\nHuman: …\\n\\nAssistant: …``."""
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
        raise RecordError("'chosen' and 'rejected' answer no common prompt; add a 'prompt' column")
    return chosen[:shared], chosen[shared:], rejected[shared:]


def split_texts(chosen: str, rejected: str) -> tuple[str, str, str]:
    """``(prompt, chosen response, rejected response)`` of two plain texts: the words both begin with are the prompt.

    Raises:
        RecordError: they do not begin with the same word.
    """
    chosen, rejected = chosen.rstrip(), rejected.rstrip()
    shared = _shared(chosen, rejected)
    between_words = shared < min(len(chosen), len(rejected)) and chosen[shared].isspace() and rejected[shared].isspace()
    if not between_words:  # a word shared in part, or shared and followed by nothing, belongs to the responses
        shared = max((match.start() for match in re.finditer(r"\s", chosen[:shared])), default=0)
    prompt = chosen[:shared].rstrip()
    if not prompt:
        raise RecordError("'chosen' and 'rejected' begin with no common words; add a 'prompt' column")
    return prompt, chosen[shared:].lstrip(), rejected[shared:].lstrip()


def _shared(left: Sequence[object], right: Sequence[object]) -> int:
    """How many elements both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))


def digest(conversation: Conversation) -> bytes:
    """32 bytes that stand for the exact roles and contents."""
    state = hashlib.sha256()
    for message in conversation:
        content = message.content.encode()
        state.update(f"{message.role}:{len(content)}:".encode() + content)
    return state.digest()
