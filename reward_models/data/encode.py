"""Records are tokenized into prompt trees, the form in which a training set is held in memory.

Token ids are kept in flat arrays (one allocation, cheap to hold and to fingerprint), the positions of a comparison are
put in the order of the verdict, and over-long conversations are cut by a named policy. Everything cut or dropped is
counted.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice, pairwise
from typing import Literal

import numpy as np

from reward_models.data.chat import ChatRenderer
from reward_models.data.records import Comparison, Conversation, Rated, SafetyLabel
from reward_models.data.trees import PromptTree

Overlong = Literal["drop", "cut"]

_CHUNK = 512  # records tokenized at once: enough to keep the tokenizer's threads busy


@dataclass(frozen=True, eq=False)  # no slots: the cached properties keep their values in the instance
class TokenizedSet:
    """A tokenized data set; item ``i`` is a tree with one branch (safety) or two (comparison: chosen, rejected).

    Attributes:
        tokens: all token ids, flat. ``spans[i]`` holds item i's borders in it: prompt, then each branch.
        label: safety: 1.0 safe, 0.0 unsafe. Comparisons: 1.0 where the first branch was chosen, 0.5 for a tie.
        strength: how much better, or nan where the source does not say.
        ratings: ``[n, attributes]`` of rated responses, nan where there is none; else ``[n, 0]``.
        source: index into ``sources``.
        ids: the records' ids, for messages and for keeping a bad batch.
        truncated: conversations whose oldest part was cut to fit; ``dropped``: reason → how many were left out.
        fingerprint: of tokens, spans, labels and strengths.
    """

    tokens: np.ndarray
    spans: list[np.ndarray]
    label: np.ndarray
    strength: np.ndarray
    source: np.ndarray
    sources: tuple[str, ...]
    ids: tuple[str, ...]
    truncated: int
    dropped: dict[str, int] = field(default_factory=dict)
    fingerprint: str = ""
    ratings: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))

    def __len__(self) -> int:
        return len(self.spans)

    def tree(self, item: int) -> PromptTree:
        borders = self.spans[item]
        parts = [self.tokens[a:b] for a, b in pairwise(borders)]
        return PromptTree(parts[0], tuple(parts[1:]))

    @cached_property
    def tree_tokens(self) -> np.ndarray:
        """Tokens per item with the prompt shared."""
        return np.array([s[-1] - s[0] for s in self.spans], dtype=np.int64)

    @cached_property
    def branch_lengths(self) -> list[np.ndarray]:
        """Per item, the length of each whole sequence."""
        return [(s[1] - s[0]) + np.diff(s[1:]) for s in self.spans]

    @cached_property
    def unshared_tokens(self) -> np.ndarray:
        """Tokens per item when every sequence is computed on its own."""
        return np.array([int(lengths.sum()) for lengths in self.branch_lengths], dtype=np.int64)


def tokenize_records(
    records: Iterable[Comparison | SafetyLabel],
    renderer: ChatRenderer,
    max_length: int | None,
    ties: bool = True,
    overlong: Overlong = "drop",
    same: bool = True,
) -> TokenizedSet:
    """Render and tokenize records.

    Args:
        max_length: longest sequence in tokens; a longer conversation loses its oldest turns (never a system message,
            never the last turn), then the beginning of its last prompt turn; the response is kept whole. ``None``: no
            limit.
        ties: whether ties are kept.
        overlong: an item whose responses do not fit by themselves is dropped and counted, or its responses are cut.
        same: whether pairs are kept whose responses read the same, as two answers after different reasoning do where
            the span is the summary. They have no gradient.
    """
    items = _Items()
    iterator = iter(records)
    while chunk := list(islice(iterator, _CHUNK)):
        if not ties:
            kept = [r for r in chunk if not (isinstance(r, Comparison) and r.label == "tie")]
            items.drop("tie", len(chunk) - len(kept))
            chunk = kept
        for record, replies, sequences in _tokenized(chunk, renderer):
            if max_length is not None and max(map(len, sequences)) > max_length:
                shorten = cut if overlong == "cut" else fit
                shorter = shorten(record.prompt, replies, renderer, max_length, sequences)
                if shorter is None:
                    items.drop("response longer than max_length")
                    continue
                items.truncated += 1
                sequences = shorter
            if not same and len(sequences) == 2 and np.array_equal(sequences[0], sequences[1]):
                items.drop("responses that read the same")
                continue
            items.add(record, sequences)
    return items.tokenized_set()


@dataclass(slots=True)
class _Items:
    """The items of a set while records are added; ``end`` is the number of tokens so far."""

    tokens: list[np.ndarray] = field(default_factory=list)
    spans: list[np.ndarray] = field(default_factory=list)
    label: list[float] = field(default_factory=list)
    strength: list[float] = field(default_factory=list)
    source: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    ratings: list[list[float]] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    truncated: int = 0
    end: int = 0

    def drop(self, reason: str, count: int = 1) -> None:
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count

    def add(self, record: Comparison | SafetyLabel, sequences: Sequence[np.ndarray]) -> None:
        tree = PromptTree.from_sequences(sequences)
        parts = [tree.prompt, *tree.branches]
        self.tokens.extend(parts)
        self.spans.append(self.end + np.cumsum([0] + [len(p) for p in parts]))
        self.end = int(self.spans[-1][-1])
        self.label.append(label_value(record))
        self.strength.append(np.nan if isinstance(record, SafetyLabel) or record.strength is None else record.strength)
        ratings = record.ratings if isinstance(record, Rated) else ()
        self.ratings.append([np.nan if rating is None else rating for rating in ratings])
        self.source.append(record.source)
        self.ids.append(record.id)

    def tokenized_set(self) -> TokenizedSet:
        names = tuple(sorted(set(self.source)))
        index = {name: i for i, name in enumerate(names)}
        tokens = np.concatenate(self.tokens) if self.tokens else np.zeros(0, np.int32)
        label, strength = np.array(self.label), np.array(self.strength)
        ratings = np.array(self.ratings, dtype=float).reshape(len(self.label), -1 if self.label else 0)
        hashed = hashlib.sha256(tokens.tobytes())
        for array in (*self.spans, label, strength, ratings):
            hashed.update(array.tobytes())
        return TokenizedSet(
            tokens=tokens,
            spans=self.spans,
            label=label,
            strength=strength,
            source=np.array([index[s] for s in self.source], dtype=np.int64),
            sources=names,
            ids=tuple(self.ids),
            truncated=self.truncated,
            dropped=self.dropped,
            fingerprint=hashed.hexdigest()[:16],
            ratings=ratings,
        )


def _tokenized(
    records: Sequence[Comparison | SafetyLabel], renderer: ChatRenderer
) -> Iterator[tuple[Comparison | SafetyLabel, list[Conversation], list[np.ndarray]]]:
    """Each record with its ordered responses and their whole sequences, from one call of the tokenizer."""
    responses = [ordered_responses(record) for record in records]
    texts = [t for r, replies in zip(records, responses, strict=True) for t in _texts(r, replies, renderer)]
    sequences = iter(renderer.tokenize(texts) if texts else ())
    for record, replies in zip(records, responses, strict=True):
        yield record, replies, [next(sequences) for _ in replies]


def ordered_responses(record: Comparison | SafetyLabel) -> list[Conversation]:
    """The responses in the order they are scored in: chosen first; a first in a tie."""
    if isinstance(record, SafetyLabel):
        return [record.response]
    if record.label == "b":
        return [record.response_b, record.response_a]
    return [record.response_a, record.response_b]


def _texts(record: Comparison | SafetyLabel, replies: Sequence[Conversation], renderer: ChatRenderer) -> list[str]:
    try:
        return [renderer.text(record.prompt, reply) for reply in replies]
    except ValueError as error:
        raise ValueError(f"{record.id}: {error}. Take the row out, or give another model.chat_template") from error


def label_value(record: Comparison | SafetyLabel) -> float:
    """1.0: the first response was chosen, or the response is safe; 0.5: a tie; 0.0: unsafe."""
    if isinstance(record, SafetyLabel):
        return float(record.label == "safe")
    return 0.5 if record.label == "tie" else 1.0


def fit(
    prompt: Conversation,
    replies: Sequence[Conversation],
    renderer: ChatRenderer,
    limit: int,
    whole: Sequence[np.ndarray] | None = None,
) -> list[np.ndarray] | None:
    """The sequences with as much of the prompt's end as fits, the same for every reply; ``None`` if none fits.

    Args:
        whole: the sequences with the whole prompt, where they are known already.
    """

    def render(shorter: Conversation) -> list[np.ndarray]:
        return renderer.tokenize([renderer.text(shorter, reply) for reply in replies])

    return _shortened(prompt, renderer, render, limit, whole)[1]


def cut(
    prompt: Conversation,
    replies: Sequence[Conversation],
    renderer: ChatRenderer,
    limit: int,
    whole: Sequence[np.ndarray] | None = None,
) -> list[np.ndarray]:
    """:func:`fit`, and where replies are too long by themselves their ends are cut too.

    At most a quarter of the limit is then left to the prompt. The last token (an end mark) stays.
    """
    fitting = fit(prompt, replies, renderer, limit, whole)
    if fitting is not None:
        return fitting
    shorter, _ = _shortened(prompt, renderer, lambda p: renderer.tokenize([renderer.text(p, ())]), limit // 4)
    sequences = renderer.tokenize([renderer.text(shorter, reply) for reply in replies])
    return [s if len(s) <= limit else np.concatenate((s[: limit - 1], s[-1:])) for s in sequences]


def _shortened(
    prompt: Conversation,
    renderer: ChatRenderer,
    render: Callable[[Conversation], list[np.ndarray]],
    limit: int,
    whole: Sequence[np.ndarray] | None = None,
) -> tuple[Conversation, list[np.ndarray] | None]:
    """The prompt less its oldest turns, then less the beginning of its last one, until what it renders to fits.

    System messages stay. Returns the prompt and what it renders to, the latter ``None`` if even the last turn's last
    token is too much.
    """
    system = tuple(m for m in prompt[:-1] if m.role == "system")
    turns, last = tuple(m for m in prompt[:-1] if m.role != "system"), prompt[-1]
    shorter, sequences = prompt, list(whole or render(prompt))
    if turns and max(map(len, sequences)) > limit:
        # Templates want a user's turn first. By bisection: fewer turns have fewer tokens, and rendering costs much.
        starts = [i for i in range(1, len(turns) + 1) if i == len(turns) or turns[i].role == "user"]
        first = bisect_left(
            starts, True, key=lambda i: max(map(len, render((*system, *turns[i:], last)))) <= limit, hi=len(starts) - 1
        )
        shorter = (*system, *turns[starts[first] :], last)
        sequences = render(shorter)
    ids = renderer.tokenize([last.content])[0]
    keep = len(ids)
    while (excess := max(map(len, sequences)) - limit) > 0:
        keep -= excess  # nearly always right at once: text cut elsewhere may be a token longer or shorter
        # a token may be part of a character: its remains decode to the replacement character
        text = str(renderer.tokenizer.decode(ids[-keep:])).lstrip("\ufffd").strip() if keep > 0 else ""
        if not text:
            return shorter, None
        shorter = (*system, replace(last, content=text))
        sequences = render(shorter)
    return shorter, sequences
