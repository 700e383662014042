"""Demonstrations: conversations as token ids, and a mask of the assistant's tokens, which the policy learns."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from reward_models.data.chat import prompt_text, render, tokenize_texts
from reward_models.data.formats import rename, to_demonstration
from reward_models.data.records import Conversation, Message
from reward_models.data.sources import BadRow, BadRowsError, read_rows_of
from reward_models.data.trees import TokenIds

NOT_CONTINUING = "the reply does not continue the prompt as the chat template ends it"
_MARK = re.compile(r"\{%-?\s*generation\b")  # a template that marks what the assistant writes


@dataclass(frozen=True, kw_only=True)
class DemonstrationsConfig:
    """The demonstrations of a run.

    Attributes:
        train: files, globs, hub data sets (``owner/name[/subset][:split]``) or ``synthetic:demonstrations:train``, of
            conversations (``messages``), prompts with a ``response`` or ``completion``, or problems with a worked
            ``solution`` and an ``answer``.
        columns: our column names to the source's, where they differ.
        limit: the most rows to read of each source.
        max_bad: how many bad rows may be left out; one more stops the run before it starts.
        max_length: longest conversation in tokens; longer ones are left out and counted. Default: as many as the
            model has positions.
    """

    train: list[str] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)
    limit: int | None = None
    max_bad: int = 0
    max_length: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("limit", 1), ("max_bad", 0), ("max_length", 1)):
            if (value := getattr(self, name)) is not None and value < least:
                raise ValueError(f"data.{name}={value} must be at least {least}")


@dataclass(frozen=True, slots=True, eq=False)
class Demonstrations:
    """Rendered and tokenized conversations.

    Attributes:
        ids: a conversation each. ``learnt``: for every one of its tokens, whether the assistant wrote it.
        dropped: how many were left out, by reason.
    """

    ids: tuple[TokenIds, ...]
    learnt: tuple[np.ndarray, ...]
    dropped: dict[str, int]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def fingerprint(self) -> str:
        """A hash of all tokens, their masks, and the order."""
        digest = hashlib.sha256()
        for ids, learnt in zip(self.ids, self.learnt, strict=True):
            digest.update(np.int64(len(ids)).tobytes() + ids.tobytes() + np.packbits(learnt).tobytes())
        return digest.hexdigest()[:16]


def load_conversations(config: DemonstrationsConfig) -> tuple[list[Conversation], int]:
    """Every conversation of ``config.train``, and the number of bad rows left out.

    Raises:
        SourceError, BadRowsError: as :func:`reward_models.data.sources.load`.
    """

    def convert(row: dict[str, Any], line: int, source: str) -> Conversation:
        prompt, response = to_demonstration(rename(row, config.columns))
        return prompt + response

    conversations: list[Conversation] = []
    bad: list[BadRow] = []
    for stream in [read_rows_of(spec, convert) for spec in config.train]:
        for item in islice(stream, config.limit):
            if isinstance(item, BadRow):
                bad.append(item)
            else:
                conversations.append(item)
    if len(bad) > config.max_bad:
        raise BadRowsError(bad, config.max_bad)
    return conversations, len(bad)


def encode(
    conversations: Sequence[Conversation],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    end_ids: Sequence[int] = (),
) -> Demonstrations:
    """Render and tokenize conversations, and find the tokens that the assistant wrote.

    The tokens learnt of the last reply are those that the policy would have to sample after the prompt as
    :func:`reward_models.data.chat.prompt_text` renders it; a conversation for which that does not hold is left out.

    Args:
        end_ids: tokens that end a response besides the tokenizer's end token, as a model's generation settings name.

    Raises:
        ValueError: the template does not let the assistant end its turn, or refuses a conversation; or none is left.
    """
    marked = _MARK.search(str(tokenizer.chat_template)) is not None
    ends = {int(token) for token in (*end_ids, tokenizer.eos_token_id) if token is not None}
    ids, learnt = [], []
    dropped = {NOT_CONTINUING: 0, f"longer than {max_length} tokens": 0}
    prompts = tokenize_texts(tokenizer, [prompt_text(tokenizer, conversation[:-1]) for conversation in conversations])
    for conversation, prompt in zip(conversations, prompts, strict=True):
        tokens, mask = _by_marks(tokenizer, conversation) if marked else _by_prompts(tokenizer, conversation, ends)
        if mask.any() and tokens[mask][-1] not in ends:
            raise ValueError(
                f"the chat template ends the assistant's turn with {tokenizer.decode(tokens[mask][-1:])!r}, not with "
                f"the end token {tokenizer.eos_token!r}: replies would never end. Choose another, e.g. "
                "model.chat_template=r1"
            )
        if not np.array_equal(tokens[: len(prompt)], prompt) or not mask[len(prompt) :][:1].any():
            dropped[NOT_CONTINUING] += 1
        elif len(tokens) > max_length:
            dropped[f"longer than {max_length} tokens"] += 1
        else:
            ids.append(tokens)
            learnt.append(mask)
    dropped = {reason: number for reason, number in dropped.items() if number}
    if not ids:
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in dropped.items())
        raise ValueError(f"no demonstration is left of {len(conversations):,}: {reasons}" + _hint(tokenizer, dropped))
    return Demonstrations(tuple(ids), tuple(learnt), dropped)


def _hint(tokenizer: PreTrainedTokenizerBase, dropped: Collection[str]) -> str:
    if NOT_CONTINUING not in dropped:
        return ""
    end = prompt_text(tokenizer, (Message("user", "Hello"),)).rpartition("Hello")[2]
    return (
        f". A prompt ends with {end!r}, and a reply must go on from there: with '<think>…</think>' where that opens "
        "the thoughts. Add them, or choose another model.chat_template"
    )


def _by_marks(tokenizer: PreTrainedTokenizerBase, conversation: Conversation) -> tuple[TokenIds, np.ndarray]:
    """Token ids of a conversation and the assistant's among them, as the template marks them (``{% generation %}``)."""
    encoded: Any = render(tokenizer, conversation, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    return np.asarray(encoded["input_ids"], np.int32), np.asarray(encoded["assistant_masks"], bool)


def _by_prompts(
    tokenizer: PreTrainedTokenizerBase, conversation: Conversation, ends: Collection[int]
) -> tuple[TokenIds, np.ndarray]:
    """As :func:`_by_marks`, for a template without marks: a reply begins where the prompt before it ends.

    It ends behind the first end token, at the latest where the next turn begins. A reply that the whole conversation
    shows otherwise than its prompt announces it (some templates drop the thoughts of earlier replies) is not learnt.
    """
    text: str = render(tokenizer, conversation)
    marks, spans = [str(tokenizer.convert_ids_to_tokens(number)) for number in ends], []
    for number, message in enumerate(conversation):
        if message.role == "assistant" and text.startswith(before := prompt_text(tokenizer, conversation[:number])):
            stop = _common_length(text, render(tokenizer, conversation[: number + 1]))
            found = [at + len(mark) for mark in marks if (at := text.find(mark, len(before), stop)) >= 0]
            spans.append((len(before), min(found, default=stop)))
    encoded: Any = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    mask = [any(first <= start < end <= last for first, last in spans) for start, end in encoded["offset_mapping"]]
    return np.asarray(encoded["input_ids"], np.int32), np.asarray(mask, bool)


def _common_length(a: str, b: str) -> int:
    """The number of characters that two texts have in common at their beginning."""
    return next((place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
