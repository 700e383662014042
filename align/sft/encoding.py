"""Conversations as token ids, and a mask of the assistant's tokens, which the policy learns."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from align.sft.demonstrations import CODE
from reward_models.data.chat import prompt_text, render, tokenize_texts, tokenizer_digest
from reward_models.data.columns import Flat, FlatWriter, ItemColumns, Items
from reward_models.data.prepared import Entry, code, digest_of, entry
from reward_models.data.record_files import BATCH, RecordFile
from reward_models.data.records import Conversation, Message
from reward_models.data.trees import TokenIds
from reward_models.data.workers import in_order

NOT_CONTINUING = "the reply does not continue the prompt as the chat template ends it"
_FLAT, _ITEMS = "train.tokens.arrow", "train.items.arrow"
_MARK = re.compile(r"\{%-?\s*generation\b")  # a template that marks what the assistant writes


@dataclass(frozen=True, slots=True, eq=False)
class Demonstrations:
    """Rendered and tokenized conversations.

    Attributes:
        starts, lengths: place of each conversation's first token among all, and its number of tokens.
        learnt_tokens: how many of them the assistant wrote. ``predicted_tokens``: the same without the very first token
            of a conversation, which nothing predicts.
        dropped: how many were left out, by reason.
        fingerprint: a hash of all tokens, their masks, and the order.
    """

    flat: Flat
    starts: np.ndarray
    lengths: np.ndarray
    learnt_tokens: np.ndarray
    predicted_tokens: np.ndarray
    dropped: dict[str, int]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.lengths)

    def ids(self, place: int) -> TokenIds:
        """The tokens of a conversation."""
        return self._column("token", place)

    def learnt(self, place: int) -> np.ndarray:
        """For every token of a conversation whether the assistant wrote it."""
        return self._column("learnt", place).view(bool)

    def _column(self, name: str, place: int) -> np.ndarray:
        start = int(self.starts[place])
        return self.flat[name, start, start + int(self.lengths[place])]


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
    work, writer = _Encoding(conversations, tokenizer, max_length, tuple(end_ids)), _Writer(None)
    for start in range(0, len(conversations), BATCH):
        writer.add(work.encoded(conversations[start : start + BATCH]))
    return writer.close(work)[1]


def prepared(
    conversations: RecordFile[Conversation],
    source: Entry,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    end_ids: Sequence[int] = (),
) -> tuple[Demonstrations, Entry]:
    """:func:`encode` of a file, by several processes where there are many, kept in files and made once.

    Args:
        source: the entry of :func:`conversation_file`.
    """
    work = _Encoding(conversations, tokenizer, max_length, tuple(end_ids))

    def make(path: Path) -> dict[str, Any]:
        writer = _Writer(path)
        for batch in in_order(work, conversations.batches):
            writer.add(batch)
        return writer.close(work)[0]

    key = {
        "conversations": source.facts["digests"],
        "tokenizer": tokenizer_digest(tokenizer),
        "template": digest_of(tokenizer.chat_template),
        "settings": {"max_length": max_length, "end_ids": sorted(end_ids)},
        "versions": code(*CODE),
    }
    made = entry("demonstrations", key, make)
    return _opened(made.path / _FLAT, made.path / _ITEMS, made.facts), made


class _Batch(NamedTuple):
    tokens: np.ndarray
    learnt: np.ndarray
    lengths: np.ndarray
    dropped: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Encoding:
    """Number of a batch of conversations → its tokens and masks."""

    conversations: Sequence[Conversation]
    tokenizer: PreTrainedTokenizerBase
    max_length: int
    end_ids: tuple[int, ...]

    def __call__(self, number: int) -> _Batch:
        assert isinstance(self.conversations, RecordFile)
        return self.encoded(self.conversations.batch(number))

    @property
    def reasons(self) -> tuple[str, str]:
        """The reasons for which a conversation is left out."""
        return NOT_CONTINUING, f"longer than {self.max_length} tokens"

    def encoded(self, conversations: Sequence[Conversation]) -> _Batch:
        tokenizer = self.tokenizer
        ends = {int(token) for token in (*self.end_ids, tokenizer.eos_token_id) if token is not None}
        if _MARK.search(str(tokenizer.chat_template)) is not None:
            found = [_by_marks(tokenizer, conversation) for conversation in conversations]
        else:
            found = _by_prompts(tokenizer, conversations, ends)
        prompts = tokenize_texts(tokenizer, [prompt_text(tokenizer, each[:-1]) for each in conversations])
        kept, dropped = [], dict.fromkeys(self.reasons, 0)
        for (tokens, mask), prompt in zip(found, prompts, strict=True):
            if mask.any() and tokens[mask][-1] not in ends:
                raise ValueError(
                    f"the chat template ends the assistant's turn with {tokenizer.decode(tokens[mask][-1:])!r}, not "
                    f"with the end token {tokenizer.eos_token!r}: replies would never end. Choose another, e.g. "
                    "model.chat_template=r1"
                )
            if not np.array_equal(tokens[: len(prompt)], prompt) or not mask[len(prompt) :][:1].any():
                dropped[self.reasons[0]] += 1
            elif len(tokens) > self.max_length:
                dropped[self.reasons[1]] += 1
            else:
                kept.append((tokens, mask))
        return _Batch(
            np.concatenate([np.zeros(0, np.int32), *(tokens for tokens, _ in kept)]),
            np.concatenate([np.zeros(0, bool), *(mask for _, mask in kept)]),
            np.array([len(tokens) for tokens, _ in kept], dtype=np.int64),
            dropped,
        )


class _Writer:
    """Writes demonstrations batch by batch, into a directory or into memory."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._flat = FlatWriter(path and path / _FLAT, {"token": np.int32, "learnt": np.uint8})
        self._items = ItemColumns()
        self._state = hashlib.sha256()
        self._dropped: Counter[str] = Counter()

    def add(self, batch: _Batch) -> None:
        self._flat.add({"token": batch.tokens, "learnt": batch.learnt.view(np.uint8)})
        ends = np.cumsum(batch.lengths)
        learnt, predicted = [], []
        for start, end in zip((ends - batch.lengths).tolist(), ends.tolist(), strict=True):
            ids, mask = batch.tokens[start:end], batch.learnt[start:end]
            self._state.update(np.int64(end - start).tobytes() + ids.tobytes() + np.packbits(mask).tobytes())
            learnt.append(int(mask.sum()))
            predicted.append(int(mask[1:].sum()))
        arrays = {"lengths": batch.lengths, "learnt": np.array(learnt), "predicted": np.array(predicted)}
        self._items.add(arrays)
        self._dropped.update(batch.dropped)

    def close(self, work: _Encoding) -> tuple[dict[str, Any], Demonstrations]:
        """The facts to keep beside the files, and the demonstrations."""
        lengths = self._items.array("lengths").astype(np.int64)
        dropped = {reason: number for reason, number in self._dropped.items() if number}
        if not len(lengths):
            reasons = ", ".join(f"{reason} {number:,}" for reason, number in dropped.items())
            hint = _hint(work.tokenizer, dropped)
            raise ValueError(f"no demonstration is left of {len(work.conversations):,}: {reasons}" + hint)
        facts = {"dropped": dropped, "fingerprint": self._state.hexdigest()[:16]}
        flat = self._flat.close()
        items = self._items.write(self._path and self._path / _ITEMS, {"starts": np.cumsum(lengths) - lengths})
        if self._path is not None:
            return facts, _opened(self._path / _FLAT, self._path / _ITEMS, facts)
        return facts, _opened(flat, items, facts)


