"""Records are rendered and tokenized in batches, into prompt trees.

The positions of a comparison are put in the order of the verdict, and over-long conversations are cut by a named
policy. Everything cut or dropped is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

import numpy as np

from reward_models.data.chat import ChatRenderer
from reward_models.data.records import Comparison, Conversation, Rated, SafetyLabel
from reward_models.data.segments import Segments
from reward_models.data.trees import PromptTree

Overlong = Literal["drop", "cut"]
T = TypeVar("T")
Tokenize = Callable[[list[str]], list[np.ndarray]]
# A computation that asks for texts to be tokenized, gets their token ids, and goes on.
Steps = Generator[list[str], list[np.ndarray], T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The treatment of records that are too long, or from which nothing can be learnt.

    Attributes:
        max_length: longest sequence in tokens; a longer conversation loses its oldest turns (never a system message,
            never the last turn), then the beginning of its last prompt turn; the response is kept whole. ``None``: no
            limit.
        ties: whether ties are kept.
        overlong: an item whose responses do not fit by themselves is dropped and counted, or its responses are cut.
        same: whether pairs are kept whose responses read the same, as two answers after different reasoning do where
            the span is the summary. They have no gradient.
    """

    max_length: int | None = None
    ties: bool = True
    overlong: Overlong = "drop"
    same: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class TokenBatch:
    """Tokenized records, in order; item ``i`` is a tree with one branch (safety) or two (comparison: chosen, rejected).

    Attributes:
        tokens: the items' token ids, flat. ``lengths``: ``[n, 1 + branches]`` tokens of the prompt and of each branch.
        label: safety: 1.0 safe, 0.0 unsafe. Comparisons: 1.0 where the first branch was chosen, 0.5 for a tie.
        strength: how much better, or nan where the source does not say.
        ratings: ``[n, attributes]`` of rated responses, nan where there is none; else ``[n, 0]``.
        weight: of comparisons in the training loss; ``[0]`` of other records.
        sources, ids: of the records.
        truncated: conversations whose oldest part was cut to fit; ``dropped``: reason → how many were left out.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    label: np.ndarray
    strength: np.ndarray
    ratings: np.ndarray
    sources: tuple[str, ...]
    ids: tuple[str, ...]
    truncated: int
    dropped: dict[str, int]
    weight: np.ndarray = field(default_factory=lambda: np.zeros(0))


def tokenize_batch(records: Sequence[Comparison | SafetyLabel], renderer: ChatRenderer, rules: Rules) -> TokenBatch:
    """Render and tokenize records, in one call of the tokenizer, and a few more for those that are too long.

    A text that several conversations share, as the responses of a comparison share the prompt, is tokenized once.

    Raises:
        ValueError: the template refuses a conversation; the message names the record.
    """
    items = _Items()
    if not rules.ties:
        decided = [r for r in records if not (isinstance(r, Comparison) and r.label == "tie")]
        items.drop("tie", len(records) - len(decided))
        records = decided
    responses = [ordered_responses(record) for record in records]
    texts = [_texts(r, replies, renderer) for r, replies in zip(records, responses, strict=True)]
    tokenize = Segments(renderer.tokenizer)
    flat = iter(tokenize([text for each in texts for text in each]) if texts else ())
    sequences = [[next(flat) for _ in each] for each in texts]
    shortened = _shorten(records, responses, sequences, renderer, rules, tokenize)
    for place, record in enumerate(records):
        whole = sequences[place]
        if place in shortened:
            shorter = shortened[place]
            if shorter is None:
                items.drop("response longer than max_length")
                continue
            items.truncated += 1
            whole = shorter
        if not rules.same and len(whole) == 2 and np.array_equal(whole[0], whole[1]):
            items.drop("responses that read the same")
            continue
        items.add(record, whole)
    return items.batch()


def _shorten(
    records: Sequence[Comparison | SafetyLabel],
    responses: Sequence[list[Conversation]],
    sequences: Sequence[list[np.ndarray]],
    renderer: ChatRenderer,
    rules: Rules,
    tokenize: Tokenize,
) -> dict[int, list[np.ndarray] | None]:
    """Place of each record that is too long → its shorter sequences; ``None`` if it cannot be made to fit."""
    limit = rules.max_length
    if limit is None:
        return {}
    shorten = _cut if rules.overlong == "cut" else _fit
    steps: dict[int, Steps[list[np.ndarray] | None]] = {
        place: _named(records[place].id, shorten(records[place].prompt, responses[place], renderer, limit, whole))
        for place, whole in enumerate(sequences)
        if max(map(len, whole)) > limit
    }
    return dict(zip(steps, together([*steps.values()], tokenize), strict=True))


def together(steps: Sequence[Steps[T]], tokenize: Tokenize) -> list[T]:
    """Run computations side by side: the texts that they ask for at the same time are tokenized in one call."""
    results: dict[int, T] = {}
    answers: dict[int, list[np.ndarray] | None] = dict.fromkeys(range(len(steps)))
    while answers:
        asked: dict[int, list[str]] = {}
        for place, answer in answers.items():
            try:
                asked[place] = next(steps[place]) if answer is None else steps[place].send(answer)
            except StopIteration as end:
                results[place] = end.value
        flat = iter(tokenize([text for texts in asked.values() for text in texts]) if asked else ())
        answers = {place: [next(flat) for _ in texts] for place, texts in asked.items()}
    return [results[place] for place in range(len(steps))]


@dataclass(slots=True)
class _Items:
    """The items of a batch while records are added."""

    parts: list[np.ndarray] = field(default_factory=list)
    lengths: list[list[int]] = field(default_factory=list)
    label: list[float] = field(default_factory=list)
    strength: list[float] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    ratings: list[list[float]] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    truncated: int = 0

    def drop(self, reason: str, count: int = 1) -> None:
        if count:
            self.dropped[reason] += count

    def add(self, record: Comparison | SafetyLabel, sequences: Sequence[np.ndarray]) -> None:
        tree = PromptTree.from_sequences(sequences)
        parts = [tree.prompt, *tree.branches]
        self.parts += parts
        self.lengths.append([len(part) for part in parts])
        self.label.append(label_value(record))
        self.strength.append(np.nan if isinstance(record, SafetyLabel) or record.strength is None else record.strength)
        ratings = record.ratings if isinstance(record, Rated) else ()
        self.ratings.append([np.nan if rating is None else rating for rating in ratings])
        if isinstance(record, Comparison):
            self.weight.append(record.weight)
        self.sources.append(record.source)
        self.ids.append(record.id)

    def batch(self) -> TokenBatch:
        count = len(self.label)
        return TokenBatch(
            tokens=np.concatenate(self.parts) if self.parts else np.zeros(0, np.int32),
            lengths=np.array(self.lengths, dtype=np.int32).reshape(count, -1 if count else 0),
            label=np.array(self.label),
            strength=np.array(self.strength),
            ratings=np.array(self.ratings, dtype=float).reshape(count, -1 if count else 0),
            sources=tuple(self.sources),
            ids=tuple(self.ids),
            truncated=self.truncated,
            dropped=dict(self.dropped),
            weight=np.array(self.weight),
        )


def _named(name: str, steps: Steps[T]) -> Steps[T]:
    """The same computation; its errors name the record."""
    try:
        return (yield from steps)
    except ValueError as error:
        raise _refused(name, error) from error


def _refused(name: str, error: ValueError) -> ValueError:
    return ValueError(f"{name}: {error}. Take the row out, or give another model.chat_template")


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
        raise _refused(record.id, error) from error


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
    return together([_fit(prompt, replies, renderer, limit, whole)], renderer.tokenize)[0]


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
    return together([_cut(prompt, replies, renderer, limit, whole)], renderer.tokenize)[0]


def _fit(
    prompt: Conversation,
    replies: Sequence[Conversation],
    renderer: ChatRenderer,
    limit: int,
    whole: Sequence[np.ndarray] | None,
) -> Steps[list[np.ndarray] | None]:
    def texts(shorter: Conversation) -> list[str]:
        return [renderer.text(shorter, reply) for reply in replies]

    return (yield from _shortened(prompt, renderer, texts, limit, whole))[1]


def _cut(
    prompt: Conversation,
    replies: Sequence[Conversation],
    renderer: ChatRenderer,
    limit: int,
    whole: Sequence[np.ndarray] | None,
) -> Steps[list[np.ndarray]]:
    fitting = yield from _fit(prompt, replies, renderer, limit, whole)
    if fitting is not None:
        return fitting
    shorter, _ = yield from _shortened(prompt, renderer, lambda p: [renderer.text(p, ())], limit // 4)
    sequences = yield [renderer.text(shorter, reply) for reply in replies]
    return [s if len(s) <= limit else np.concatenate((s[: limit - 1], s[-1:])) for s in sequences]


def _shortened(
    prompt: Conversation,
    renderer: ChatRenderer,
    texts: Callable[[Conversation], list[str]],
    limit: int,
    whole: Sequence[np.ndarray] | None = None,
) -> Steps[tuple[Conversation, list[np.ndarray] | None]]:
    """The prompt less its oldest turns, then less the beginning of its last one, until what it renders to fits.

    System messages stay. Returns the prompt and the tokens of what ``texts`` renders it to, the latter ``None`` if even
    the last turn's last token is too much.
    """
    system = tuple(m for m in prompt[:-1] if m.role == "system")
    turns, last = tuple(m for m in prompt[:-1] if m.role != "system"), prompt[-1]
    shorter, sequences = prompt, list(whole or (yield texts(prompt)))
    if turns and max(map(len, sequences)) > limit:
        # Templates want a user's turn first. By bisection: fewer turns have fewer tokens, and rendering costs much.
        starts = [i for i in range(1, len(turns) + 1) if i == len(turns) or turns[i].role == "user"]
        tried: dict[int, list[np.ndarray]] = {}
        low, high = 0, len(starts) - 1
        while low < high:
            middle = (low + high) // 2
            tried[middle] = yield texts((*system, *turns[starts[middle] :], last))
            if max(map(len, tried[middle])) <= limit:
                high = middle
            else:
                low = middle + 1
        shorter = (*system, *turns[starts[low] :], last)
        sequences = tried[low] if low in tried else (yield texts(shorter))
    if max(map(len, sequences)) <= limit:
        return shorter, sequences
    ids = (yield [last.content])[0]
    keep = len(ids)
    while (excess := max(map(len, sequences)) - limit) > 0:
        keep -= excess  # nearly always right at once: text cut elsewhere may be a token longer or shorter
        # a token may be part of a character: its remains decode to the replacement character
        text = str(renderer.tokenizer.decode(ids[-keep:])).lstrip("\ufffd").strip() if keep > 0 else ""
        if not text:
            return shorter, None
        shorter = (*system, replace(last, content=text))
        sequences = yield texts(shorter)
    return shorter, sequences
