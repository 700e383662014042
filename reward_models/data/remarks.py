"""Remarks on well-formed records that look wrong: they are read as they are, counted, and reported."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from reward_models.data.records import (
    Candidates,
    Comparison,
    Conversation,
    Demonstration,
    Message,
    Pair,
    Prompt,
    Record,
    SafetyLabel,
)

TEMPLATE = "text of a chat template or transcript inside a message"
REPEATED = "a response that begins with the whole prompt"
STRUCTURE = "a message that is the print of a list or a mapping"
INVISIBLE = "a message without a visible character"
SHORT = 10  # characters; replies begin with a prompt as short as this ("Hi") by chance

_MARKS = re.compile(
    r"<\|im_(?:start|end)\|>|\[/?INST\]|<</?SYS>>|<\|(?:start|end)_header_id\|>|<\|eot_id\|>|<(?:start|end)_of_turn>"
    r"|<\|(?:user|assistant|system|end|endoftext)\|>|<extra_id_[01]>|</s>\s*\Z|\A\s*<s>"
    r"|^### (?:Instruction|Response|Human|Assistant):|^(?:USER|ASSISTANT): |\r?\n\r?\n(?:Human|Assistant):\s",
    re.MULTILINE,
)
# A text without any of these has no mark; looking for them takes a hundredth of the time.
_IN_MARKS = ("<", "[", "### ", "USER: ", "ASSISTANT: ", "Human:", "Assistant:")
_PRINT = re.compile(r"\s*(?:\[\s*['\"{\[].*\]|\{\s*['\"].*\})\s*", re.DOTALL)


def remarks(record: Record) -> list[str]:
    """The remarks on a record, each once.

    :data:`TEMPLATE`: the model's own template will be put around text that has one. :data:`REPEATED`: the model will
    read the prompt twice. :data:`STRUCTURE`: people write such texts, and faulty exports do. :data:`INVISIBLE`: nobody
    sees the zero-width or control characters that it consists of, but the model reads them.
    """
    responses = list(_responses(record))
    found = []
    if any(_marked(m.content) for conversation in (record.prompt, *responses) for m in conversation):
        found.append(TEMPLATE)
    if any(_PRINT.fullmatch(conversation[-1].content) for conversation in (record.prompt, *responses)):
        found.append(STRUCTURE)
    if not all(_visible(m) for conversation in (record.prompt, *responses) for m in conversation):
        found.append(INVISIBLE)
    asked = record.prompt[-1].content.strip()
    if len(asked) >= SHORT and any(response[0].content.lstrip().startswith(asked) for response in responses):
        found.append(REPEATED)
    return found


def _visible(message: Message) -> bool:
    """True if a character shows: no space, and no control or zero-width character (Unicode's Z, Cc and Cf)."""
    if "tool_calls" in message.fields:
        return True
    return any(c.isalnum() or unicodedata.category(c) not in ("Zs", "Zl", "Zp", "Cc", "Cf") for c in message.content)


def _marked(text: str) -> bool:
    return any(part in text for part in _IN_MARKS) and _MARKS.search(text) is not None


def _responses(record: Record) -> Iterator[Conversation]:
    if isinstance(record, Comparison | Pair):
        yield from (record.response_a, record.response_b)
    elif isinstance(record, SafetyLabel | Demonstration):
        yield record.response
    elif isinstance(record, Candidates):
        yield from (*record.right, *record.wrong)
    else:
        assert isinstance(record, Prompt)