def _opened(flat: Any, items: Any, facts: dict[str, Any]) -> Demonstrations:
    columns = Items(items)
    names = {"lengths": "lengths", "learnt": "learnt_tokens", "predicted": "predicted_tokens", "starts": "starts"}
    arrays = {field: columns.array(name) for name, field in names.items()}
    return Demonstrations(flat=Flat(flat), dropped=facts["dropped"], fingerprint=facts["fingerprint"], **arrays)


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
    tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation], ends: Collection[int]
) -> list[tuple[TokenIds, np.ndarray]]:
    """As :func:`_by_marks`, for a template without marks: a reply begins where the prompt before it ends.

    It ends behind the first end token, at the latest where the next turn begins. A reply that the whole conversation
    shows otherwise than its prompt announces it (some templates drop the thoughts of earlier replies) is not learnt.
    """
    if not conversations:
        return []
    marks = [str(tokenizer.convert_ids_to_tokens(number)) for number in ends]
    texts = [str(render(tokenizer, conversation)) for conversation in conversations]
    spans = [_spans(tokenizer, each, text, marks) for each, text in zip(conversations, texts, strict=True)]
    encoded: Any = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    found = []
    for ids, offsets, replies in zip(encoded["input_ids"], encoded["offset_mapping"], spans, strict=True):
        start, end = np.array(offsets, dtype=np.int64).reshape(-1, 2).T
        mask = np.zeros(len(ids), bool)
        for first, last in replies:
            mask |= (first <= start) & (start < end) & (end <= last)
        found.append((np.asarray(ids, np.int32), mask))
    return found


def _spans(
    tokenizer: PreTrainedTokenizerBase, conversation: Conversation, text: str, marks: Sequence[str]
) -> list[tuple[int, int]]:
    """Beginning and end of each reply in the rendered conversation."""
    spans = []
    for number, message in enumerate(conversation):
        if message.role == "assistant" and text.startswith(before := prompt_text(tokenizer, conversation[:number])):
            stop = _common_length(text, render(tokenizer, conversation[: number + 1]))
            found = [at + len(mark) for mark in marks if (at := text.find(mark, len(before), stop)) >= 0]
            spans.append((len(before), min(found, default=stop)))
    return spans


def _common_length(a: str, b: str) -> int:
    """The number of characters that two texts have in common at their beginning."""
    return next((place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
